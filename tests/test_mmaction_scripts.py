"""MMAction2's own scripts and interface run our configs as they are.

The scripts are those that MMAction2 installs. Each is started once by
``python SCRIPT``; further cases run in this process.
"""

import json
import os
import pickle
import re
import subprocess
import sys
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmaction.apis import (
    MMAction2Inferencer,
    inference_recognizer,
    init_recognizer,
)
from mmaction.apis.inferencers import ActionRecogInferencer
from mmengine.config import Config
from mmengine.registry import init_default_scope

from mmvidadapt.compat.checkpoints import read_checkpoint
from mmvidadapt.run import mmaction_tools
from tests.conftest import ROOT
from tests.scripts import run_here, video_config, write_videos

CONFIG = ROOT / 'configs' / 'inti' / 'vitb_k400.py'
NUM_VIDEOS = 6
NUM_CLASSES = 400
# What a checkpoint of a model without InTI is refused with.
OTHER_MODEL = (
    r"This checkpoint does not fit 'backbone' \(CLIPViT\): \d+ missing "
    r'\(backbone\.adapters\.0\.5\..*Load the checkpoint that was trained '
    'with this config')


@pytest.fixture(scope='module')
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Videos, a tiny config, and checkpoints of it and of another model."""
    folder = tmp_path_factory.mktemp('scripts')
    ann_file = write_videos(folder, NUM_VIDEOS)
    for name, stem in (('inti/vitb_k400.py', 'own'),
                       ('inti/vitb_k400_naive.py', 'other')):
        config = video_config(name, folder, ann_file, folder)
        model = init_recognizer(config, device='cpu')
        torch.save(dict(state_dict=model.state_dict(), meta={}),
                   folder / f'{stem}.pth')
    return folder


@pytest.fixture(scope='module')
def config(folder: Path) -> str:
    """The tiny config."""
    return str(folder / CONFIG.name)


def script(name: str) -> Path:
    """One of MMAction2's installed scripts."""
    return mmaction_tools() / name


@pytest.fixture(scope='module')
def started(folder: Path, config: str) -> dict[str, Future]:
    """All scripts, two at a time."""
    commands = dict(
        train=[script('train.py'), config, '--work-dir', folder / 'train',
               '--amp'],
        test=[script('test.py'), config, folder / 'own.pth', '--work-dir',
              folder / 'test', '--dump', folder / 'scores.pkl'],
        print_config=[script('analysis_tools/print_config.py'), CONFIG],
        browse=[script('visualizations/browse_dataset.py'), config,
                folder / 'browse', '--mode', 'pipeline', '-n', '1'],
        confusion=['-m', 'mmvidadapt.run',
                   'analysis_tools/confusion_matrix.py', config,
                   folder / 'own.pth', '--out', folder / 'matrix.pkl',
                   '--show-path', folder / 'matrix.png',
                   '--target-classes', '0', '1'])
    env = {**os.environ, 'OMP_NUM_THREADS': '1', 'PYTHONPATH': os.pathsep.join(
        [str(ROOT), os.environ.get('PYTHONPATH', '')])}

    def start(command: list) -> subprocess.CompletedProcess:
        return subprocess.run(
            [sys.executable, '-W', 'ignore', *map(str, command)], cwd=folder,
            env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            text=True, timeout=500)

    with ThreadPoolExecutor(max_workers=2) as pool:
        yield {name: pool.submit(start, command)
               for name, command in commands.items()}


def output(running: Future) -> str:
    """Wait for a script, which must end well."""
    done = running.result()
    assert done.returncode == 0, done.stdout[-3000:]
    return done.stdout


def test_train_script_trains_validates_and_saves(
        folder: Path, started: dict[str, Future]) -> None:
    text = output(started['train'])
    losses = [float(x) for x in re.findall(r' loss: (\S+)', text)]
    assert len(losses) == NUM_VIDEOS // 2
    assert all(0 < loss < 20 for loss in losses)
    assert re.search(r'Epoch\(val\) \[1\]\[3/3\] +acc/top1: [01]\.\d+', text)
    saved = read_checkpoint(folder / 'train' / 'epoch_1.pth')
    assert saved['optimizer']['loss_scaler'] == {}  # bfloat16 on the CPU


def test_test_script_prints_and_dumps(
        folder: Path, started: dict[str, Future]) -> None:
    text = output(started['test'])
    assert re.search(r'acc/top1: [01]\.\d+', text)
    scores = pickle.loads((folder / 'scores.pkl').read_bytes())
    assert len(scores) == NUM_VIDEOS
    assert scores[0]['pred_score'].shape == (NUM_CLASSES, )


def test_print_config_prints_a_published_config(
        tmp_path: Path, started: dict[str, Future]) -> None:
    text = output(started['print_config'])
    (tmp_path / 'printed.py').write_text(text.partition('Config:\n')[2])
    assert Config.fromfile(tmp_path / 'printed.py').to_dict() == (
        Config.fromfile(CONFIG).to_dict())


def test_browse_dataset_writes_a_video_of_every_step(
        folder: Path, started: dict[str, Future]) -> None:
    output(started['browse'])
    written = list((folder / 'browse').rglob('*.mp4'))
    assert len(written) == 1
    video = cv2.VideoCapture(str(written[0]))
    # The writer may repeat the last frame.
    assert video.get(cv2.CAP_PROP_FRAME_COUNT) in (16, 17)
    # Decoded, resized, cropped, ..., side by side.
    assert video.get(cv2.CAP_PROP_FRAME_WIDTH) > 5 * 32


def test_confusion_matrix_counts_every_video(
        folder: Path, started: dict[str, Future]) -> None:
    output(started['confusion'])
    matrix = pickle.loads((folder / 'matrix.pkl').read_bytes())
    assert matrix.shape == (2, 2)
    assert cv2.imread(str(folder / 'matrix.png')) is not None


def test_scripts_refuse_the_checkpoint_of_another_model(
        folder: Path, config: str) -> None:
    other = folder / 'other.pth'
    with pytest.raises(RuntimeError, match=OTHER_MODEL):
        run_here(script('train.py'), config, '--work-dir',
                 str(folder / 'refused'), '--cfg-options',
                 f'load_from={other}')
    assert not list((folder / 'refused').rglob('*.pth'))
    with pytest.raises(RuntimeError, match=OTHER_MODEL):
        run_here(script('test.py'), config, str(other), '--work-dir',
                 str(folder / 'untested'), '--dump',
                 str(folder / 'untested.pkl'))
    assert not (folder / 'untested.pkl').exists()
    with pytest.raises(RuntimeError, match=OTHER_MODEL):
        run_here(script('analysis_tools/confusion_matrix.py'), config,
                 str(other))


def test_recognizer_predicts_as_the_test_script_did(
        folder: Path, config: str,
        started: dict[str, Future]) -> None:
    output_of_test = folder / 'scores.pkl'
    output(started['test'])
    model = init_recognizer(config, str(folder / 'own.pth'), device='cpu')
    found = inference_recognizer(model, str(folder / '3.mp4'))
    expected = pickle.loads(output_of_test.read_bytes())[3]['pred_score']
    torch.testing.assert_close(found.pred_score, expected)
    assert found.pred_score.sum().item() == pytest.approx(1, abs=1e-4)


def test_recognizer_reads_a_real_video(folder: Path, config: str,
                                       shared_data: Path) -> None:
    model = init_recognizer(config, str(folder / 'own.pth'), device='cpu')
    for name in ('demo.mp4', 'test.avi'):
        found = inference_recognizer(
            model, str(shared_data / 'videos' / name))
        assert found.pred_score.shape == (NUM_CLASSES, )


def test_recognizer_and_inferencer_refuse_another_model(
        folder: Path, config: str) -> None:
    other = str(folder / 'other.pth')
    with pytest.raises(RuntimeError, match=OTHER_MODEL):
        init_recognizer(config, other, device='cpu')
    with pytest.raises(RuntimeError, match=OTHER_MODEL):
        MMAction2Inferencer(config, other, device='cpu')


def test_inferencer_writes_labels_and_a_video(folder: Path, config: str,
                                              tmp_path: Path) -> None:
    (tmp_path / 'labels.txt').write_text(
        '\n'.join(f'action {n}' for n in range(NUM_CLASSES)))
    inferencer = MMAction2Inferencer(
        config, str(folder / 'own.pth'), device='cpu',
        label_file=str(tmp_path / 'labels.txt'))
    source = folder / '0.mp4'
    found = inferencer(str(source), vid_out_dir=str(tmp_path / 'out'),
                       pred_out_file=str(tmp_path / 'found.json'))
    written = json.loads((tmp_path / 'found.json').read_text())
    assert written['predictions'] == found['predictions']
    scores = written['predictions'][0]['rec_scores'][0]
    assert written['predictions'][0]['rec_labels'][0] == [np.argmax(scores)]
    video = cv2.VideoCapture(str(tmp_path / 'out' / '0.mp4'))
    assert video.get(cv2.CAP_PROP_FRAME_COUNT) in (20, 21)
    drawn = video.read()[1].astype(int)
    plain = cv2.VideoCapture(str(source)).read()[1].astype(int)
    # The label is drawn into the picture.
    assert np.abs(drawn - plain).max() > 100


@pytest.mark.parametrize('name', [
    'vitb_k400.py', 'vitb_ssv2_temp.py', 'vitb_ucf101_temp.py',
    'vitb_hmdb51_temp.py'])
@pytest.mark.parametrize('input_format', ['video', 'array'])
def test_inferencer_rewrites_our_pipelines_without_harm(
        name: str, input_format: str, folder: Path) -> None:
    init_default_scope('mmaction')
    cfg = Config.fromfile(CONFIG.parent / name)
    inferencer = ActionRecogInferencer.__new__(ActionRecogInferencer)
    inferencer.input_format, inferencer.pack_cfg = input_format, {}
    pipeline = inferencer._init_pipeline(cfg)
    source = str(folder / '0.mp4')
    if input_format == 'array':
        source = np.zeros((20, 48, 64, 3), np.uint8)
    clips = pipeline(source)['inputs']
    num_clips = next(step for step in cfg.test_pipeline
                     if step['type'] == 'UniformSample').get('num_clips', 1)
    assert clips.shape == (num_clips, 3, 16, 224, 224)
