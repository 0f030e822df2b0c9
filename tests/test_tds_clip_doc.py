"""docs/tds_clip.md, block by block, on real video files."""

import re
import shlex
from pathlib import Path

import numpy as np
import pytest
import torch
from mmaction.registry import DATASETS, MODELS
from mmengine.config import Config
from mmengine.registry import init_default_scope

from mmvidadapt.apis.complexity import config_complexity
from mmvidadapt.models.backbones.side_clip_vit import PRESETS
from mmvidadapt.models.switches import switches_from_tensor
from tests.conftest import ROOT
from tests.documents import call, files, lines, read
from tests.scripts import working_in
from tests.test_own_data import checkpoint, results, scalars, train
from tests.tiny import write_tiny_config
from tests.toy_videos import write_video

TEXT = read('docs/tds_clip.md')
CLASSES = ('jump', 'move left', 'move right')
CONFIGS = files('docs/tds_clip.md')
COMMANDS = lines('docs/tds_clip.md')
CHECKPOINT = 'work_dirs/config/epoch_1.pth'


def table(heading: str) -> dict[str, list[str]]:
    """The rows of the table whose header begins with a cell."""
    lines = TEXT[TEXT.index(f'| {heading} |'):].split('\n\n')[0].splitlines()
    rows = [[cell.strip().replace('`', '') for cell in line.split('|')[1:-1]]
            for line in lines[2:]]
    return {row[0]: row[1:] for row in rows}


@pytest.fixture(scope='module')
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Videos, lists, configs and the checkpoint of a first training."""
    folder = tmp_path_factory.mktemp('checkout')
    (folder / 'configs' / 'tds_clip').mkdir(parents=True)
    for name in ('tds_clip/vitb_k400.py', 'tds_clip/vitb_ssv2.py'):
        write_tiny_config(name, folder / 'configs' / 'tds_clip')
    for name in CLASSES:
        (folder / 'my_videos' / name).mkdir(parents=True)
        for place in range(2):
            write_video(folder / 'my_videos' / name / f'{place}.mp4',
                        num_frames=16)
    with working_in(folder):
        make_lists, first = COMMANDS[:2]
        call(make_lists)
        for name, text in CONFIGS.items():
            Path(name).write_text(text)
        call(first)
        yield folder


def test_every_block_of_the_document_is_tested() -> None:
    assert TEXT.count('```python') == len(CONFIGS)
    assert {Path(name).stem for name in CONFIGS} == {
        name[len('test_'):-len('_works')] for name in globals()
        if name.startswith('test_') and name.endswith('_works')}
    assert [shlex.split(line)[1] for line in COMMANDS] == [
        'tools/data/make_lists.py', 'tools/train.py', 'tools/test.py',
        'tools/convert_checkpoint.py', 'tools/test.py']


def test_what_the_document_names_exists() -> None:
    folder = ROOT / 'configs' / 'tds_clip'
    named = set(re.findall(r'`(vit[\w.-]*?)(?:\.py)?`', TEXT))
    assert len(named) > 7
    assert not [n for n in named if not (folder / f'{n}.py').exists()]
    paths = re.findall(r'\]\(([\w/.]+)(?:#[\w-]+)?\)', TEXT)
    assert len(paths) > 2
    for path in paths:
        assert (ROOT / 'docs' / path).exists(), path


def test_mine_works(checkout: Path) -> None:
    init_default_scope('mmaction')
    model = MODELS.build(Config.fromfile('mine.py').model)
    clip = torch.randint(0, 255, (1, 3, 40, 32, 32), dtype=torch.uint8)
    data = model.data_preprocessor(dict(inputs=[clip], data_samples=None))
    scores = model(**data, mode='tensor')
    assert scores.shape[-1] == 128 == model.cls_head.in_channels
    assert model.backbone.blocks[0].temporal.gate.difference == 'conv'


def test_the_first_training_learned_and_validated(checkout: Path) -> None:
    lines = scalars(checkout / 'work_dirs' / 'config')
    assert all(np.isfinite(line['loss']) for line in lines if 'loss' in line)
    assert 'acc/top1' in lines[-1]
    # 2 videos of 128: 1e-3 becomes 1.6e-5, after the warm-up from 0.
    rates = [line['lr'] for line in lines if 'lr' in line]
    assert rates[0] == 0
    assert 0 < max(rates) < 1e-3 * 2 / 128


def test_testing_writes_the_accuracy(checkout: Path) -> None:
    call(COMMANDS[2].replace('CHECKPOINT', CHECKPOINT), '--work-dir',
         'work_dirs/tested')
    assert 0 <= results('tested')['acc/top1'] <= 1


def test_shorter_works(checkout: Path) -> None:
    cfg = Config.fromfile('data/mine/shorter.py')
    assert cfg.train_cfg.max_epochs == cfg.param_scheduler[0].T_max == 10
    assert cfg.param_scheduler[0].warmup == 4


def test_flip_works(checkout: Path) -> None:
    init_default_scope('mmaction')
    cfg = Config.fromfile('data/mine/flip.py').train_dataloader.dataset
    inherited = Config.fromfile('data/mine/config.py').train_pipeline[3]
    assert inherited.transforms[3].type == 'Flip'
    cfg.pipeline[3].transforms[3].flip_ratio = 1.
    dataset = DATASETS.build(cfg)
    found = {}
    for place in range(len(dataset)):
        label = dataset.get_data_info(place)['label']
        for copy in dataset[place]:
            found[label] = int(copy['data_samples'].gt_label)
    assert found == {0: 0, 1: 2, 2: 1}


def test_clips_works(checkout: Path) -> None:
    init_default_scope('mmaction')
    for split, shape in dict(train=(1, 3, 80), val=(1, 3, 80),
                             test=(12, 3, 80)).items():
        cfg = Config.fromfile('data/mine/clips.py')
        sample = DATASETS.build(cfg[f'{split}_dataloader'].dataset)[0]
        sample = sample[0] if split == 'train' else sample
        assert sample['inputs'].shape[:3] == shape


def test_longer_works(checkout: Path) -> None:
    run = train('data/mine/longer.py')
    state = checkpoint(run / 'epoch_1.pth')['state_dict']
    switches = switches_from_tensor(state['backbone.switches'])
    assert switches['num_frames'] == 16


def test_lean_works(checkout: Path) -> None:
    lines = scalars(train('data/mine/lean.py'))
    assert all(np.isfinite(line['loss']) for line in lines if 'loss' in line)
    cfg = Config.fromfile('data/mine/lean.py')
    assert cfg.optim_wrapper.optimizer.weight_decay == 0.15
    assert 'dtype' not in cfg.optim_wrapper


def test_published_checkpoints_are_converted_and_tested(
        checkout: Path, goldens: Path) -> None:
    convert, test = COMMANDS[3:]
    sizes = torch.load(goldens / 'tds_clip_tiny.pt',
                       weights_only=True)['config']
    call(convert.replace('SRC', str(goldens / 'tds_clip_tiny.pt')),
         '--override', f'num_heads={sizes["heads"]}',
         f'side_heads={sizes["side_heads"]}')
    call(test, '--synthetic', '2', '--work-dir', 'work_dirs/published',
         '--cfg-options', 'test_dataloader.num_workers=0',
         'test_dataloader.persistent_workers=False')
    assert 0 <= results('published')['acc/top1'] <= 1
    backbone = Config.fromfile('work_dirs/published.py').model.backbone
    assert backbone.alpha == PRESETS['published']['alpha']


def test_the_presets_are_those_of_the_table() -> None:
    for name, (window, alpha, padding, layers, _) in table('`preset`').items():
        preset = PRESETS[name.strip("'")]
        assert preset['window'] == int(window)
        assert preset['stem_padding'] == int(padding)
        assert list(preset['td_layers']) == list(eval(layers))
        if preset['window'] > 1:
            assert preset['alpha'] == float(alpha)
    assert len(table('`preset`')) == len(PRESETS)


@pytest.mark.parametrize('name, row', table('config').items())
def test_the_arithmetic_is_what_get_flops_counts(
        name: str, row: list[str]) -> None:
    init_default_scope('mmaction')
    cfg = Config.fromfile(ROOT / 'configs' / 'tds_clip' / f'{name}.py')
    total = config_complexity(cfg).total
    assert f'{total.macs / 1e9:.1f}' == row[1]
    assert f'{total.all_macs / 1e9:.1f}' == row[2]
    assert f'{total.trained_params / 1e6:.2f}' == row[3]
    if row[0]:
        assert row[0] in (f'{total.macs / 1e12:.1f}',
                          f'{total.all_macs / 1e12:.1f}')
