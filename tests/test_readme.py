"""README.md: its config trains, its paths exist, its figures are ours."""

import re
from pathlib import Path

import pytest
from mmengine.config import Config

from tests.conftest import ROOT
from tests.documents import blocks, read
from tests.scripts import tool, working_in
from tests.tiny import write_tiny_config

TEXT = read('README.md')
(_, BLOCK), = blocks('README.md')
PLACE, = re.findall(r'for example\s+as `(\S+)`', TEXT)
BASE, = re.findall(r"_base_ = '../../(configs/\S+)'", BLOCK)


def test_the_config_of_the_readme_mixes_three_methods(tmp_path: Path) -> None:
    (tmp_path / 'configs').symlink_to(ROOT / 'configs')
    path = tmp_path / PLACE
    path.parent.mkdir(parents=True)
    path.write_text(BLOCK)
    # As MMAction2's own scripts read it, before anything is imported.
    cfg = Config.fromfile(path, import_custom_modules=False)
    assert cfg.custom_imports.imports == ['mmvidadapt']
    model = cfg.model
    assert model.backbone.encoder.frozen
    assert [one.type for one in model.backbone.adapters] == ['InTI', 'LoRA']
    assert (model.neck.type, model.neck.num_experts) == ('MoTE', 3)
    base = Config.fromfile(ROOT / BASE, import_custom_modules=False)
    assert (cfg.train_dataloader.batch_size
            * cfg.optim_wrapper.accumulative_counts
            == base.train_dataloader.batch_size)


def test_the_config_of_the_readme_trains(tmp_path: Path) -> None:
    (tmp_path / BASE).parent.mkdir(parents=True)
    (tmp_path / PLACE).parent.mkdir(parents=True)
    (tmp_path / PLACE).write_text(BLOCK)
    with working_in(tmp_path):
        write_tiny_config(str(Path(BASE).relative_to('configs')),
                          Path(BASE).parent)
        done = tool('train.py', PLACE, '--synthetic', '4', '--work-dir', 'run',
                    '--cfg-options', 'train_dataloader.batch_size=2',
                    'optim_wrapper.accumulative_counts=1')
    assert done.returncode == 0, done.stderr
    assert list((tmp_path / 'run').glob('epoch_*.pth'))


def test_every_path_of_the_readme_exists() -> None:
    named = set(re.findall(
        r'(?:configs|docs|tools|requirements)/[\w./-]*\w', TEXT))
    named |= {f'configs/{name}' for name in re.findall(
        r'^\| `(\w+/\w+\.py)` ', TEXT, re.MULTILINE)}
    assert len(named) > 30
    assert not [name for name in named if not (ROOT / name).exists()]


@pytest.mark.parametrize('row', re.findall(
    r'^\| `(\S+)` \| (.*?) \| \d x \d \| ([\d.]+) \| not trained \|$', TEXT,
    re.MULTILINE))
def test_accuracies_are_those_of_the_methods_pages(
        row: tuple[str, str, str]) -> None:
    config, _, accuracy = row
    folder, name = Path(config).parent, Path(config).name
    page = (ROOT / 'configs' / folder / 'README.md').read_text()
    line, *_ = re.findall(rf'^\| \[\w+\]\({name}\) .*$', page, re.MULTILINE)
    assert f'| {accuracy}' in line


def test_counts_are_those_of_the_fidelity_page() -> None:
    same, of = re.search(r'(\d+) of (\d+) numbers', TEXT).groups()
    fidelity = (ROOT / 'docs' / 'fidelity.md').read_text()
    assert f'{of} numbers, of which {same} are the same' in fidelity
