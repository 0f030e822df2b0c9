"""docs/msta.md, block by block, on real video files."""

import inspect
import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from mmaction.registry import MODELS
from mmengine.config import Config
from mmengine.registry import init_default_scope

from mmvidadapt.apis.complexity import config_complexity
from mmvidadapt.compat.checkpoints import read_checkpoint
from mmvidadapt.datasets.class_lists import class_names
from mmvidadapt.models.adapters import MSTA
from mmvidadapt.models.recognizers import (
    DescriptionConsistency,
    VideoTextRecognizer,
)
from tests.conftest import ROOT
from tests.documents import call, files, lines, read
from tests.scripts import working_in, write_list
from tests.test_configs import train_step
from tests.test_own_data import results, scalars, train
from tests.tiny import shrink_model, write_tiny_config
from tests.toy_videos import write_video

TEXT = read('docs/msta.md')
CLASSES = ('closing a jar', 'opening a jar', 'running')
CONFIGS = files('docs/msta.md')
COMMANDS = lines('docs/msta.md')


def command(*parts: str) -> str:
    """The only line of the document that has these words."""
    found, = [line for line in COMMANDS
              if all(part in line for part in parts)]
    return found


@pytest.fixture(scope='module')
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Videos, tiny configs and the checkpoint of a first training."""
    folder = tmp_path_factory.mktemp('checkout')
    (folder / 'configs' / 'msta').mkdir(parents=True)
    for name in ('vitb_k400', 'vitb_zeroshot_ucf101', 'vitb_fewshot_hmdb51',
                 'vitb_fewshot_ucf101', 'vitb_base-novel_ucf101'):
        written = Path(write_tiny_config(
            f'msta/{name}.py', folder / 'configs' / 'msta'))
        # What is written has no variables left: put two back.
        written.write_text(written.read_text().replace(
            "'ucf101_base'", "'ucf101_{{$HALF:base}}'").replace(
            'split_1_videos', 'split_{{$SPLIT:1}}_videos'))
    for name in CLASSES:
        (folder / 'my_videos' / name).mkdir(parents=True)
        for place in range(2):
            write_video(folder / 'my_videos' / name / f'{place}.mp4',
                        num_frames=12 + place)
    with working_in(folder):
        call(command('make_lists.py'))
        Path('data/mine/described.py').write_text(
            CONFIGS['data/mine/described.py'])
        call(command('train.py data/mine'))
        yield folder


@pytest.fixture
def blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The configs of the document beside the real ones."""
    init_default_scope('mmaction')
    monkeypatch.chdir(tmp_path)
    Path('configs').symlink_to(ROOT / 'configs')
    for name, text in CONFIGS.items():
        if '/' not in name:
            Path(name).write_text(text)
    return tmp_path


def full_size(cfg: Config) -> torch.nn.Module:
    """The model of a config on meta tensors."""
    with torch.device('meta'):
        return MODELS.build(cfg.model)


def trained_parts(name: str, depth: int) -> set[str]:
    """Parts of a config's model that get a gradient in a tiny step."""
    cfg = Config.fromfile(name)
    shrink_model(cfg)
    cfg.model.pop('consistency', None)
    model = MODELS.build(cfg.model).train()
    train_step(model, cfg)
    for key, param in model.named_parameters():
        assert (param.grad is not None) == param.requires_grad, key
    return {'.'.join(key.split('.')[:depth])
            for key, param in model.named_parameters() if param.requires_grad}


# The page -------------------------------------------------------------------


def test_every_block_of_the_document_is_tested() -> None:
    assert TEXT.count('```python') == len(CONFIGS)
    assert {Path(name).stem for name in CONFIGS} == {
        name[len('test_'):-len('_works')] for name in globals()
        if name.startswith('test_') and name.endswith('_works')}
    assert [line.split('python tools/')[1].split()[0] for line in COMMANDS
            ] == ['data/make_lists.py', 'train.py', 'test.py',
                  'test.py', 'test_protocol.py',
                  'data/make_subsets.py', 'train.py',
                  'data/make_subsets.py', 'train.py', 'train.py',
                  'test_protocol.py', 'test.py']


def test_what_the_document_names_exists() -> None:
    named = set(re.findall(r'`(?:configs/msta/)?(vit\w[\w.-]*?)(?:\.py)?`',
                           TEXT))
    assert len(named) > 6
    folder = ROOT / 'configs' / 'msta'
    assert not [n for n in named if not (folder / f'{n}.py').exists()]
    links = re.findall(r'\]\(((?!http)[\w/.]+)(?:#([\w-]+))?\)', TEXT)
    assert len(links) > 6
    for link, place in links:
        path = ROOT / 'docs' / link
        assert path.exists(), link
        if place:
            heads = re.findall(r'^#+ (.*)$', path.read_text(), re.MULTILINE)
            assert place in [head.lower().replace(' ', '-')
                             for head in heads], (link, place)
    for size in ('B-16', 'L-14'):
        base = f'models/vi{"clip_" + size.lower().replace("-", "")}.py'
        assert f'checkpoints/ViCLIP-{size}.pth' in TEXT
        assert f'checkpoints/ViCLIP-{size}.pth' in (
            ROOT / 'configs' / '_base_' / base).read_text()


def test_options_have_the_values_that_the_document_gives() -> None:
    known = {}
    for owner in (MSTA, VideoTextRecognizer, DescriptionConsistency):
        known.update({name: option.default for name, option in
                      inspect.signature(owner).parameters.items()})
    found = re.findall(
        r"\| `(\w+)=(\('.*?'\)|'?\w[\w.]*'?)`", TEXT)
    assert len(found) >= 8
    for option, value in found:
        assert known[option] == eval(value), option
    assert f'consistency.weight={known["weight"]}' in TEXT
    options = set(inspect.signature(MSTA).parameters) - {
        'visual', 'text', 'init_cfg'}
    table = TEXT[TEXT.index('| what | option of `MSTA`'):].split('\n\n')[0]
    assert options == set(re.findall(r'\| `(\w+)[=`]', table))


@pytest.mark.parametrize('row', re.findall(
    r'^\| `(vit[\w-]+)` \| (.*) \|$', TEXT, re.MULTILINE),
    ids=lambda row: row[0])
def test_sizes_are_what_get_flops_counts(row: tuple[str, str]) -> None:
    init_default_scope('mmaction')
    total = config_complexity(Config.fromfile(
        ROOT / 'configs' / 'msta' / f'{row[0]}.py')).total
    assert row[1].split(' | ') == [
        f'{total.all_macs / 1e9:.1f}', f'{total.trained_params / 1e6:.2f}',
        f'{total.params / 1e6:.1f}']


# Its configs ----------------------------------------------------------------


def test_mine_works(blocks: Path) -> None:
    cfg = Config.fromfile('mine.py')
    model = full_size(cfg)
    assert [*model.adapter.shared] == ['9', '10', '11']
    half, = model.adapter.text.at(9)['beside_block']
    assert half.adapter_norm == 'ln_1'
    assert model.consistency is None
    assert trained_parts('mine.py', 1) == {'adapter'}


def test_clip_works(blocks: Path) -> None:
    cfg = Config.fromfile('clip.py')
    model = full_size(cfg)
    assert model.backbone.encoder.kind == 'framewise'
    assert model.text_encoder.arch.context_length == 77
    assert cfg.model.data_preprocessor.mean == Config.fromfile(
        ROOT / 'configs/mote/vitb_k400.py').model.data_preprocessor.mean
    assert sum(p.numel() for p in model.parameters()
               if p.requires_grad) == 4_185_600
    assert trained_parts('clip.py', 1) == {'adapter'}


def test_small_gpu_works(blocks: Path) -> None:
    cfg = Config.fromfile('small_gpu.py')
    model = full_size(cfg)
    assert model.text_batch == 50 and len(model._tokens) == 400
    assert model.test_cfg['max_testing_views'] == 2
    whole = Config.fromfile('configs/msta/vitb_k400.py').train_dataloader
    assert (cfg.train_dataloader.batch_size
            * cfg.optim_wrapper.accumulative_counts) == whole.batch_size
    assert trained_parts('small_gpu.py', 1) == {'adapter'}


def test_halves_works(blocks: Path) -> None:
    model = full_size(Config.fromfile('halves.py'))
    assert model.adapter is None
    (video, ), (text, ) = (stack.at(6)['beside_block'] for stack in (
        model.backbone.adapters, model.text_adapters))
    assert (video.project.in_features, text.project.in_features) == (256, 64)
    assert trained_parts('halves.py', 1) == {'backbone', 'text_adapters'}


def test_video_half_works(blocks: Path) -> None:
    assert trained_parts('video_half.py', 2) == {
        'backbone.adapters', 'cls_head.fc_cls'}


def test_lora_works(blocks: Path) -> None:
    model = full_size(Config.fromfile('lora.py'))
    assert sum(p.numel() for p in model.parameters()
               if p.requires_grad) == 9_400_320
    assert len(class_names('hmdb51')) == model.cls_head.num_classes


# Its commands ---------------------------------------------------------------


def test_the_first_training_learned_the_names_of_folders(
        checkout: Path) -> None:
    lines = scalars(checkout / 'work_dirs' / 'config')
    assert all(np.isfinite(line['loss']) for line in lines if 'loss' in line)
    assert not any('loss_consistency' in line for line in lines)
    assert 'acc/top1' in lines[-1]
    cfg = Config.fromfile('data/mine/config.py')
    assert class_names(cfg.model.cls_head.classes) == list(CLASSES)
    call(command('test.py data/mine').replace(
        'CHECKPOINT', 'work_dirs/config/epoch_1.pth --work-dir '
        'work_dirs/tested'))
    assert 0 <= results('tested')['acc/top1'] <= 1


def test_described_works(checkout: Path) -> None:
    for kind in ('spatial', 'temporal'):
        Path(f'data/mine/{kind}.json').write_text(json.dumps(
            {name: [f'A {kind} view of {name}.'] for name in CLASSES}))
    lines = [line for line in scalars(train('data/mine/described.py'))
             if 'loss' in line]
    assert all(0 < line['loss_consistency'] < 4 for line in lines)
    state = read_checkpoint('work_dirs/described/epoch_1.pth')['state_dict']
    assert not [key for key in state if key.startswith('consistency')]


def test_a_checkpoint_is_tested_on_other_classes(checkout: Path) -> None:
    call('python tools/train.py configs/msta/vitb_k400.py --synthetic 2 '
         '--work-dir work_dirs/k400')
    kept = 'work_dirs/k400/epoch_1.pth --synthetic 2'
    call(command('test.py', 'vitb_zeroshot').replace('CHECKPOINT', kept),
         '--work-dir', 'work_dirs/ucf101')
    assert 0 <= results('ucf101')['acc/top1'] <= 1
    call(command('test_protocol.py zero').replace('CHECKPOINT', kept),
         '--work-dir', 'work_dirs/zero')
    saved = json.loads(Path('work_dirs/zero/zero-shot.json').read_text())
    assert [*saved['data_sets']['vitb_zeroshot_ucf101']['splits']] == [
        '1', '2']


def test_few_shot_lists_are_drawn_and_trained_on(
        checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    subsets = command('make_subsets.py few')
    _write_list_of_ucf101(shlex.split(subsets)[3])
    call(subsets)
    few_shot = command('SHOTS=8')
    monkeypatch.setenv('SHOTS', '8')
    cfg = Config.fromfile(ROOT / 'configs/msta/vitb_fewshot_ucf101.py')
    assert Path(cfg.train_dataloader.dataset.ann_file).is_file()
    call(few_shot, '--synthetic', '2', '--work-dir', 'work_dirs/few')
    # Clips drawn at random in the test.
    call(command('test_mode=False').replace(
        'CHECKPOINT', 'work_dirs/few/epoch_1.pth --synthetic 2 --work-dir '
        'work_dirs/drawn'))
    assert 0 <= results('drawn')['acc/top1'] <= 1


def test_base_and_novel_classes_are_drawn_trained_on_and_tested(
        checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    subsets = command('make_subsets.py base')
    words = shlex.split(subsets)
    _write_list_of_ucf101(words[3])
    _write_list_of_ucf101(words[-1])
    call(subsets)
    seeds = [command('SEED=1'), command('SEED=2')]
    for line in seeds:
        monkeypatch.setenv('SEED', line[len('SEED=')])
        cfg = Config.fromfile(ROOT / 'configs/msta/vitb_base-novel_ucf101.py')
        assert Path(cfg.train_dataloader.dataset.ann_file).is_file()
        assert Path(cfg.test_dataloader.dataset.ann_file).is_file()
        monkeypatch.delenv('SEED')
        call(line, '--synthetic', '2')
    # The page tests what the last of 11 epochs leaves.
    tested = command('test_protocol.py base')
    assert tested.count(f'epoch_{cfg.train_cfg.max_epochs}.pth') == 2
    call(tested.replace('epoch_11', 'epoch_1'), '--synthetic', '2',
         '--work-dir', 'work_dirs/both')
    saved = json.loads(Path('work_dirs/both/base-novel.json').read_text())
    of_set = saved['data_sets']['vitb_base-novel_ucf101']
    assert [*of_set['seeds']] == ['1', '2']
    assert of_set['mean'].keys() == {'base', 'novel', 'harmonic_mean'}


def _write_list_of_ucf101(name: str) -> None:
    """A list with 16 videos of each class."""
    path = Path(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_list(path.parent, [
        f'{label}/{place}.avi {label}' for label in range(101)
        for place in range(16)], path.name)
