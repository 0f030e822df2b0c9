"""Scripts run inside the test's own process, and tiny runs on real videos.

A start of Python with torch and MMAction2 takes seconds. What a script does
with its arguments can be seen without a new process; that it starts at all
is for a few tests with one.
"""

import io
import logging
import os
import runpy
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from unittest import mock

from mmengine.config import Config
from mmengine.registry import DefaultScope

from tests.conftest import ROOT
from tests.tiny import write_tiny_config
from tests.toy_videos import write_video

_number = count()


@dataclass
class Finished:
    """What a script left behind.

    Args:
        returncode (int): Its exit status.
        stdout (str): What it printed.
        stderr (str): What it complained of.
    """

    returncode: int
    stdout: str
    stderr: str

    @property
    def error(self) -> str:
        """The one sentence of a tool that failed, and nothing else."""
        assert self.returncode == 1, self.stdout[-3000:] + self.stderr
        assert 'Traceback' not in self.stderr, self.stderr
        lines = self.stderr.strip().splitlines()
        errors = [line for line in lines if line.startswith('error: ')]
        assert errors == lines[-1:], self.stderr
        return errors[0][len('error: '):]


@contextmanager
def _scope_restored() -> Iterator[None]:
    """Leave no default scope behind where there was none."""
    scope = DefaultScope.get_current_instance()
    try:
        yield
    finally:
        if scope is None:
            DefaultScope._instance_dict.clear()


@contextmanager
def working_in(folder: Path) -> Iterator[None]:
    """Run in a folder, as a user does who follows a document.

    Args:
        folder (Path): The working directory meanwhile.
    """
    before = os.getcwd()
    os.chdir(folder)
    try:
        with _scope_restored():
            yield
    finally:
        os.chdir(before)


def run_here(script: Path, *args: str) -> Finished:
    """Run a script as ``python SCRIPT ARGS`` would, in this process.

    An exception that a new process would print as a traceback is raised.

    Args:
        script (Path): A script that knows ``--cfg-options``, given last if
            at all.
        *args (str): Its command line.

    Returns:
        Finished: Exit status and output.
    """
    command = [str(script), *args]
    if '--cfg-options' not in command:
        command.append('--cfg-options')
    # Runs of one second would otherwise share a logger.
    command.append(f'experiment_name=run_{os.getpid()}_{next(_number)}')
    # Formatting the config takes longer than these runs.
    with mock.patch.object(Config, 'pretty_text', ''):
        return _run(script, command)


def _run(script: Path, command: list[str]) -> Finished:
    """Run a script in this process, with its command line."""
    out, err, status = io.StringIO(), io.StringIO(), 0
    silent = logging.root.manager.disable
    with _scope_restored(), mock.patch.object(sys, 'argv', command), \
            mock.patch.object(sys, 'path', [str(script.parent), *sys.path]), \
            mock.patch.dict(os.environ), \
            redirect_stdout(out), redirect_stderr(err):
        try:
            runpy.run_path(str(script), run_name='__main__')
        except SystemExit as stop:
            status = stop.code or 0
        finally:
            logging.disable(silent)  # the quickstart's is for its process
    return Finished(status, out.getvalue(), err.getvalue())


def tool(name: str, *args: str) -> Finished:
    """Run one of ``tools/`` in this process.

    Args:
        name (str): Its file name.
        *args (str): Its command line.

    Returns:
        Finished: Exit status and output.
    """
    return run_here(ROOT / 'tools' / name, *args)


def plain_tool(name: str, *args: object) -> Finished:
    """Run one of ``tools/`` that trains and tests nothing, in this process.

    Args:
        name (str): Its file name.
        *args (object): Its command line.

    Returns:
        Finished: Exit status and output.
    """
    script = ROOT / 'tools' / name
    return _run(script, [str(script), *map(str, args)])


def write_videos(folder: Path, number: int = 6) -> Path:
    """Write small video files of two classes and their list.

    Args:
        folder (Path): Where to write ``0.mp4``, ``1.mp4``, ...
        number (int): How many.

    Returns:
        Path: The list; its lines give bare file names.
    """
    for place in range(number):
        write_video(folder / f'{place}.mp4', 20 + place)
    return write_list(folder, [f'{n}.mp4 {n % 2}' for n in range(number)])


def write_list(folder: Path, lines: list[str],
               name: str = 'list.txt') -> Path:
    """Write an annotation list.

    Args:
        folder (Path): Where to write.
        lines (list[str]): One for each video.
        name (str): File name.

    Returns:
        Path: The file.
    """
    path = folder / name
    path.write_text('\n'.join(lines) + '\n')
    return path


def video_config(name: str, folder: Path, ann_file: Path, root: Path,
                 **changes: object) -> str:
    """A tiny config of ours that reads real video files.

    Args:
        name (str): A config below ``configs/``.
        folder (Path): Where to write the config.
        ann_file (Path): List of every split.
        root (Path): Folder of the videos.
        **changes (object): As in :func:`write_tiny_config`.

    Returns:
        str: Path of the written config.
    """
    files = {}
    for split in ('train', 'val', 'test'):
        dataset = f'{split}_dataloader__dataset__'
        files[f'{dataset}ann_file'] = str(ann_file)
        files[f'{dataset}data_prefix__video'] = str(root)
    return write_tiny_config(name, folder, **{**files, **changes})
