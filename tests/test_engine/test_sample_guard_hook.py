"""Runs repeat and resume to the digit, and survive broken videos."""

import json
import multiprocessing
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mmaction.registry import HOOKS, MODELS
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.model import BaseModel
from mmengine.registry import init_default_scope
from mmengine.runner import Runner, loops
from toy_videos import write_video

from mmvidadapt.compat.checkpoints import read_checkpoint
from mmvidadapt.datasets import BrokenVideoError, TooManyBrokenVideosError
from mmvidadapt.datasets.sample_fetcher import BrokenCount
from mmvidadapt.engine import SampleGuardHook
from tests.processes import cpu_only, in_two_processes

NUM_VIDEOS = 8
pytestmark = pytest.mark.filterwarnings('ignore::DeprecationWarning')


@MODELS.register_module()
class GuardTestModel(BaseModel):
    """A linear classifier on colour means that draws random numbers."""

    def __init__(self, data_preprocessor: dict) -> None:
        super().__init__(data_preprocessor)
        self.linear = torch.nn.Linear(3, 2)
        self.dropout = torch.nn.Dropout(0.5)

    def forward(self, inputs: torch.Tensor, data_samples: list,
                mode: str = 'tensor') -> dict | list:
        """Loss of a noisy batch, or nothing much for validation."""
        features = torch.stack([video.float().mean((0, 2, 3, 4)) / 255
                                for video in inputs])
        scores = self.linear(self.dropout(features))
        if mode == 'predict':
            return data_samples
        noise = torch.rand(()) + np.random.rand()  # as mixup would draw
        labels = torch.stack([sample.gt_label.argmax() % 2
                              if sample.gt_label.numel() > 1
                              else sample.gt_label[0]
                              for sample in data_samples])
        return dict(loss=torch.nn.functional.cross_entropy(
            scores, labels) * noise)


@HOOKS.register_module()
class GuardTestRecorder(Hook):
    """Write down the loss of every iteration and what was sampled."""

    def __init__(self, path: str) -> None:
        self.path = Path(path)

    def after_train_iter(self, runner: Runner, batch_idx: int,
                         data_batch: dict = None,
                         outputs: dict = None) -> None:
        """Append one line."""
        pixels = [round(video.double().mean().item(), 6)
                  for video in data_batch['inputs']]
        files = [Path(sample.filename).name
                 for sample in data_batch['data_samples']]
        line = dict(iter=runner.iter, epoch=runner.epoch, files=files,
                    pixels=pixels, loss=outputs['loss'].item())
        with self.path.open('a') as file:
            file.write(json.dumps(line) + '\n')


@HOOKS.register_module()
class GuardTestStop(Hook):
    """Stop the run the way a kill at an epoch boundary would."""

    priority = 'LOWEST'

    def __init__(self, after: int, by_epoch: bool = True) -> None:
        self.after = after
        self.by_epoch = by_epoch

    def after_train_epoch(self, runner: Runner) -> None:
        """Stop after an epoch, once the checkpoint is written."""
        if self.by_epoch and runner.epoch + 1 == self.after:
            raise KeyboardInterrupt

    def after_train_iter(self, runner: Runner, batch_idx: int,
                         data_batch: dict = None,
                         outputs: dict = None) -> None:
        """Stop after an iteration, once the checkpoint is written."""
        if not self.by_epoch and runner.iter + 1 == self.after:
            raise KeyboardInterrupt


@pytest.fixture(scope='module')
def video_list(tmp_path_factory) -> Path:
    """A list of eight sound videos, two classes."""
    folder = tmp_path_factory.mktemp('videos')
    lines = [f'{write_video(folder / f"{number}.mp4", 20 + number)} '
             f'{number % 2}' for number in range(NUM_VIDEOS)]
    (folder / 'train.txt').write_text('\n'.join(lines) + '\n')
    return folder / 'train.txt'


@pytest.fixture(autouse=True)
def _setting(monkeypatch) -> None:
    """Types without a prefix are MMAction2's; nothing takes its time.

    Formatting the config for the log and for every checkpoint takes longer
    than these runs, and MMEngine sleeps after each pass over the data.
    """
    init_default_scope('mmaction')
    monkeypatch.setattr(Config, 'pretty_text', property(lambda cfg: ''))
    monkeypatch.setattr(loops, 'time', SimpleNamespace(sleep=lambda _: None))


PIPELINE = [
    dict(type='DecordInit'),
    dict(type='UniformSample', clip_len=4),
    dict(type='DecordDecode'),
    dict(type='RandomResizedCrop'),
    dict(type='Resize', scale=(16, 16), keep_ratio=False),
    dict(type='Flip', flip_ratio=0.5),
    dict(type='FormatShape', input_format='NCTHW'),
    dict(type='PackActionInputs',
         meta_keys=('img_shape', 'filename')),
]


def config(work_dir: Path, video_list: Path, *, workers: int = 2,
           epochs: int = 3, stop: dict | None = None, seed: int | None = 7,
           guard: dict | None = None, **changes) -> Config:
    """A training run on tiny videos with every kind of randomness."""
    hooks = [guard or dict(type='SampleGuardHook'),
             dict(type='GuardTestRecorder',
                  path=str(work_dir / 'record.jsonl'))]
    if stop:
        hooks.append(dict(type='GuardTestStop', **stop))
    dataset = dict(type='VideoDataset', ann_file=str(video_list),
                   pipeline=PIPELINE, serialize_data=False)
    cfg = dict(
        default_scope='mmaction', work_dir=str(work_dir),
        experiment_name=f'{work_dir.parent.name}_{work_dir.name}',
        model=dict(type='GuardTestModel',
                   data_preprocessor=dict(type='BaseDataPreprocessor')),
        train_dataloader=dict(
            batch_size=2, num_workers=workers,
            persistent_workers=workers > 0,
            sampler=dict(type='DefaultSampler', shuffle=True),
            dataset=dataset),
        train_cfg=dict(type='EpochBasedTrainLoop', max_epochs=epochs),
        optim_wrapper=dict(type='OptimWrapper',
                           optimizer=dict(type='AdamW', lr=0.05)),
        param_scheduler=[dict(type='CosineAnnealingLR', T_max=3,
                              by_epoch=True)],
        default_hooks=dict(
            checkpoint=dict(type='CheckpointHook', interval=1),
            sampler_seed=dict(type='DistSamplerSeedHook'),
            logger=dict(type='LoggerHook', interval=1000)),
        custom_hooks=hooks, log_level='WARNING',
        randomness=dict(seed=seed))
    cfg.update(changes)
    return Config(cfg)


def evaluation(phase: str, video_list: Path, folder: Path,
               num_workers: int = 0, **loader) -> dict:
    """What a config says of validation or of testing."""
    dataset = dict(type='VideoDataset', ann_file=str(video_list),
                   pipeline=PIPELINE, test_mode=True, serialize_data=False)
    return {
        f'{phase}_dataloader': dict(
            batch_size=2, num_workers=num_workers, dataset=dataset,
            sampler=dict(type='DefaultSampler', shuffle=False), **loader),
        f'{phase}_cfg': {},
        f'{phase}_evaluator': dict(type='DumpResults', out_file_path=str(
            folder / f'{phase}.pkl'))}


@contextmanager
def ended(runner: Runner) -> Iterator[Runner]:
    """Let no worker outlive a run, though it is stopped or fails.

    In a process that goes on, each would cost five seconds.
    """
    try:
        yield runner
    except Exception as error:
        traceback.clear_frames(error.__traceback__)  # they hold a loader
        raise
    finally:
        SampleGuardHook().after_run(runner)


def train(cfg: Config) -> list[dict]:
    """Run the training and return what was recorded."""
    with ended(Runner.from_cfg(cfg)) as runner, suppress(KeyboardInterrupt):
        runner.train()
    path = Path(cfg.work_dir) / 'record.jsonl'
    return [json.loads(line) for line in path.read_text().splitlines()]


def resumed(tmp_path: Path, video_list: Path, stop: dict,
            **kwargs) -> list[dict]:
    """Run in two halves and return what both recorded."""
    train(config(tmp_path / 'half', video_list, stop=stop, **kwargs))
    cfg = config(tmp_path / 'half', video_list, **kwargs)
    cfg.resume = True
    return train(cfg)


@pytest.mark.parametrize('workers', [0, 2])
def test_a_run_resumed_at_an_epoch_boundary_gives_the_same_numbers(
        workers, tmp_path, video_list):
    whole = train(config(tmp_path / 'whole', video_list, workers=workers))
    halves = resumed(tmp_path, video_list, dict(after=1), workers=workers)
    assert len(whole) == 12
    assert halves == whole


def test_the_same_holds_for_a_run_that_names_no_seed(tmp_path, video_list):
    seed = torch.randint(1 << 31, ()).item()
    np.random.seed(seed % 1000)
    cfg = config(tmp_path / 'half', video_list, seed=None,
                 stop=dict(after=1))
    with ended(Runner.from_cfg(cfg)) as runner:
        drawn = runner.seed
        with pytest.raises(KeyboardInterrupt):
            runner.train()
    cfg = config(tmp_path / 'half', video_list, seed=None)
    cfg.resume = True
    halves = train(cfg)
    whole = train(config(tmp_path / 'whole', video_list, seed=drawn))
    assert halves == whole


def test_validation_in_between_changes_nothing(tmp_path, video_list):
    val = evaluation('val', video_list, tmp_path)
    plain = train(config(tmp_path / 'plain', video_list, workers=0))
    with_val = train(config(tmp_path / 'val', video_list, workers=0, **val))
    assert with_val == plain


@pytest.mark.parametrize('sampler', ['InfiniteSampler', 'DefaultSampler'])
def test_an_iteration_based_run_resumes_to_the_digit(sampler, tmp_path,
                                                     video_list):
    changes = dict(
        train_cfg=dict(type='IterBasedTrainLoop', max_iters=10,
                       val_interval=100),
        param_scheduler=[dict(type='CosineAnnealingLR', T_max=10,
                              by_epoch=False)])

    def run(name: str, **kwargs) -> Config:
        cfg = config(tmp_path / name, video_list, workers=1, **changes,
                     **kwargs)
        cfg.train_dataloader.sampler.type = sampler
        cfg.default_hooks.checkpoint.update(by_epoch=False, interval=6)
        return cfg

    whole = train(run('whole'))
    train(run('half', stop=dict(after=6, by_epoch=False)))
    cfg = run('half')
    cfg.resume = True
    assert len(whole) == 10
    assert train(cfg) == whole
    # The second pass over the data is drawn anew.
    drawn = [dict(zip(line['files'], line['pixels'])) for line in whole]
    first = {name: mean for part in drawn[:4] for name, mean in part.items()}
    second = {name: mean for part in drawn[4:8]
              for name, mean in part.items()}
    assert len(first) == len(second) == NUM_VIDEOS
    assert all(first[name] != second[name] for name in first)


def test_samples_do_not_depend_on_the_number_of_workers(tmp_path,
                                                        video_list):
    runs = [train(config(tmp_path / str(workers), video_list,
                         workers=workers, epochs=2)) for workers in (0, 2)]
    assert runs[0] == runs[1]


def test_without_the_hook_workers_do_change_the_samples(tmp_path,
                                                        video_list):
    runs = []
    for workers in (1, 2):
        cfg = config(tmp_path / str(workers), video_list, workers=workers,
                     epochs=1)
        cfg.custom_hooks = cfg.custom_hooks[1:]
        runs.append(train(cfg))
    assert [line['files'] for line in runs[0]] == \
        [line['files'] for line in runs[1]]
    assert runs[0] != runs[1]


def test_every_epoch_draws_anew_and_another_seed_draws_otherwise(
        tmp_path, video_list):
    seven = train(config(tmp_path / '7', video_list, epochs=2, workers=0))
    eight = train(config(tmp_path / '8', video_list, epochs=1, workers=0,
                         seed=8))

    def means(lines: list[dict]) -> dict[str, float]:
        return {name: mean for line in lines
                for name, mean in zip(line['files'], line['pixels'])}

    first, second, other = (means(seven[:4]), means(seven[4:]),
                            means(eight[:4]))
    for name in first:
        assert len({first[name], second[name], other[name]}) == 3


@pytest.mark.parametrize('wrapper', ['RepeatDataset', 'ConcatDataset',
                                     'ClassBalancedDataset'])
def test_wrapped_data_sets_are_drawn_by_their_outer_index(
        wrapper, tmp_path, video_list):
    inner = dict(type='VideoDataset', ann_file=str(video_list),
                 pipeline=PIPELINE, serialize_data=False)
    dataset = dict(
        RepeatDataset=dict(type='RepeatDataset', times=2, dataset=inner),
        ConcatDataset=dict(type='ConcatDataset', datasets=[inner, inner]),
        ClassBalancedDataset=dict(type='ClassBalancedDataset',
                                  oversample_thr=0.9, dataset=inner),
    )[wrapper]
    runs = []
    for workers in (0, 2):
        cfg = config(tmp_path / str(workers), video_list, workers=workers,
                     epochs=1)
        cfg.train_dataloader.dataset = dataset
        if wrapper == 'ClassBalancedDataset':
            pytest.importorskip('mmaction')
            from mmaction.datasets import VideoDataset

            # MMAction2 does not say which categories a video has.
            VideoDataset.get_cat_ids = \
                lambda self, idx: [self.get_data_info(idx)['label']]
        runs.append(train(cfg))
    if wrapper == 'ClassBalancedDataset':
        del VideoDataset.get_cat_ids
    assert runs[0] == runs[1]
    means = [mean for line in runs[0] for mean in line['pixels']]
    assert len(means) == 2 * NUM_VIDEOS
    assert len(set(means)) == 2 * NUM_VIDEOS  # the two copies differ


@pytest.mark.parametrize('loop', ['EpochBased', 'IterBased'])
def test_no_worker_outlives_the_run(loop, tmp_path, video_list):
    kept = dict(num_workers=1, persistent_workers=True)
    cfg = config(tmp_path / 'run', video_list, workers=2, epochs=2,
                 **evaluation('val', video_list, tmp_path, **kept),
                 **evaluation('test', video_list, tmp_path, **kept))
    if loop == 'IterBased':
        cfg.train_cfg = dict(type='IterBasedTrainLoop', max_iters=4,
                             val_interval=2)
    before = set(multiprocessing.active_children())
    runner = Runner.from_cfg(cfg)
    for phase in ('train', 'test', 'val', 'train'):
        getattr(runner, phase)()
        assert set(multiprocessing.active_children()) == before


def test_checkpoints_hold_nothing_but_plain_numbers_for_it(tmp_path,
                                                           video_list):
    train(config(tmp_path / 'run', video_list, epochs=1))
    checkpoint = read_checkpoint(tmp_path / 'run' / 'epoch_1.pth')
    assert checkpoint['sample_guard'] == dict(order_seed=7)


def broken_list(video_list: Path, folder: Path, number: int) -> Path:
    """The same list with ``number`` files missing."""
    lines = video_list.read_text().splitlines()
    lines[:number] = [f'{folder}/missing{place}.mp4 0'
                      for place in range(number)]
    path = folder / 'broken.txt'
    path.write_text('\n'.join(lines) + '\n')
    return path


@pytest.mark.parametrize('workers', [0, 2])
def test_broken_training_videos_are_replaced_repeatably_and_counted(
        workers, tmp_path, video_list, monkeypatch, capsys):
    broken = broken_list(video_list, tmp_path, 2)
    guard = dict(type='SampleGuardHook', max_broken=2)
    runs = [train(config(tmp_path / str(name), broken, guard=guard,
                         workers=workers)) for name in range(2)]
    assert runs[0] == runs[1]
    assert len(runs[0]) == 12  # no batch is missing
    names = {name for line in runs[0] for name in line['files']}
    assert names == {f'{number}.mp4' for number in range(2, NUM_VIDEOS)}
    log = next((tmp_path / '0').rglob('*.log')).read_text()
    assert 'missing0.mp4 does not exist' in log
    # Counted once each, over three epochs and two workers.
    assert log.count('2 broken training videos were left out so far '
                     '(2 are allowed)') == 1


@pytest.mark.parametrize('workers, max_broken, limit', [
    (2, 2, 2), (0, 0.3, 2), (0, 0, 0), (0, 0.01, 1)])
def test_too_many_broken_videos_stop_the_training(
        workers, max_broken, limit, tmp_path, video_list):
    broken = broken_list(video_list, tmp_path, 3)
    guard = dict(type='SampleGuardHook', max_broken=max_broken)
    with pytest.raises(TooManyBrokenVideosError) as caught:
        train(config(tmp_path / 'run', broken, guard=guard,
                     workers=workers))
    message = str(caught.value)
    assert (f'{limit + 1} training videos cannot be read, {limit} are '
            'allowed; the last one: ') in message
    assert 'does not exist' in message
    assert 'raise max_broken of SampleGuardHook' in message


def test_a_list_of_missing_files_ends_even_if_all_may_be_broken(
        tmp_path, video_list):
    broken = broken_list(video_list, tmp_path, NUM_VIDEOS)
    guard = dict(type='SampleGuardHook', max_broken=1.0)
    with pytest.raises(TooManyBrokenVideosError, match='drawn in a row '
                       'cannot be read; check data_prefix'):
        train(config(tmp_path / 'run', broken, guard=guard, workers=0))


RUN_OF_TWO = """
import os
import sys

import tests.test_engine.test_sample_guard_hook as tests
from mmvidadapt.datasets import TooManyBrokenVideosError

folder, videos = sys.argv[1:]
tests.init_default_scope('mmaction')
for limit, loop in (3, 'Epoch'), (3, 'Iter'), (4, 'Epoch'):
    guard = dict(type='SampleGuardHook', max_broken=limit)
    changes = dict(launcher='pytorch', guard=guard, workers=0, epochs=1)
    if loop == 'Iter':
        changes['train_cfg'] = dict(type='IterBasedTrainLoop', max_iters=4)
    name = os.environ['RANK'] + loop + str(limit)
    cfg = tests.config(
        tests.Path(folder) / name, tests.Path(videos), **changes)
    cfg.train_dataloader.sampler = dict(
        type='InfiniteSampler' if loop == 'Iter' else 'DefaultSampler',
        shuffle=False)
    runner = tests.Runner.from_cfg(cfg)
    try:
        runner.train()
    except TooManyBrokenVideosError as error:
        print(f'{loop} {limit} stopped: {error}', flush=True)
    else:
        print(f'{loop} {limit} finished', flush=True)
"""


@cpu_only
def test_the_limit_is_that_of_all_processes_together(tmp_path, video_list):
    # Each of the two meets two of the four broken videos.
    broken = broken_list(video_list, tmp_path, 4)
    printed = in_two_processes(RUN_OF_TWO, tmp_path, broken, folder=tmp_path)
    stopped = ('stopped: the processes together met more than the 3 broken '
               'training videos that are allowed; the log names them.')
    for end in (f'Epoch 3 {stopped}', f'Iter 3 {stopped}',
                'Epoch 4 finished'):
        assert printed.count(end) == 2, printed[-2000:]


def test_counts_merge_by_file_and_stop_beyond_the_limit():
    context = torch.multiprocessing.get_context()
    here, there = (BrokenCount(2, context) for _ in range(2))
    assert here.add('a') and here.add('b') and not here.add('a')
    assert there.add('b') and there.add('c')
    assert here.merge(here.marks) == 0 and int(here) == 2
    assert not here.exceeded
    assert here.merge(there.marks) == 1 and here.exceeded
    assert not here.add('d') and int(here) == 3


@pytest.mark.parametrize('max_broken', [-1, 1.5])
def test_a_senseless_limit_is_refused(max_broken):
    with pytest.raises(ValueError, match=f'max_broken is {max_broken}: '
                       'give the number'):
        HOOKS.build(dict(type='SampleGuardHook', max_broken=max_broken))


def test_a_pipeline_bug_stops_the_training_with_its_own_name(tmp_path,
                                                             video_list):
    cfg = config(tmp_path / 'run', video_list)
    del cfg.train_dataloader.dataset.pipeline[1]
    with pytest.raises(KeyError, match='frame_inds'):
        train(cfg)


@pytest.mark.parametrize('phase', ['val', 'test'])
def test_a_broken_video_in_validation_or_testing_is_a_named_error(
        phase, tmp_path, video_list):
    broken = broken_list(video_list, tmp_path, 1)
    cfg = config(tmp_path / 'run', video_list,
                 **evaluation(phase, broken, tmp_path, num_workers=2))
    with pytest.raises(BrokenVideoError, match='missing0.mp4 does not exist;'
                       ' fetch or encode the file again'):
        with ended(Runner.from_cfg(cfg)) as runner:
            getattr(runner, phase)()
