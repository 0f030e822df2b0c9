"""The mixed configs train and test, and docs/mixing.md says what they cost."""

import importlib.util
import re
from argparse import Namespace
from pathlib import Path

import pytest
from mmengine.config import Config
from mmengine.registry import init_default_scope

from mmvidadapt.apis.complexity import config_complexity
from mmvidadapt.quickstart.methods import METHODS
from mmvidadapt.quickstart.synthetic import SEEN
from tests.conftest import ROOT
from tests.scripts import plain_tool, tool
from tests.test_configs import load
from tests.tiny import write_tiny_config

FOLDER = ROOT / 'configs/mixed'
NAMES = sorted(path.stem for path in FOLDER.glob('*.py'))
PAGE = ROOT / 'docs/mixing.md'
#: Configs that test a checkpoint of another on other classes.
ZERO_SHOT = {name: name.replace('zeroshot_ucf101', 'k400')
             for name in NAMES if 'zeroshot' in name}


def run(name: str, config: str, *args: str) -> str:
    done = tool(name, config, *args)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stderr + done.stdout


@pytest.mark.parametrize('name', [n for n in NAMES if n not in ZERO_SHOT])
def test_a_mix_trains_is_validated_and_tested(
        name: str, tmp_path: Path) -> None:
    work = str(tmp_path / 'work')
    config = write_tiny_config(f'mixed/{name}.py', tmp_path)
    log = run('train.py', config, '--work-dir', work, '--synthetic', '4')
    losses = [float(x) for x in re.findall(r' loss: (\S+)', log)]
    assert losses and all(0 < loss < 100 for loss in losses)
    assert ('loss_mse' in log) == name.endswith('mote')
    assert ('loss_consistency' in log) == ('msta' in name)
    checkpoint = str(tmp_path / 'work' / 'epoch_1.pth')
    tests = [name, *(zero for zero, of in ZERO_SHOT.items() if of == name)]
    for other in tests:
        config = write_tiny_config(f'mixed/{other}.py', tmp_path)
        log = run('test.py', config, checkpoint, '--work-dir', work,
                  '--synthetic', '2')
        assert re.search(r'acc/top1: [01]\.\d+', log)


def test_zero_shot_configs_have_the_model_of_the_training() -> None:
    assert len(ZERO_SHOT) == 2
    for name, trained in ZERO_SHOT.items():
        one, other = (load(f'mixed/{n}.py').model for n in (name, trained))
        for option in ('classes', 'average_clips', 'label_smooth_eps'):
            one.cls_head.pop(option, None)
            other.cls_head.pop(option, None)
        assert one == other


def test_inti_and_mote_cost_0_65_of_mote() -> None:
    row, = re.findall(r'^\| InTI \+ MoTE \| `.*$', PAGE.read_text(), re.M)
    assert row.endswith('| 0.65 x `mote/vitb_k400.py` |')


def test_the_small_mixes_cost_what_the_page_says() -> None:
    init_default_scope('mmaction')
    for name, config in METHODS['mixed'].models.items():
        cfg = Config.fromfile(ROOT / f'configs/quickstart/{config}.py')
        cfg.model.cls_head.classes = [c.text for c in SEEN]
        cfg.model.pop('consistency', None)  # reads files of a run
        total = config_complexity(cfg).total
        cost = f'| {total.trained_params:,} | {total.all_macs / 1e6:.1f} |'
        row, = re.findall(rf'^\| {re.escape(name)} \| \d.*$',
                          PAGE.read_text(), re.M)
        assert row.endswith(cost)


def test_readme_names_every_config() -> None:
    text = (FOLDER / 'README.md').read_text()
    assert sorted(re.findall(r'^\| `(.*)\.py` \|', text, re.M)) == NAMES


def test_the_page_shows_mixes_on_other_data(tmp_path: Path) -> None:
    (tmp_path / 'configs').symlink_to(ROOT / 'configs')
    blocks = re.findall(r'<!-- file: (\S+) -->\n```python\n(.*?)```',
                        PAGE.read_text(), re.DOTALL)
    assert PAGE.read_text().count('```python') == len(blocks) == 2
    full = load('mote/vitl_ucf101.py')
    for path, text in blocks:
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)
        cfg = Config.fromfile(tmp_path / path)
        model = cfg.model
        assert [one.type for one in model.backbone.adapters] == ['InTI']
        assert (model.neck.type, model.cls_head.classes) == ('MoTE', 'ucf101')
        rates = cfg.optim_wrapper.paramwise_cfg.custom_keys
        assert rates['backbone'].lr_mult == .07
        assert rates['backbone.adapters'].lr_mult == 1
        for split in ('val', 'test'):
            for key in ('ann_file', 'data_prefix'):
                assert (cfg[f'{split}_dataloader'].dataset[key]
                        == full[f'{split}_dataloader'].dataset[key])
        train = cfg.train_dataloader.dataset
        if 'few_shot' in path:
            assert train.dataset.ann_file.endswith('/shots16_seed1.txt')
            assert cfg.train_cfg.max_epochs == 10
        else:
            assert train.ann_file == full.train_dataloader.dataset.ann_file
            assert train.data_prefix == (
                full.train_dataloader.dataset.data_prefix)


def test_the_page_is_what_the_table_and_the_configs_say() -> None:
    done = plain_tool('mixing.py', '--check')
    assert done.returncode == 0, done.stderr
    for name in NAMES:
        assert f'`{name}.py`' in PAGE.read_text()


def test_an_old_page_is_found_and_written_anew(tmp_path: Path) -> None:
    spec = importlib.util.spec_from_file_location(
        'mixing_tool', ROOT / 'tools' / 'mixing.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.costs = lambda: ''  # they take time and are seen above
    page = tmp_path / 'mixing.md'
    module.main(Namespace(check=False, out=page))
    module.main(Namespace(check=True, out=page))
    page.write_text(page.read_text().replace('| yes |', '| no |', 1))
    with pytest.raises(ValueError, match=r'mixing\.md is not what mmvidadapt/'
                       r'mixing\.py says: run python tools/mixing\.py$'):
        module.main(Namespace(check=True, out=page))
