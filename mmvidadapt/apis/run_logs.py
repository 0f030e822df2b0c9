"""What a run of mmengine left in its work folder."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from mmengine.config import Config

#: By name of what was logged, values by step.
Curves = dict[str, dict[int, float]]


def scalar_entries(work_dir: Path) -> Iterator[dict]:
    """The lines of the scalars that mmengine logs, resumed runs included.

    Args:
        work_dir (Path): Work folder of ``tools/train.py``.

    Yields:
        dict: Values by name, their ``step``, and the ``folder`` of their
        run; in the order they were written. A line that is still being
        written is left out.

    Raises:
        FileNotFoundError: If there is no log.
        ValueError: If a log holds something else.
    """
    logs = sorted(work_dir.glob('*/vis_data/scalars.json'))
    if not logs:
        raise FileNotFoundError(f'{work_dir} holds no training log '
                                '(vis_data/scalars.json): train first')
    for log in logs:
        lines = log.read_text().splitlines(keepends=True)
        for place, line in enumerate(lines):
            try:
                entry = json.loads(line)
                entry.update(step=int(entry['step']),
                             folder=log.parent.parent)
            except (ValueError, TypeError, KeyError):
                if place == len(lines) - 1 and not line.endswith('\n'):
                    break
                raise ValueError(
                    f'line {place + 1} of {log} is no scalars of a run: '
                    'remove it, or give another work folder') from None
            yield entry


@dataclass
class RunLog:
    """A training, or several that resumed one another.

    Args:
        training (Curves): By iteration, of which ``accumulative_counts``
            make a step of the optimiser.
        validation (Curves): By epoch, or by iteration if ``by_epoch`` is
            not set.
        by_epoch (bool): Whether the run counts epochs.
        tests (list[dict[str, Any]]): Results of ``tools/test.py`` in the
            same folder: ``time`` and ``metrics``.
        config (Config | None): Of the newest run.
        environment (dict[str, str]): Of the newest run, as mmengine logs it.
        times (list[tuple[datetime, datetime]]): First and last line of each
            log of a training.
        checkpoints (list[Path]): In the work folder.
    """

    training: Curves = field(default_factory=dict)
    validation: Curves = field(default_factory=dict)
    by_epoch: bool = False
    tests: list[dict[str, Any]] = field(default_factory=list)
    config: Config | None = None
    environment: dict[str, str] = field(default_factory=dict)
    times: list[tuple[datetime, datetime]] = field(default_factory=list)
    checkpoints: list[Path] = field(default_factory=list)

    @property
    def unit(self) -> str:
        """What validations are counted by."""
        return 'epoch' if self.by_epoch else 'iteration'

    @property
    def duration(self) -> timedelta:
        """Time that all trainings took together."""
        return sum((end - start for start, end in self.times), timedelta())


def read_run(work_dir: Path) -> RunLog:
    """Read what a run left behind.

    Args:
        work_dir (Path): Work folder of ``tools/train.py``.

    Returns:
        RunLog: What is there. A run that goes on from a step takes the place
        of all that earlier runs have from there on; one that starts anew
        leaves nothing of them.

    Raises:
        FileNotFoundError: If there is no such folder, or no training log.
        ValueError: If a log holds something else.
    """
    if not work_dir.is_dir():
        raise FileNotFoundError(f'{work_dir} is no folder: give the work '
                                'folder of a training')
    run = RunLog(checkpoints=sorted(work_dir.glob('*.pth')))
    folders: list[Path] = []
    begun = False
    for entry in scalar_entries(work_dir):
        step, folder = entry.pop('step'), entry.pop('folder')
        trains = 'lr' in entry or 'loss' in entry
        run.by_epoch = run.by_epoch or 'epoch' in entry
        if folder not in folders:
            folders.append(folder)
            begun = False
            _cut(run.validation, entry.get('epoch', step))
        if trains and not begun:
            begun = True
            _cut(run.training, step)
            if not run.training:
                folders = [folder]
        curves = run.training if trains else run.validation
        for name, value in entry.items():
            if isinstance(value, (int, float)) and name not in (
                    'epoch', 'iter'):
                curves.setdefault(name, {})[step] = float(value)
    for curves in (run.training, run.validation):
        for name, values in curves.items():
            curves[name] = dict(sorted(values.items()))
    for folder in folders:
        _read_log(folder, run)
    newest = max(work_dir.glob('*/vis_data/scalars.json')).parent / 'config.py'
    if newest.is_file():
        config = Config.fromfile(newest, import_custom_modules=False)
        run.config = config if 'model' in config else None
    for path in sorted(work_dir.glob('*/*.json')):
        if path.stem == path.parent.name:
            run.tests.append(dict(time=_time(path.stem),
                                  metrics=_test_result(path)))
    return run


def _cut(curves: Curves, step: int) -> None:
    """Forget the values from a step on."""
    for name, values in list(curves.items()):
        kept = {place: value for place, value in values.items()
                if place < step}
        curves[name] = kept
        if not kept:
            del curves[name]


def _read_log(folder: Path, run: RunLog) -> None:
    """Times and environment of a run."""
    for path in sorted(folder.glob('*.log')):
        text = path.read_text(errors='replace')
        stamps = re.findall(r'^(\d{4}/\d\d/\d\d \d\d:\d\d:\d\d) - ', text,
                            re.MULTILINE)
        if stamps:
            first, last = (datetime.strptime(stamp, '%Y/%m/%d %H:%M:%S')
                           for stamp in (stamps[0], stamps[-1]))
            run.times.append((first, last))
        block = re.search(r'^System environment:\n(.*?)^-{9,}', text,
                          re.MULTILINE | re.DOTALL)
        if block:
            run.environment = dict(re.findall(
                r'^    (\S[^:\n]*): (.*\S)', block[1], re.MULTILINE))


def _time(name: str) -> str:
    """A time as mmengine names its folders, for people."""
    try:
        return str(datetime.strptime(name[:15], '%Y%m%d_%H%M%S'))
    except ValueError:
        return name


def _test_result(path: Path) -> dict[str, float]:
    try:
        found = json.loads(path.read_text())
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise ValueError(f'{path} is no result of a test: remove it, or give '
                         'another work folder')
    return {name: float(value) for name, value in found.items()
            if isinstance(value, (int, float))}
