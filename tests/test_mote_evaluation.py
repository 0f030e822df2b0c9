"""A test of MoTE draws nothing, and its scores are those of each video.

Whole runs of ``tools/test.py`` on video files: a model that was trained on
other classes, so that temporal feature modulation is at work.
"""

import random
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.fileio import load as load_pickle
from mmengine.registry import DefaultScope
from torch import Tensor

from mmvidadapt.apis.cli import build_runner
from tests.conftest import ROOT
from tests.processes import cpu_only, in_two_processes
from tests.scripts import tool, write_videos
from tests.tiny import write_tiny_config

#: No multiple of the batch sizes, nor of two processes.
VIDEOS = 5


@pytest.fixture(scope='module')
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Videos, a trained checkpoint, and a config of other classes."""
    folder = tmp_path_factory.mktemp('evaluation')
    lines = write_videos(folder, VIDEOS)
    done = tool('train.py', write_tiny_config('mote/vitb_k400.py', folder),
                '--work-dir', str(folder / 'trained'), '--synthetic', '2')
    assert done.returncode == 0, done.stderr[-3000:]
    (folder / 'trained' / 'epoch_1.pth').rename(folder / 'model.pth')
    dataset = 'test_dataloader__dataset'
    write_tiny_config('mote/vitb_zeroshot_hmdb51.py', folder, **{
        f'{dataset}__ann_file': str(lines),
        f'{dataset}__data_prefix__video': str(folder)})
    return folder


def scores(file: Path) -> Tensor:
    found = load_pickle(file)
    assert len(found) == VIDEOS
    return torch.stack([video['pred_score'] for video in found])


def run(folder: Path, **options: object) -> Tensor:
    """Scores of ``tools/test.py`` with settings of the loader."""
    out = folder / f'{len(list(folder.glob("*.pkl")))}.pkl'
    done = tool('test.py', str(folder / 'vitb_zeroshot_hmdb51.py'),
                str(folder / 'model.pth'), '--work-dir', str(folder / 'work'),
                '--dump', str(out), '--cfg-options',
                *(f'test_dataloader.{name}={value}'
                  for name, value in options.items()))
    assert done.returncode == 0, done.stderr[-3000:]
    return scores(out)


@pytest.fixture(scope='module')
def expected(folder: Path) -> Tensor:
    """Scores of the videos, one at a time."""
    return run(folder, batch_size=1)


def test_the_scores_are_modulated_and_of_different_videos(
        folder: Path, expected: Tensor) -> None:
    assert expected.shape == (VIDEOS, 51)
    assert len({tuple(video.tolist()) for video in expected}) == VIDEOS
    cfg = Config.fromfile(folder / 'vitb_zeroshot_hmdb51.py')
    assert cfg.model.neck.num_experts == 4
    assert cfg.model.cls_head.get('modulate', True)


@pytest.mark.parametrize('options', [
    dict(batch_size=3), dict(batch_size=5),
    dict(batch_size=2, num_workers=2)], ids=str)
def test_scores_do_not_depend_on_the_batch(
        folder: Path, expected: Tensor, options: dict) -> None:
    torch.testing.assert_close(run(folder, **options), expected, atol=1e-6,
                               rtol=1e-5)


def test_a_test_draws_no_random_number(folder: Path) -> None:
    cfg = Config.fromfile(folder / 'vitb_zeroshot_hmdb51.py')
    cfg.load_from = str(folder / 'model.pth')
    cfg.work_dir = str(folder / 'drawn')
    cfg.experiment_name = 'drawn'
    scope = DefaultScope.get_current_instance()
    try:
        runner = build_runner(cfg)

        def states() -> list:
            return [torch.get_rng_state().tolist(), random.getstate(),
                    [part.tolist() if isinstance(part, np.ndarray) else part
                     for part in np.random.get_state()]]

        before = states()
        runner.test()
        assert states() == before
    finally:
        if scope is None:
            DefaultScope._instance_dict.clear()


_TWO = '''
import os, runpy, sys
from torch import distributed

root, folder = sys.argv[1:3]
config, model = f'{folder}/vitb_zeroshot_hmdb51.py', f'{folder}/model.pth'


def call(name, *args):
    sys.argv = [f'{root}/tools/{name}', *args, '--launcher', 'pytorch',
                '--work-dir', f'{folder}/two']
    sys.path[0] = f'{root}/tools'
    try:
        runpy.run_path(sys.argv[0], run_name='__main__')
    except SystemExit as end:
        assert not end.code, end.code
    assert distributed.get_world_size() == 2


call('test.py', config, model, '--dump', f'{folder}/two.out.pkl')
for _ in range(2):  # the second time, both know that nothing is left
    call('test_protocol.py', 'zero-shot', model, '--configs', config)
'''


@cpu_only
def test_two_processes_give_the_scores_of_one(
        folder: Path, expected: Tensor) -> None:
    printed = in_two_processes(_TWO, ROOT, folder, folder=folder)
    torch.testing.assert_close(scores(folder / 'two.out.pkl'), expected,
                               atol=1e-6, rtol=1e-5)
    # One of the processes speaks.
    first, second = (printed.count(word) for word in (
        '_split1: testing', 'taken from'))
    assert (first, second) == (1, 1), printed
    assert printed.count('wrote ') == 2
