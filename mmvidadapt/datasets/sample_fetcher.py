"""Fetch training samples so that a run can be repeated and resumed exactly.

A worker process of a data loader has a random state of its own, which
depends on how many workers there are and on what each has done since it was
started. Here the random numbers of a sample depend on three integers only:
the seed, the epoch, and the sample's index.
"""

import hashlib
import logging
import random
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from multiprocessing.context import BaseContext
from typing import Any

import numpy as np
import torch
from mmengine.dataset import InfiniteSampler
from mmengine.logging import print_log

from .broken_video import BrokenVideoError

__all__ = ['EpochIndex', 'EpochStamper', 'SampleFetcher',
           'TooManyBrokenVideosError', 'seed_everything', 'seeded']

# So many broken videos in a row mean that hardly any is sound.
MAX_DRAWS = 100


class TooManyBrokenVideosError(RuntimeError):
    """More training videos are broken than the user allows."""


class EpochIndex(int):
    """A sample's index that remembers the epoch it was drawn for.

    The main process draws indices ahead of the training loop and hands them
    to its workers; the epoch goes with them, so that no worker has to be
    told which epoch it is in.
    """

    epoch: int

    def __new__(cls, index: int, epoch: int) -> 'EpochIndex':
        """Stamp ``index`` with ``epoch``."""
        stamped = super().__new__(cls, index)
        stamped.epoch = epoch
        return stamped

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (int(self), self.epoch)


class EpochStamper:
    """Wrap a sampler so that every index carries its epoch.

    Args:
        sampler (Any): The sampler of a data loader.
        rank (int): This process among the processes that train together.
        world_size (int): Number of these processes.

    Attributes:
        epoch (int): Epoch of the next pass over the sampler. It counts by
            itself; whoever knows better sets it before a pass.
    """

    def __init__(self, sampler: Any, rank: int = 0,
                 world_size: int = 1) -> None:
        self.sampler = sampler
        self.epoch = 0
        self._rank = rank
        self._world_size = world_size

    def __getattr__(self, name: str) -> Any:
        # Not for what pickle looks up before there is a sampler.
        if name.startswith('__') or name == 'sampler':
            raise AttributeError(name)
        return getattr(self.sampler, name)

    def __len__(self) -> int:
        return len(self.sampler)

    def __iter__(self) -> Iterator[EpochIndex]:
        first = self.epoch
        endless = isinstance(self.sampler, InfiniteSampler)
        for place, index in enumerate(self.sampler):
            # An endless sampler deals one permutation of the whole data set
            # after another to all processes in turn.
            past = (place * self._world_size + self._rank
                    ) // len(self.sampler) if endless else 0
            yield EpochIndex(index, first + past)
        self.epoch = first + 1


def _words(*key: int) -> np.ndarray:
    """Four words of 32 bits that depend on ``key`` only."""
    return np.random.SeedSequence(key).generate_state(4)


def seed_everything(*key: int) -> None:
    """Seed Python, NumPy and Torch (all devices) from non-negative integers:
    for example from seed, iteration and rank.
    """
    words = _words(*key)
    random.seed(words.tobytes())
    np.random.seed(words)
    torch.manual_seed(int(words.view(np.uint64)[0]) >> 1)


@contextmanager
def seeded(*key: int) -> Iterator[None]:
    """Seed the generators of the CPU, and put their states back afterwards.

    The key is of non-negative integers, for example seed, epoch and index.
    """
    states = random.getstate(), np.random.get_state(), torch.get_rng_state()
    words = _words(*key)
    random.seed(words.tobytes())
    np.random.seed(words)
    # Not torch.manual_seed, which would also reset the accelerators, whose
    # states are not put back.
    torch.default_generator.manual_seed(int(words.view(np.uint64)[0]) >> 1)
    try:
        yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])
        torch.set_rng_state(states[2])


class BrokenCount:
    """Number of different broken files, shared by all workers of a loader.

    Processes that train together each have one; what the others found is
    taken over by :meth:`merge`.

    Args:
        limit (int): How many may be broken.
        context (BaseContext): How the loader starts its workers.
    """

    def __init__(self, limit: int, context: BaseContext) -> None:
        self.limit = limit
        # Place 0 is the number of names kept behind it.
        self._shared = context.Array('q', limit + 2)

    def __int__(self) -> int:
        return self._shared[0]

    def add(self, name: str) -> bool:
        """Count ``name`` unless it was counted; return whether it is new."""
        digest = hashlib.blake2b(name.encode(), digest_size=8).digest()
        return self.merge([int.from_bytes(digest, 'big', signed=True)]) > 0

    @property
    def marks(self) -> list[int]:
        """One number for each file that was counted."""
        with self._shared.get_lock():
            return self._shared[1:self._shared[0] + 1]

    def merge(self, marks: Iterable[int]) -> int:
        """Count files by their marks; one beyond the limit is the last.

        Args:
            marks (Iterable[int]): What :attr:`marks` of other counts gave.

        Returns:
            int: How many of them are new.
        """
        new = 0
        with self._shared.get_lock():
            kept = np.frombuffer(self._shared.get_obj(), dtype=np.int64)
            for mark in marks:
                used = int(kept[0])
                if used > self.limit:
                    break
                if not (kept[1:used + 1] == mark).any():
                    kept[used + 1] = mark
                    kept[0] = used + 1
                    new += 1
        return new

    @property
    def exceeded(self) -> bool:
        """Whether more files are broken than allowed."""
        return int(self) > self.limit


class SampleFetcher:
    """Fetch a batch: repeatable random numbers, broken videos replaced.

    An instance is put on a data set as its ``__getitems__``, which Torch's
    data loader asks for a whole batch where there is one. It therefore holds
    for any data set and any wrapper around it.

    Args:
        dataset (Any): The training data set, outermost wrapper.
        seed (int): Seed of the run, the same in all processes.
        broken (BrokenCount): Counts the videos that were left out.
    """

    def __init__(self, dataset: Any, seed: int, broken: BrokenCount) -> None:
        self.dataset = dataset
        self.seed = seed
        self.broken = broken

    def __call__(self, indices: Sequence[int]) -> list[Any]:
        """Fetch samples.

        Args:
            indices (Sequence[int]): Indices into the data set;
                :class:`EpochIndex` tells the epoch, a plain one is taken as
                epoch 0.

        Returns:
            list: One sample for each index.

        Raises:
            TooManyBrokenVideosError: If more videos are broken than allowed.
        """
        return [self._fetch(index) for index in indices]

    def _fetch(self, index: int) -> Any:
        """One sample, drawn from seed, epoch and index alone."""
        with seeded(self.seed, getattr(index, 'epoch', 0), int(index)):
            place = int(index)
            for _ in range(MAX_DRAWS):
                try:
                    return self.dataset[place]
                except BrokenVideoError as error:
                    self._count(error)
                    # Inside the seeded block: the stand-in is repeatable.
                    place = int(np.random.randint(len(self.dataset)))
        raise TooManyBrokenVideosError(
            f'{MAX_DRAWS} training videos drawn in a row cannot be read; '
            'check data_prefix and ann_file of the training data set.')

    def _count(self, error: BrokenVideoError) -> None:
        """Count a broken video and stop if there are too many."""
        is_new = self.broken.add(error.path)
        count = int(self.broken)
        if self.broken.exceeded:
            raise TooManyBrokenVideosError(
                f'{count} training videos cannot be read, '
                f'{self.broken.limit} are allowed; the last one: {error} If '
                'most files are missing, check data_prefix; to train without '
                'the broken ones, raise max_broken of SampleGuardHook.'
            ) from error
        if is_new:
            print_log(f'Left out broken video number {count}: {error}',
                      logger='current', level=logging.WARNING)
