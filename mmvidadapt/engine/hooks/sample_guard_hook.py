"""Make runs repeatable and resumable, and survive broken videos."""

from typing import Any

import torch
import torch.multiprocessing as multiprocessing
from mmaction.registry import HOOKS
from mmengine.dataset import InfiniteSampler
from mmengine.dist import all_gather_object, get_dist_info
from mmengine.hooks import Hook
from mmengine.optim import OptimWrapper
from mmengine.runner import BaseLoop, Runner

from ...datasets.broken_video import guard_reading
from ...datasets.sample_fetcher import (
    BrokenCount,
    EpochStamper,
    SampleFetcher,
    TooManyBrokenVideosError,
    seed_everything,
)

__all__ = ['SampleGuardHook']


@HOOKS.register_module()
class SampleGuardHook(Hook):
    """Draw from (seed, epoch, index), leave broken videos out, count them.

    What it does for training:

    - The random numbers of a sample (frame sampling, crops, colours, the
      stand-in for a broken video) depend on the run's seed, the epoch and
      the sample's index; not on the number of workers or processes, nor on
      what a worker did before. Iteration-based loops count a pass over the
      data as an epoch.
    - The random numbers of a step (mixup, dropout, drop path) depend on the
      seed, the iteration and the rank. A resumed run therefore repeats the
      numbers of an uninterrupted one without any state in the checkpoint.
    - Gradients that are accumulated over several steps are used up at the
      end of an epoch, because a checkpoint does not hold them.
    - The seed of the shuffle order is kept in the checkpoint, because
      MMEngine draws a new one at every start that names no seed.
    - A broken video is replaced by another one and counted.

    Workers end with the run. Those that a loader keeps
    (``persistent_workers``) would idle until Python collects the runner, and
    then cost five seconds each: the queue through which they are told to end
    is collected before them.

    In validation and testing a broken video is an error that names the file,
    what is wrong with it, and what to do. Both leave the random numbers of
    the process as they were: the seeds of their workers come from the run's.

    Args:
        max_broken (int | float): How many different training videos may be
            broken before training stops; a float is a share of the training
            set (at least one video). The limit is that of the whole run:
            processes that train together share what they found after each
            pass over the data, so that a video counts once for all of them;
            a process that finds too many by itself stops at once. Defaults
            to 0.05.

    Raises:
        ValueError: If ``max_broken`` is negative, or a float above 1.
    """

    # Before any hook that touches the batch.
    priority = 'VERY_HIGH'
    CHECKPOINT_KEY = 'sample_guard'

    def __init__(self, max_broken: int | float = 0.05) -> None:
        if max_broken < 0 or (isinstance(max_broken, float)
                              and max_broken > 1):
            raise ValueError(
                f'max_broken is {max_broken}: give the number of videos as '
                'an int of at least 0, or a share as a float from 0 to 1.')
        self.max_broken = max_broken
        self._seed = 0
        self._rank = 0
        self._stamper: EpochStamper | None = None
        self._broken: BrokenCount | None = None
        self._reported = 0
        self._saved: dict[str, int] = {}

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Keep what an earlier run left; used only if it is resumed.

        Args:
            runner (Runner): The runner.
            checkpoint (dict): The checkpoint that was loaded.
        """
        self._saved = checkpoint.get(self.CHECKPOINT_KEY, {})

    def before_save_checkpoint(self, runner: Runner,
                               checkpoint: dict) -> None:
        """Save the seed of the shuffle order.

        Args:
            runner (Runner): The runner.
            checkpoint (dict): The checkpoint to be saved.
        """
        order_seed = getattr(self._stamper, 'seed', None)
        if order_seed is not None:
            checkpoint[self.CHECKPOINT_KEY] = dict(order_seed=int(order_seed))

    def before_train(self, runner: Runner) -> None:
        """Take over the fetching of the training samples.

        Args:
            runner (Runner): The runner, after it has resumed.
        """
        self._rank, world_size = get_dist_info()
        loop = runner.train_loop
        loader = loop.dataloader
        self._seed = runner.seed
        if runner._randomness_cfg.get('diff_rank_seed', False):
            self._seed -= self._rank  # the same in all processes
        sampler = loader.batch_sampler.sampler
        if isinstance(sampler, EpochStamper):
            sampler = sampler.sampler  # training starts a second time
        if loop.iter > 0 and 'order_seed' in self._saved:
            sampler.seed = self._saved['order_seed']

        guard_reading(loader.dataset)
        self._broken = BrokenCount(
            self._limit(len(loader.dataset)),
            loader.multiprocessing_context or multiprocessing.get_context())
        loader.dataset.__getitems__ = SampleFetcher(
            loader.dataset, self._seed, self._broken)
        self._stamper = EpochStamper(sampler, self._rank, world_size)
        loader.batch_sampler.sampler = self._stamper
        self._restart(loop, loader)

    def _limit(self, num_samples: int) -> int:
        """Largest number of broken videos that training goes on with."""
        if isinstance(self.max_broken, float):
            return max(1, int(self.max_broken * num_samples))
        return self.max_broken

    @staticmethod
    def _restart(loop: Any, loader: Any) -> None:
        """Drop workers that were started before they could be guarded.

        An iteration-based loop starts its workers when it is built, and
        they fetch ahead at once.
        """
        sampler = loader.batch_sampler.sampler.sampler
        if isinstance(sampler, InfiniteSampler):
            sampler.indices = sampler._indices_of_rank()
        loader._iterator = None
        if hasattr(loop, 'dataloader_iterator'):
            kind = type(loop.dataloader_iterator)
            loop.dataloader_iterator = kind(loader)

    def before_train_epoch(self, runner: Runner) -> None:
        """Tell the sampler which epoch begins.

        Args:
            runner (Runner): The runner.
        """
        # The one "epoch" of an iteration-based loop is all of the training;
        # there the stamper counts the passes itself.
        loop = runner.train_loop
        if hasattr(loop, 'dataloader_iterator'):
            return
        assert self._stamper is not None  # since before_train
        self._stamper.epoch = runner.epoch
        wrapper = runner.optim_wrapper
        if (isinstance(wrapper, OptimWrapper)
                and wrapper._accumulative_counts > 1):
            # Counted anew, so that the last step of the epoch updates with
            # what is left, and no gradient is lost between two epochs.
            wrapper.initialize_count_status(
                runner.model, 0, len(loop.dataloader))

    def before_train_iter(self, runner: Runner, batch_idx: int,
                          data_batch: Any = None) -> None:
        """Seed what the step itself draws: mixup, dropout, drop path.

        Args:
            runner (Runner): The runner.
            batch_idx (int): Number of the batch in its epoch.
            data_batch (Any): The batch.
        """
        seed_everything(self._seed, runner.iter, self._rank)

    def after_train_iter(self, runner: Runner, batch_idx: int,
                         data_batch: Any = None,
                         outputs: dict | None = None) -> None:
        """In an iteration-based loop, count after each pass over the data.

        Args:
            runner (Runner): The runner.
            batch_idx (int): Number of the iteration.
            data_batch (Any): The batch.
            outputs (dict | None): What the step returned.
        """
        loop = runner.train_loop
        if hasattr(loop, 'dataloader_iterator'):
            # An endless sampler's length is that of the whole data set.
            steps = max(1, len(loop.dataloader) // get_dist_info()[1])
            if self.every_n_train_iters(runner, steps):
                self._count(runner)

    def after_train_epoch(self, runner: Runner) -> None:
        """Count the videos that all processes left out so far.

        Args:
            runner (Runner): The runner.
        """
        self._count(runner)

    def _count(self, runner: Runner) -> None:
        """Share what the processes found; say how many, or stop."""
        assert self._broken is not None  # since before_train
        limit = self._broken.limit
        for marks in all_gather_object(self._broken.marks):
            self._broken.merge(marks)
        if self._broken.exceeded:
            raise TooManyBrokenVideosError(
                f'the processes together met more than the {limit} broken '
                'training videos that are allowed; the log names them. If '
                'most files are missing, check data_prefix; to train without '
                'the broken ones, raise max_broken of SampleGuardHook.')
        count = int(self._broken)
        if count > self._reported:
            runner.logger.warning(
                f'{count} broken training videos were left out so far '
                f'({limit} are allowed).')
            self._reported = count

    def before_val(self, runner: Runner) -> None:
        """Name broken videos in validation; draw nothing.

        Args:
            runner (Runner): The runner.
        """
        self._before_evaluation(runner, runner.val_loop)

    def before_test(self, runner: Runner) -> None:
        """Name broken videos in testing; draw nothing.

        Args:
            runner (Runner): The runner.
        """
        self._before_evaluation(runner, runner.test_loop)

    @staticmethod
    def _before_evaluation(runner: Runner, loop: Any) -> None:
        loader = loop.dataloader
        guard_reading(loader.dataset)
        # Every pass over a loader draws a seed for its workers.
        loader.generator = torch.Generator().manual_seed(runner.seed)

    def after_run(self, runner: Runner) -> None:
        """End the workers that loaders keep from one epoch to the next.

        Args:
            runner (Runner): The runner, after training, validation or a
                test.
        """
        for loop in (runner._train_loop, runner._val_loop,
                     runner._test_loop):
            if not isinstance(loop, BaseLoop):
                continue  # never built
            loop.dataloader._iterator = None
            if hasattr(loop, 'dataloader_iterator'):
                loop.dataloader_iterator._iterator = iter(())
