"""What pictures of a trained model share: its options, model and videos."""

import argparse
import os.path as osp
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from mmaction.registry import DATASETS
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmengine.runner import Runner
from mmengine.utils import track_iter_progress
from torch.utils.data import DataLoader

from ..apis.cli import add_config_options, add_synthetic_option
from ..datasets.broken_video import guard_reading


def add_model_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what every picture of a checkpoint is asked for with."""
    parser.add_argument('config', metavar='CONFIG',
                        help='path of the config')
    parser.add_argument('checkpoint', metavar='CKPT',
                        help='path of the checkpoint')
    parser.add_argument(
        '--out', type=Path, metavar='DIR', help='folder to write to; '
        'default work_dirs/<name of the config>/<name of the picture>')
    parser.add_argument('--device', default='cuda:0' if
                        torch.cuda.is_available() else 'cpu',
                        help='where the model runs (default: %(default)s)')
    add_config_options(parser)


def add_test_set_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what pictures of a whole test set are asked for with."""
    parser.add_argument(
        '--max-videos', type=int, metavar='N', help='look at N videos, '
        'spread evenly over the test set; default: all')
    add_synthetic_option(parser)


def out_folder(args: argparse.Namespace, picture: str) -> Path:
    """The folder to write to, which is made.

    Args:
        args (argparse.Namespace): With :func:`add_model_arguments`.
        picture (str): Name of the picture.

    Returns:
        Path: The folder.
    """
    name = osp.splitext(osp.basename(args.config))[0]
    folder = args.out or Path('work_dirs', name, picture)
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def spread(number: int, total: int) -> list[int]:
    """Places spread evenly, as many as wanted and there are.

    Args:
        number (int): How many are wanted.
        total (int): How many there are.

    Returns:
        list[int]: Ascending, from 0 to below ``total``.
    """
    number = min(number, total)
    return [(2 * i + 1) * total // (2 * number) for i in range(number)]


def test_set(cfg: Config) -> Any:
    """The data set that a config tests with.

    Args:
        cfg (Config): The config.

    Returns:
        Any: The data set; broken videos are errors that name them.

    Raises:
        ValueError: If the config has none.
    """
    if cfg.get('test_dataloader') is None:
        raise ValueError('the config has no test_dataloader: give a config '
                         'that tools/test.py runs')
    init_default_scope(cfg.get('default_scope', 'mmaction'))
    dataset = DATASETS.build(cfg.test_dataloader.dataset)
    guard_reading(dataset)
    return dataset


def test_loader(cfg: Config, max_videos: int | None) -> DataLoader:
    """The test set of a config, in its order.

    Args:
        cfg (Config): The config.
        max_videos (int | None): Load so many of its videos.

    Returns:
        DataLoader: Its ``sampler`` is the list of places of these videos.
        Broken videos are errors that name them.

    Raises:
        ValueError: If the config has no test set, or the number is none.
    """
    if max_videos is not None and max_videos < 1:
        raise ValueError(f'--max-videos {max_videos} leaves nothing to look '
                         'at: give at least 1')
    dataset = test_set(cfg)
    places = spread(max_videos or len(dataset), len(dataset))
    return Runner.build_dataloader(dict(
        cfg.test_dataloader, dataset=dataset, sampler=places))


@contextmanager
def progress(loader: DataLoader) -> Iterator[Iterable[dict]]:
    """A progress bar on stderr; an error after it has a line of its own.

    Args:
        loader (DataLoader): Of :func:`test_loader`.

    Yields:
        Iterable[dict]: Its batches.
    """
    try:
        yield track_iter_progress((loader, len(loader)), file=sys.stderr)
    except Exception:  # any, because it goes on its way
        sys.stderr.write('\n')
        raise
