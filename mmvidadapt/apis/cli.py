"""What the command-line tools share."""

import argparse
import os
import os.path as osp
import re
import sys
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Callable

from mmaction.registry import RUNNERS
from mmengine.config import Config, DictAction
from mmengine.runner import Runner

from ..compat.checkpoints import CheckpointError
from ..datasets import BrokenVideoError, TooManyBrokenVideosError
from ..models.strict_loading import PartialLoadError
from .wrong_options import wrong_option

#: Errors whose message is written for the user of a tool.
USER_ERRORS = (ValueError, FileNotFoundError, IsADirectoryError,
               PermissionError, FileExistsError, BrokenVideoError,
               CheckpointError, PartialLoadError, TooManyBrokenVideosError)


def make_parser(description: str, example: str) -> argparse.ArgumentParser:
    """A parser whose help ends with a command to paste.

    Args:
        description (str): What the tool does.
        example (str): A complete command line.

    Returns:
        argparse.ArgumentParser: The parser.
    """
    parser = argparse.ArgumentParser(
        description=description, epilog=f'example:\n  {example}',
        formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        '--traceback', action='store_true',
        help='show where an error came from, not only what it says')
    return parser


def add_config_options(parser: argparse.ArgumentParser) -> None:
    """Add ``--cfg-options``, as MMAction2's tools have it."""
    parser.add_argument(
        '--cfg-options', nargs='+', action=DictAction, metavar='KEY=VALUE',
        help='override settings of the config, for example '
        'train_dataloader.batch_size=4 or model.backbone.num_frames=8')


def add_synthetic_option(parser: argparse.ArgumentParser) -> None:
    """Add ``--synthetic``, which :func:`with_options` applies."""
    parser.add_argument(
        '--synthetic', nargs='?', type=int, const=16, metavar='N',
        help='replace each data set by N generated videos (default 16) that '
        'run through the pipelines of the config')


def add_run_options(
        parser: argparse.ArgumentParser,
        work_dir: str = 'work_dirs/<name of the config>') -> None:
    """Add what training and testing share.

    Args:
        parser (argparse.ArgumentParser): The parser.
        work_dir (str): How the default of ``--work-dir`` reads.
    """
    add_config_options(parser)
    parser.add_argument(
        '--work-dir', help='folder of logs and checkpoints; '
        f'default {work_dir}')
    add_synthetic_option(parser)
    parser.add_argument(
        '--launcher', choices=['none', 'pytorch', 'slurm', 'mpi'],
        default='none', help='how the processes were started')
    parser.add_argument('--local_rank', '--local-rank', type=int, default=0,
                        help=argparse.SUPPRESS)


def load_config(path: str) -> Config:
    """Read a config file.

    Args:
        path (str): A Python, YAML or JSON config.

    Returns:
        Config: The config.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it holds no model, or a dict where the config that it
            inherits from has something else.
    """
    if not osp.isfile(path):
        raise FileNotFoundError(
            f'config {path!r} does not exist: give the path of a file such '
            'as configs/inti/vitb_k400.py')
    with _merging(path, '{0}=dict(_delete_=True, ...)'):
        cfg = Config.fromfile(path)
    if 'model' not in cfg:
        raise ValueError(f'{path} has no model: give a config that can be '
                         'run, not one of configs/_base_')
    return cfg


def change_config(cfg: Config, options: dict | None) -> None:
    """Change a config by ``--cfg-options``.

    Args:
        cfg (Config): Changed in place.
        options (dict | None): Parsed ``--cfg-options``, if there were any.

    Raises:
        ValueError: If an option has parts and what it changes is no dict, or
            names a part that a list does not have.
    """
    if options is None:
        return
    try:
        with _merging('--cfg-options', '{0}._delete_=True beside it'):
            cfg.merge_from_dict(options)
    except (TypeError, KeyError) as error:
        if not re.search('list indices must be|exceeds the length of list',
                         str(error)):
            raise
        raise ValueError(
            '--cfg-options names a part that a list does not have: give its '
            'place from 0, as in model.backbone.adapters.0.layers=[5]'
        ) from error


@contextmanager
def _merging(source: str, remedy: str) -> Iterator[None]:
    """Say in a sentence that a dict cannot be merged into what it meets."""
    try:
        yield
    except TypeError as error:
        found = re.search(r"because (\w+) is a dict in the child config but "
                          r"is of type <class '(\w+)'>", str(error))
        if found is None:
            raise
        key, kind = found.groups()
        raise ValueError(
            f'{source} gives {key} as a dict, and the config that it changes '
            f'gives it as a {kind}: write {remedy.format(key)} to replace it'
        ) from error


def with_options(args: argparse.Namespace) -> Config:
    """The config that a command line names, as its options change it.

    Args:
        args (argparse.Namespace): Parsed ``config``, ``--cfg-options`` and
            ``--synthetic``.

    Returns:
        Config: The config.

    Raises:
        ValueError: If it has several necks.
    """
    from ..datasets.synthetic import use_synthetic_data
    cfg = load_config(args.config)
    change_config(cfg, args.cfg_options)
    if args.synthetic is not None:
        use_synthetic_data(cfg, args.synthetic)
    if isinstance(cfg.model.get('neck'), list):
        raise ValueError(
            f'neck is a list of {len(cfg.model.neck)}: a recognizer has one '
            'neck, give one dict(type=...)')
    return cfg


@contextmanager
def environment(chosen: Mapping[str, str]) -> Iterator[None]:
    """Set variables of the environment, which configs may read, for a while.

    Args:
        chosen (Mapping[str, str]): Values by name.

    Yields:
        None: While they are set.
    """
    before = {name: os.environ.get(name) for name in chosen}
    os.environ.update(chosen)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def prepare_run(args: argparse.Namespace) -> Config:
    """The config of a run, with the options of :func:`add_run_options`.

    Args:
        args (argparse.Namespace): Parsed options with ``config``.

    Returns:
        Config: Ready for ``Runner.from_cfg``.
    """
    os.environ.setdefault('LOCAL_RANK', str(args.local_rank))
    cfg = with_options(args)
    cfg.launcher = args.launcher
    if args.work_dir is not None:
        cfg.work_dir = args.work_dir
    elif cfg.get('work_dir') is None:
        name = osp.splitext(osp.basename(args.config))[0]
        cfg.work_dir = osp.join('work_dirs', name)
    return cfg


def build_runner(cfg: Config) -> Runner:
    """The runner of a config, of the class that it names.

    Args:
        cfg (Config): As from :func:`prepare_run`.

    Returns:
        Runner: Ready to train or to test.
    """
    build = RUNNERS.build if 'runner_type' in cfg else Runner.from_cfg
    return build(cfg)


def user_message(error: Exception) -> str:
    """The sentence of an error, without what was wrapped around it.

    Args:
        error (Exception): One of ``USER_ERRORS``.

    Returns:
        str: Its message, freed of the traceback that a data loader's worker
        puts before it and of the names that mmengine's registry does.
    """
    message = str(error).strip()
    if 'Original Traceback' in message:
        message = re.sub(r'^[\w.]+(Error|Exception): ', '',
                         message.splitlines()[-1])
    return re.sub(r'^(class `\w+` in \S+: )+', '', message)


def run_tool(main: Callable[[argparse.Namespace], int | None],
             args: argparse.Namespace) -> None:
    """Run a tool; an error that is meant for its user is one sentence.

    Args:
        main (Callable[[argparse.Namespace], int | None]): Takes the parsed
            options; returns an exit status.
        args (argparse.Namespace): Parsed options.
    """
    try:
        sys.exit(main(args))
    except USER_ERRORS as error:
        message = user_message(error)
        if args.traceback:
            traceback.print_exc()
    except (TypeError, KeyError) as error:
        found = wrong_option(error)
        if found is None:
            raise
        message = found
        if args.traceback:
            traceback.print_exc()
    sys.stderr.write(f'error: {message}\n')
    sys.exit(1)
