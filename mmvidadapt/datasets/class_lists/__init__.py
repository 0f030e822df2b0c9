"""Names of the classes of the data sets; a name's place is its label.

The lists are MMAction2's label maps (Apache-2.0) and, for the zero-shot
splits of Kinetics-600, those that the MoTE program reads (Apache-2.0), one
name on a line as written there. Numbers differ between data sets, versions
and programs, so classes are matched by :func:`plain_name`.
"""

import re
from collections.abc import Sequence
from pathlib import Path

__all__ = ['class_names', 'plain_name']


def class_names(classes: str | Sequence[str]) -> list[str]:
    """Names of classes in the order of their labels.

    Args:
        classes (str | Sequence[str]): A list of this package (``'hmdb51'``,
            ``'k400'``, ``'k600'``, ``'k600_zeroshot_1'`` to ``_3``,
            ``'sthv1'``, ``'sthv2'``, ``'ucf101'``), a text file with one
            name on each line, or the names themselves.

    Returns:
        list[str]: The names as written.

    Raises:
        ValueError: If there is no such list or file, or two classes have
            one name.
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
        names = path.read_text(encoding='utf-8').strip().splitlines()
    else:
        names = list(classes)
    seen: dict[str, int] = {}
    for place, name in enumerate(names):
        first = seen.setdefault(plain_name(name), place)
        if first != place:
            raise ValueError(
                f'classes {first} and {place} are both named {name!r}: '
                'give every class a name of its own.')
    return names


def plain_name(name: str) -> str:
    """The name without what the sources write differently.

    Args:
        name (str): For example ``'Apply Eye-Makeup'``.

    Returns:
        str: Its letters and digits in lower case, ``'applyeyemakeup'``.
    """
    return re.sub(r'[\W_]', '', name.lower())
