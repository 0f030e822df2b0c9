"""Whether reading videos or the model limits a config.

::

    one process, step by step  --> seconds of each transform of a sample
    the loader of the config   --> samples/s of the data
    steps on one batch again   --> samples/s of the model
"""

import copy
import math
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
from mmaction.registry import DATASETS, MODELS
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmengine.registry import init_default_scope
from mmengine.runner import Runner
from torch import nn

from ..datasets.broken_video import ReadGuard, guard_reading, leaf_datasets
from ..datasets.video_files import VIDEO_SUFFIXES, files_below

__all__ = ['DataSpeed', 'measure_data']

SPLITS = ('train', 'val', 'test')
#: Ratio of two speeds that counts as the same.
_ALIKE = 1.1


@dataclass
class DataSpeed:
    """Speed of the data of a config and of its model.

    A sample is what the data set gives: a clip in training, all views of a
    video in testing; augmented copies of one video are one sample.

    Args:
        split (str): ``'train'``, ``'val'`` or ``'test'``.
        device (str): Where the model ran.
        workers (int): Processes that read.
        batch_size (int): Samples of a batch.
        data (float): Samples per second that the loader gives, without the
            model.
        model (float): Samples per second that the model takes: a step with
            backward and optimiser in training, else a prediction.
        seconds (dict[str, float]): Median seconds of each transform for one
            sample in one process.
    """

    split: str
    device: str
    workers: int
    batch_size: int
    data: float
    model: float
    seconds: dict[str, float] = field(default_factory=dict)

    @property
    def limit(self) -> str:
        """What limits: ``'data'``, ``'model'`` or ``'both'``."""
        if self.data >= self.model * _ALIKE:
            return 'model'
        return 'data' if self.model >= self.data * _ALIKE else 'both'

    @property
    def decoding(self) -> float:
        """Part of the seconds of a sample that opening and decoding take."""
        return sum(seconds for name, seconds in self.seconds.items()
                   if 'Init' in name or 'Decode' in name) / sum(
                       self.seconds.values())

    def verdict(self) -> str:
        """One sentence: what limits, and what to do about it."""
        told = (f'the data gives {self.data:.2f} samples/s with '
                f'{self.workers} workers, the model takes {self.model:.2f}')
        if self.limit == 'both':
            return f'Neither limits: {told}.'
        if self.limit == 'model':
            return f'The model limits: {told}.'
        needed = math.ceil(max(self.workers, 1) * self.model / self.data)
        part = ('decoding' if self.decoding > .5
                else 'transforms after decoding')
        return (f'The data limits, mostly by {part} ({self.decoding:.0%} of '
                f'its time is decoding): {told}; about {needed} workers on '
                'as many cores would keep up.')

    def as_dict(self) -> dict:
        """Plain containers, as JSON takes them."""
        return dict(asdict(self), limit=self.limit, decoding=self.decoding,
                    verdict=self.verdict())

    def __str__(self) -> str:
        width = max(map(len, self.seconds))
        lines = [f'{self.split}, batches of {self.batch_size}, '
                 f'{self.device}', f'{"transform":{width}}  ms a sample']
        lines += [f'{name:{width}}  {1000 * seconds:11.1f}'
                  for name, seconds in self.seconds.items()]
        return '\n'.join([*lines, self.verdict()])


class _Timed:
    """A transform that notes how long it takes."""

    def __init__(self, transform: Callable, taken: list[float]) -> None:
        self.transform = transform
        self.taken = taken

    def __call__(self, results: dict) -> Any:
        start = time.perf_counter()
        try:
            return self.transform(results)
        finally:
            self.taken.append(time.perf_counter() - start)


def _per_transform(dataset: Any, number: int) -> dict[str, float]:
    """Median seconds of each transform, over samples spread evenly."""
    steps = leaf_datasets(dataset)[0].pipeline.transforms
    plain = list(steps)
    taken: list[list[float]] = [[] for _ in steps]
    steps[:] = [_Timed(step, times)
                for step, times in zip(plain, taken, strict=True)]
    try:
        dataset[0]  # libraries are loaded by the first sample
        for times in taken:
            times.clear()
        number = min(number, len(dataset))
        for place in range(number):
            dataset[place * len(dataset) // number]
    finally:
        steps[:] = plain
    seconds: dict[str, float] = {}
    for step, times in zip(plain, taken, strict=True):
        inner = step.transform if isinstance(step, ReadGuard) else step
        name = type(inner).__name__
        while name in seconds:
            name += "'"
        seconds[name] = statistics.median(times)
    return seconds


def _list_folder(folder: Path, path: Path) -> None:
    """Write the list of the videos of a folder, all of label 0."""
    videos = files_below(folder) if folder.is_dir() else []
    if not videos:
        raise ValueError(f'{folder} is no folder with videos '
                         f'({", ".join(VIDEO_SUFFIXES)}): give one')
    path.write_text(''.join(f'{video.resolve()} 0\n' for video in videos))


def _build_dataset(dataset: dict, folder: Path | None) -> Any:
    """The data set of a config, or its pipeline on the videos of a folder."""
    if folder is None:
        return DATASETS.build(dataset)
    inner = dataset
    while 'dataset' in inner:
        inner = inner['dataset']
    if inner['type'] == 'RawframeDataset':
        raise ValueError('the config reads folders of frames, not video '
                         'files: set its ann_file and data_prefix')
    with tempfile.TemporaryDirectory() as lists:
        path = Path(lists, 'list.txt')
        _list_folder(folder, path)
        inner.update(ann_file=str(path), data_prefix=dict(video=''))
        return DATASETS.build(dataset)


def _without_weights(cfg: Any) -> None:
    """Let nothing in a model's config read weights, in place."""
    for name, value in cfg.items():
        if name == 'weights':
            cfg[name] = None
        elif isinstance(value, dict):
            _without_weights(value)


def measure_data(cfg: Config, split: str = 'train', *,
                 videos: str | os.PathLike | None = None, samples: int = 32,
                 steps: int = 5, device: str | None = None) -> DataSpeed:
    """Measure the data of a config against its model.

    The loader runs as in a run of the config, with its batch size and its
    workers, until so many samples came after the first batch. The model has
    random weights and runs in the precision of the config.

    Args:
        cfg (Config): The config.
        split (str): ``'train'``, ``'val'`` or ``'test'``.
        videos (str | os.PathLike | None): Folder of videos to read in place
            of the config's data.
        samples (int): Samples to read.
        steps (int): Steps of the model; the median counts.
        device (str | None): Where it runs; a GPU if there is one, if None.

    Returns:
        DataSpeed: Both speeds.

    Raises:
        ValueError: If the config lacks the split, or a number is too small.
        FileNotFoundError: If its lists are not there.
        BrokenVideoError: If a video is broken.
    """
    if split not in SPLITS or cfg.get(f'{split}_dataloader') is None:
        raise ValueError(f'the config has no {split}_dataloader: give a split '
                         'that it has')
    for name, value in (('samples', samples), ('steps', steps)):
        if value < 1:
            raise ValueError(f'{name}={value} is too small: give at least 1')
    cfg = copy.deepcopy(cfg)
    init_default_scope(cfg.get('default_scope', 'mmaction'))
    target = torch.device(
        device or ('cuda' if torch.cuda.is_available() else 'cpu'))
    loader_cfg = cfg[f'{split}_dataloader']
    dataset = _build_dataset(
        loader_cfg.dataset, None if videos is None else Path(videos))
    guard_reading(dataset)
    seconds = _per_transform(dataset, samples)
    batch_size = min(loader_cfg.batch_size, len(dataset))
    training = split == 'train'
    loader = Runner.build_dataloader(dict(
        loader_cfg, dataset=dataset, batch_size=batch_size,
        sampler=dict(type='InfiniteSampler', shuffle=training)), seed=0)
    rate, batch = _data_rate(loader, batch_size, samples)
    _without_weights(cfg.model)
    model = MODELS.build(cfg.model).to(target).train(training)
    step = _train_step(cfg, model) if training else (
        torch.no_grad()(model.test_step))
    return DataSpeed(
        split, str(target), loader_cfg.num_workers, batch_size, rate,
        batch_size / _step_seconds(step, batch, steps, target), seconds)


def _data_rate(loader: Any, batch_size: int,
               samples: int) -> tuple[float, dict]:
    """Samples per second once the workers run, and a batch."""
    batches = iter(loader)
    batch = next(batches)  # starts the workers
    # What they read ahead meanwhile is not read in the time measured.
    ahead = loader.num_workers * (loader.prefetch_factor or 0)
    for _ in range(ahead):
        next(batches)
    number = math.ceil(samples / batch_size)
    start = time.perf_counter()
    for _ in range(number):
        batch = next(batches)
    return number * batch_size / (time.perf_counter() - start), batch


def _train_step(cfg: Config, model: nn.Module) -> Callable[[dict], Any]:
    """A step as a run makes it, in its precision."""
    wrapper = build_optim_wrapper(model, cfg.optim_wrapper)
    wrapper.initialize_count_status(model, 0, sys.maxsize)
    return partial(model.train_step, optim_wrapper=wrapper)


def _step_seconds(step: Callable[[dict], Any], batch: dict, steps: int,
                  device: torch.device) -> float:
    """Median seconds of a step; the first one is not counted."""
    taken = []
    for _ in range(steps + 1):
        given = copy.deepcopy(batch)
        _wait(device)
        start = time.perf_counter()
        step(given)
        _wait(device)
        taken.append(time.perf_counter() - start)
    return statistics.median(taken[1:])


def _wait(device: torch.device) -> None:
    if device.type == 'cuda':
        torch.cuda.synchronize(device)
