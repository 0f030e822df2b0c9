"""docs/own_data.md, block by block, on real video files.

One folder plays the user's checkout. It holds a tiny version of the config
that the document inherits; everything else is done as the document says.
"""

import importlib.util
import json
import re
import shlex
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from mmaction.apis import inference_recognizer, init_recognizer
from mmengine.config import Config

from mmvidadapt.compat.checkpoints import read_checkpoint
from tests.conftest import ROOT
from tests.documents import blocks, call, files, lines
from tests.scripts import working_in
from tests.tiny import write_tiny_config
from tests.toy_videos import write_video

PAGE = 'docs/own_data.md'
CLASSES = ('jump', 'run', 'walk')
CONFIGS = files(PAGE)
COMMANDS = lines(PAGE)
CHECKPOINT = 'work_dirs/config/epoch_1.pth'


def command(script: str) -> str:
    """The only line of the document that runs a script."""
    found, = [line for line in COMMANDS if f'/{script} ' in line]
    return found.replace('CHECKPOINT', CHECKPOINT)


def train(name: str, *options: str) -> Path:
    """Train a config of the document; the folder of the run."""
    call(f'python tools/train.py {name}', '--cfg-options',
         'train_cfg.max_epochs=1', *options)
    return Path('work_dirs', Path(name).stem)


def scalars(run: Path) -> list[dict]:
    """What a run logged."""
    path, = run.rglob('scalars.json')
    return [json.loads(line) for line in path.read_text().splitlines()]


def results(name: str) -> dict:
    """What a test run wrote into its work folder."""
    path, = Path('work_dirs', name).glob('*/*.json')
    return json.loads(path.read_text())


def checkpoint(path: Path) -> dict:
    """What a training saved."""
    return read_checkpoint(path, 'cpu')


@pytest.fixture(scope='module')
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Videos, lists, configs and the checkpoint of a first training."""
    folder = tmp_path_factory.mktemp('checkout')
    (folder / 'configs' / 'inti').mkdir(parents=True)
    write_tiny_config('inti/vitb_k400.py', folder / 'configs' / 'inti')
    for name in CLASSES:
        (folder / 'my_videos' / name).mkdir(parents=True)
        for place in range(2):
            write_video(folder / 'my_videos' / name / f'{place}.mp4',
                        num_frames=16)
    with working_in(folder):
        call(command('make_lists.py'))
        for name, text in CONFIGS.items():
            Path(name).write_text(text)
        call(command('train.py'))
        yield folder


def test_every_block_of_the_document_is_tested() -> None:
    assert sorted(note.split()[0] for note, _ in blocks(PAGE)) == [
        *['file:'] * len(CONFIGS), 'run', 'written:']
    assert {Path(name).stem for name in CONFIGS} == {
        name[len('test_'):-len('_works')] for name in globals()
        if name.startswith('test_') and name.endswith('_works')}
    assert [shlex.split(line)[1] for line in COMMANDS] == [
        'tools/data/make_lists.py', 'tools/train.py', 'tools/test.py',
        'tools/data/extract_features.py']


def test_the_config_shown_is_the_one_written() -> None:
    spec = importlib.util.spec_from_file_location(
        'make_lists', ROOT / 'tools' / 'data' / 'make_lists.py')
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    lists = ROOT / 'data' / 'mine'
    base = ROOT / 'configs' / 'inti' / 'vitb_k400.py'
    text = script.config_text(
        base, Config.fromfile(base).model, lists, Path('/data/my_videos'), 3,
        ['train', 'val'])
    shown, = [block for note, block in blocks(PAGE)
              if note.startswith('written: ')]
    assert text.replace(str(lists), '/data/lists/mine') == shown


def test_lists_and_labels_are_those_of_the_folder(checkout: Path) -> None:
    mine = checkout / 'data' / 'mine'
    assert (mine / 'labels.txt').read_text().split() == list(CLASSES)
    lines = [line for name in ('train', 'val')
             for line in (mine / f'{name}.txt').read_text().splitlines()]
    assert sorted(lines) == sorted(
        f'{name}/{place}.mp4 {label}'
        for label, name in enumerate(CLASSES) for place in range(2))


def test_the_first_training_learned_and_validated(checkout: Path) -> None:
    lines = scalars(checkout / 'work_dirs' / 'config')
    assert all(np.isfinite(line['loss']) for line in lines if 'loss' in line)
    assert 'acc/top1' in lines[-1]
    state = checkpoint(checkout / CHECKPOINT)['state_dict']
    assert state['cls_head.fc_cls.weight'].shape[0] == 3
    assert list((checkout / 'work_dirs' / 'config').glob(
        'best_acc_top1_epoch_*.pth'))


def test_testing_writes_the_accuracy(checkout: Path) -> None:
    call(command('test.py'), '--work-dir', 'work_dirs/tested')
    assert 0 <= results('tested')['acc/top1'] <= 1


def test_features_of_every_video_are_written(checkout: Path) -> None:
    call(command('extract_features.py'), '--device', 'cpu')
    for name in CLASSES:
        for place in range(2):
            archive = np.load(f'features/{name}/{place}.mp4.npz')
            assert archive['frames'].shape == (12, 4, 48)
            assert archive['clip'].shape == (48, )


def test_the_inferencer_names_a_class(checkout: Path) -> None:
    block, = [block for note, block in blocks(PAGE) if note == 'run']
    names: dict = {}
    exec(block.replace('CHECKPOINT', CHECKPOINT), names)
    assert names['label'] == max(names['scores'], key=names['scores'].get)
    assert set(names['scores']) == set(CLASSES)
    assert sum(names['scores'].values()) == pytest.approx(1, abs=1e-4)


def test_recipe_works(checkout: Path) -> None:
    lines = scalars(train('data/mine/recipe.py'))
    norms = [line['grad_norm'] for line in lines if 'grad_norm' in line]
    assert norms and all(norm > 0 for norm in norms)
    rates = [line['lr'] for line in lines if 'lr' in line]
    # Two steps per epoch: step 2 of 2 of the warm-up is half of it.
    assert rates[-1] == pytest.approx(1e-5 / 2)


def test_hooks_works(checkout: Path) -> None:
    run = train('data/mine/hooks.py', 'train_cfg.max_epochs=9')
    epochs = [line['acc/top1'] for line in scalars(run) if 'acc/top1' in line]
    stop = 1 + int(np.argmax(epochs)) + 3
    assert len(epochs) == stop < 9
    saved = checkpoint(run / f'epoch_{stop}.pth')
    name = 'cls_head.fc_cls.weight'
    raw = saved['ema_state_dict'][f'module.{name}']
    assert not torch.equal(saved['state_dict'][name], raw)
    assert not (run / f'epoch_{stop + 1}.pth').exists()


def test_loggers_works(checkout: Path,
                       monkeypatch: pytest.MonkeyPatch) -> None:
    import wandb
    from tensorboard.backend.event_processing import event_accumulator
    monkeypatch.setenv('WANDB_MODE', 'offline')
    monkeypatch.setenv('WANDB_SILENT', 'true')
    monkeypatch.setenv('WANDB_ERROR_REPORTING', 'false')
    run = train('data/mine/loggers.py')
    wandb.finish()  # as the end of the process would
    events, = run.rglob('events.out.tfevents.*')
    log = event_accumulator.EventAccumulator(str(events)).Reload()
    assert {'loss', 'lr', 'acc/top1'} <= set(log.Tags()['scalars'])
    assert [event.value for event in log.Scalars('loss')] == pytest.approx(
        [line['loss'] for line in scalars(run) if 'loss' in line], rel=1e-5)
    offline, = run.rglob('offline-run-*/run-*.wandb')
    end = time.monotonic() + 60  # a process of wandb's own writes the file
    while b'acc/top1' not in offline.read_bytes() and time.monotonic() < end:
        time.sleep(.2)
    data = offline.read_bytes()
    assert b'acc/top1' in data
    assert b'my_videos' in data


def test_frozen_works(checkout: Path) -> None:
    run = train('data/mine/frozen.py')
    first = checkpoint(run / 'epoch_1.pth')
    state = first['state_dict']
    assert {key.split('.')[1] for key in state
            if key.startswith('backbone.')} == {'encoder', 'adapters'}
    trained = sum(len(group['params'])
                  for group in first['optimizer']['param_groups'])
    adapters = [key for key in state if key.startswith(
        ('backbone.adapters.', 'cls_head.'))]
    assert 0 < trained <= len(adapters)
    assert scalars(run)[-1].keys() >= {'acc/top1'}
    model = init_recognizer('data/mine/frozen.py',
                            str(run / 'epoch_1.pth'), 'cpu')
    seen = []
    model.backbone.register_forward_pre_hook(
        lambda module, args: seen.append(len(args[0])))
    inference_recognizer(model, 'my_videos/walk/0.mp4')
    assert seen == [4, 4, 4]


def test_with_cp_works(checkout: Path) -> None:
    run = train('data/mine/with_cp.py')
    first = scalars(checkout / 'work_dirs' / 'config')
    assert [line['loss'] for line in scalars(run) if 'loss' in line] == \
        pytest.approx([line['loss'] for line in first if 'loss' in line])
    model = init_recognizer('data/mine/with_cp.py', device='cpu')
    assert model.backbone.encoder.transformer.with_cp


def test_finetune_works(checkout: Path) -> None:
    old = checkpoint(checkout / CHECKPOINT)['state_dict']
    old['cls_head.fc_cls.weight'] = torch.zeros(400, 48)
    old['cls_head.fc_cls.bias'] = torch.zeros(400)
    path = Path('work_dirs', 'vitb_k400', 'epoch_30.pth')
    path.parent.mkdir()
    torch.save(dict(state_dict=old), path)
    run = train('data/mine/finetune.py', 'optim_wrapper.optimizer.lr=0')
    new = checkpoint(run / 'epoch_1.pth')['state_dict']
    for key, value in old.items():
        if not key.startswith('cls_head.'):
            assert torch.equal(new[key], value), key
    assert new['cls_head.fc_cls.weight'].shape == (3, 48)
    assert new['cls_head.fc_cls.weight'].abs().sum() > 0
    log, = run.rglob('*.log')
    assert 'need training' in log.read_text()


def test_multi_label_works(checkout: Path) -> None:
    lists = checkout / 'data' / 'several'
    lists.mkdir()
    for name in ('train', 'val'):
        text = (checkout / 'data' / 'mine' / f'{name}.txt').read_text()
        lists.joinpath(f'{name}.txt').write_text(
            re.sub(r' 1$', ' 1 2', text, flags=re.MULTILINE))
    files = [f'{name}_dataloader.dataset.ann_file={lists}/{file}.txt'
             for name, file in (('train', 'train'), ('val', 'val'),
                                ('test', 'val'))]
    run = train('data/mine/multi_label.py', *files)
    lines = scalars(run)
    # Binary cross-entropy of three undecided answers, not their sum.
    assert lines[0]['loss'] == pytest.approx(np.log(2), abs=0.1)
    assert 0 < lines[-1]['acc/mean_average_precision'] <= 1
    call(f'python tools/test.py data/mine/multi_label.py {run}/epoch_1.pth',
         '--work-dir', 'work_dirs/several', '--cfg-options', *files)
    assert 0 < results('several')['acc/mean_average_precision'] <= 1
