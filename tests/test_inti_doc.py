"""docs/inti.md names what there is, with the values that it has."""

import inspect
import re

import pytest

from mmvidadapt.models.adapters.inti import InTI
from tests.conftest import ROOT
from tests.test_configs import load

TEXT = (ROOT / 'docs' / 'inti.md').read_text()


def rows(header: str) -> list[list[str]]:
    """Cells of the table whose header begins so."""
    lines = TEXT[TEXT.index(header):].split('\n\n')[0].splitlines()
    return [[cell.strip() for cell in line.split('|')[1:-1]]
            for line in lines[2:]]


def test_every_option_has_the_value_and_the_choices_of_the_table() -> None:
    known = inspect.signature(InTI).parameters
    shown = set()
    for _, options, *_ in rows('| what | option of `InTI`'):
        for name, first, more in re.findall(
                r"`(\w+)=(\(.*?\)|'\w+'|\w+)`"
                r"((?:(?:, | or )`(?:'\w+'|\d)`)*)", options):
            values = [eval(value) for value in (
                first, *re.findall(r'`(.*?)`', more))]
            assert known[name].default == values[0], name
            for value in values:
                InTI(8, 4, **{name: value})
            shown.add(name)
    # Given by the place, or by the list of blocks.
    assert shown == set(known) - {'embed_dims', 'num_frames', 'layer',
                                  'init_cfg'}


def test_the_parts_that_equations_name_are_there() -> None:
    inti = InTI(8, 4)
    names = {name for name, _ in inti.named_parameters()}
    listed = [part for _, _, where in rows('| | what | where |')
              for part in re.findall(
                  r'`(position|sigma|token|context\.\w+|fc\d)`', where)]
    assert len(listed) == 8
    for part in listed:
        assert any(f'{name}.'.startswith(f'{part}.') for name in names), part


@pytest.mark.parametrize('data, recipe', [
    (row[0], row[2:]) for row in rows('| data | recipe |')])
def test_recipes_are_those_of_the_configs(
        data: str, recipe: list[str]) -> None:
    name = 'vitb_k400' if 'Kinetics' in data else 'vitb_ssv2_temp'
    cfg = load(f'inti/{name}.py')
    wrapper = cfg.optim_wrapper
    steps = wrapper.get('accumulative_counts', 1)
    step = cfg.auto_scale_lr.base_batch_size
    assert recipe[0] == str(cfg.train_cfg.max_epochs)
    assert float(recipe[1]) == wrapper.optimizer.lr
    assert recipe[2] == (f'{step * steps}: 8 GPUs x '
                         f'{cfg.train_dataloader.batch_size}'
                         + (f' x {steps} steps' if steps > 1 else ''))
