"""Names of the classes of the data sets; a name's place is its label.

The lists are MMAction2's label maps (Apache-2.0) and, for the zero-shot
splits of Kinetics-600, those that the MoTE program reads (Apache-2.0), one
name on a line as written there. Base and novel classes have the order of the
lists that ViFi-CLIP published and MSTA uses. Those name four classes of
HMDB-51 otherwise than the videos that are published with them:
``hmdb51_msta`` has the names as published, ``hmdb51`` those of the videos.
Numbers differ between data sets, versions and programs, so classes are matched
by :func:`plain_name`.
"""

import csv
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

__all__ = ['class_names', 'plain_name', 'written_name']


def class_names(classes: str | Sequence[str]) -> list[str]:
    """Names of classes in the order of their labels.

    Args:
        classes (str | Sequence[str]): A list of this package (``'k600'``,
            ``'k600_zeroshot_1'`` to ``_3``, ``'sthv1'``; ``'hmdb51'``,
            ``'hmdb51_msta'``, ``'k400'``, ``'sthv2'``, ``'ucf101'`` and
            these with ``_base`` or ``_novel``), a file, or the names
            themselves. A file is text with one name on each line, ``.csv``
            with a label and a name on each line (and a heading, if any), or
            ``.json`` with a list of names or a dict of labels by name.

    Returns:
        list[str]: The names as written.

    Raises:
        ValueError: If there is no such list or file, a file cannot be read
            as what its suffix says, there is no class or one without a
            name, or two classes have one name.
    """
    if isinstance(classes, str):
        shipped = {path.stem: path
                   for path in Path(__file__).parent.glob('*.txt')}
        path = shipped.get(classes, Path(classes))
        if not path.is_file():
            raise ValueError(
                f'there is no list of classes {classes!r}: give one of '
                f'{", ".join(sorted(shipped))}, a text file with one name on '
                'each line, or a list of names.')
        names = _read(path)
        source = f'the list of classes {classes!r}'
    else:
        names = list(classes)
        source = 'the list of classes'
    if not names:
        raise ValueError(f'{source} is empty: give every class a name.')
    seen: dict[str, int] = {}
    for place, name in enumerate(names):
        if not isinstance(name, str) or not plain_name(name):
            raise ValueError(
                f'{source} has {name!r} for class {place}, which is no name: '
                'give every class a name with letters or digits.')
        first = seen.setdefault(plain_name(name), place)
        if first != place:
            raise ValueError(
                f'classes {first} and {place} are both named {name!r}: '
                'give every class a name of its own.')
    return names


def _read(path: Path) -> list:
    """Names in a file, in the order of their labels."""
    text = path.read_text(encoding='utf-8-sig')
    if path.suffix == '.csv':
        rows = [row for row in csv.reader(text.splitlines()) if row]
        if rows and not rows[0][0].strip().isdecimal():
            rows = rows[1:]  # the heading
        wrong = [row for row in rows if len(row) != 2]
        if wrong:
            raise ValueError(
                f'{path} has the line {",".join(wrong[0])!r}, which is not a '
                'label and a name: write id,name on each line, a name with a '
                'comma in quotes.')
        return _by_label(path, rows)
    if path.suffix == '.json':
        try:
            content = json.loads(text)
        except ValueError as error:
            raise ValueError(f'{path} is not JSON ({error}): mend it, or '
                             'write one name on each line of a text file.'
                             ) from error
        if isinstance(content, dict):
            return _by_label(path, [(label, name) for name, label in
                                    content.items()])
        if not isinstance(content, list):
            raise ValueError(f'{path} holds neither a list of names nor a '
                             'dict of labels by name: write one of them.')
        return content
    return text.strip().splitlines()


def _by_label(path: Path, rows: Sequence[Sequence[Any]]) -> list:
    """Order rows of label and name; labels are ``0 .. K - 1``."""
    names = {str(label).strip(): name for label, name in rows}
    for label in range(len(rows)):
        if str(label) not in names:
            raise ValueError(
                f'{path} has {len(rows)} classes and none of label {label}: '
                f'number them from 0 to {len(rows) - 1}.')
    return [names[str(label)] for label in range(len(rows))]


def plain_name(name: str) -> str:
    """The name without what the sources write differently.

    Args:
        name (str): For example ``'Apply Eye-Makeup'``.

    Returns:
        str: Its letters and digits in lower case, ``'applyeyemakeup'``.
    """
    return re.sub(r'[\W_]', '', name.lower())


def written_name(name: str) -> str:
    """The name as a sentence has it, for texts about the class.

    A name that is one word of words in capitals is split, except a word and
    its repetition; the lists that MoTE's program reads write UCF-101 so.

    Args:
        name (str): For example ``'ApplyEyeMakeup'``, ``'kick_ball'`` or
            ``'YoYo'``.

    Returns:
        str: ``'Apply Eye Makeup'``, ``'kick ball'``, ``'YoYo'``.
    """
    if re.fullmatch(r'(?:[A-Z][a-z]+)+', name):
        name = re.sub(r'([A-Z][a-z]+)(?=[A-Z])(?!\1)', r'\1 ', name)
    return ' '.join(name.replace('_', ' ').split())
