"""Sentences that a language model wrote about classes.

Source: *Efficient Transfer Learning for Video-language Foundation Models*,
CVPR 2025 (MSTA), Sec. 3.3. A file is one JSON object in either layout::

    {"0": ["A video about ...", ...], "1": [...]}         numbers, as published
    {"brush hair": ["A video about ...", ...], ...}       names

A number is a place in the list of classes that belongs to the file. Classes
are matched by :func:`plain_name`, never by place in another list: published
lists of one data set differ in their order.
"""

import json
import os
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from mmengine.logging import MMLogger

from .class_lists import class_names, plain_name

__all__ = ['Descriptions', 'class_descriptions', 'listed',
           'read_descriptions']

#: Lists of classes that the numbers of MSTA's published files refer to, by
#: the end of the file name. HMDB-51 has four classes that carry each other's
#: numbers there, so its lists are not those of the video lists.
_PUBLISHED = {
    f'{data}{half}': f'{ours}{half}'
    for data, ours in (('hmdb', 'hmdb51_msta'), ('k400', 'k400'),
                       ('ssv2', 'sthv2'), ('ucf_101', 'ucf101'))
    for half in ('', '_base', '_novel')}
_SHOWN = 3  # classes named in a message; the rest are counted


class Descriptions(NamedTuple):
    """What a file holds.

    Args:
        path (Path): The file.
        names (list[str]): Classes as the file, or its list, writes them.
        sentences (list[list[str]]): At least one for each class.
        number (int): Sentences ``N`` that a class should have: from the name
            of the file as published, else what most classes have.
        numbered (bool): Whether the file has numbers in place of names.
    """

    path: Path
    names: list[str]
    sentences: list[list[str]]
    number: int
    numbered: bool

    def missing(self, names: Sequence[str]) -> str:
        """What is wrong if the file is to describe these classes.

        Args:
            names (Sequence[str]): The classes.

        Returns:
            str: A sentence if classes have no sentences, else nothing.
        """
        without = _without(names, self.names)
        extra = _without(self.names, names)
        if not without:
            return ''
        others = f', and describes {len(extra)} more ({listed(extra)})'
        return (
            f'{self.path} has no sentences for {len(without)} of '
            f'{len(names)} classes ({listed(without)})'
            f'{others if extra else ""}: give a file that describes them '
            'all, or ask for classes that it describes')

    def oddities(self, names: Sequence[str]) -> list[str]:
        """What a user should know if the file describes these classes.

        Args:
            names (Sequence[str]): The classes.

        Returns:
            list[str]: A sentence for each kind of oddity: classes that were
            not asked for, classes at other places than in the file's list,
            classes with more or fewer sentences than ``number``.
        """
        found = []
        extra = _without(self.names, names)
        if extra:
            found.append(
                f'{self.path} describes {len(extra)} classes that are not '
                f'among the {len(names)} asked for ({listed(extra)}): they '
                'are left out')
        elif self.numbered and len(names) == len(self.names):
            moved = [name for name, other in zip(names, self.names,
                                                 strict=True)
                     if plain_name(name) != plain_name(other)]
            if moved:
                found.append(
                    f'{self.path} numbers {len(moved)} of {len(names)} '
                    f'classes otherwise than they are asked for '
                    f'({listed(moved)}): sentences are taken by name, not by '
                    'number')
        uneven = [f'{name}: {len(texts)}' for name, texts in
                  zip(self.names, self.sentences, strict=True)
                  if len(texts) != self.number]
        if uneven:
            found.append(
                f'{self.path} has not {self.number} sentences for '
                f'{len(uneven)} of {len(self.names)} classes '
                f'({listed(uneven)}): the mean is over those that a class '
                'has')
        return found


def class_descriptions(
        file: str | os.PathLike,
        classes: str | Sequence[str],
        *,
        file_classes: str | Sequence[str] | None = None) -> list[list[str]]:
    """Sentences about classes, from a file of descriptions.

    What is odd but usable is a warning, one line for each kind: see
    :meth:`Descriptions.oddities`.

    MSTA's published protocol gives four classes of HMDB-51 each other's name.
    ``classes='hmdb51_msta'`` (``_base``, ``_novel``), the published order of
    the names, reproduces it with the published video lists; ``'hmdb51'`` is
    the order that is right for these.

    Args:
        file (str | os.PathLike): As for :func:`read_descriptions`.
        classes (str | Sequence[str]): The classes asked for, in the order of
            their labels, as for :func:`class_names`.
        file_classes (str | Sequence[str] | None): As for
            :func:`read_descriptions`.

    Returns:
        list[list[str]]: Sentences of each class in the order of ``classes``,
        as they stand in the file.

    Raises:
        ValueError: If a class has no sentence, or as for
            :func:`read_descriptions`.
        FileNotFoundError: If there is no such file.
    """
    names = class_names(classes)
    found = read_descriptions(file, file_classes)
    fault = found.missing(names)
    if fault:
        raise ValueError(fault)
    logger = MMLogger.get_current_instance()
    for oddity in found.oddities(names):
        logger.warning(f'{oddity}.')
    by_name = dict(zip(map(plain_name, found.names), found.sentences,
                       strict=True))
    return [by_name[plain_name(name)] for name in names]


def read_descriptions(
        file: str | os.PathLike,
        file_classes: str | Sequence[str] | None = None) -> Descriptions:
    """Read a file of descriptions.

    Args:
        file (str | os.PathLike): JSON with a list of sentences for each
            class. Keys that are all whole numbers are places in
            ``file_classes``, other keys are names.
        file_classes (str | Sequence[str] | None): The list of classes that
            the numbers of the file refer to, as for :func:`class_names`.
            None takes it from a file name as MSTA published them,
            ``{N}_{s|t}_description_{dataset}[_base|_novel].json`` with
            ``hmdb``, ``k400``, ``ssv2`` or ``ucf_101``.

    Returns:
        Descriptions: Sentences of each class.

    Raises:
        ValueError: If the file is not such JSON, a class has no sentence or
            something else in its place, or the numbers are not those of
            ``file_classes``.
        FileNotFoundError: If there is no such file.
    """
    path = Path(file)
    entries = _entries(path)
    published = re.fullmatch(
        rf'(\d+)_[st]_description_({"|".join(_PUBLISHED)})\.json', path.name)
    numbered = all(key.isdecimal() for key in entries)
    if numbered:
        if file_classes is None and published is not None:
            file_classes = _PUBLISHED[published[2]]
        if file_classes is None:
            raise ValueError(
                f'{path} has numbers in place of names of classes, and '
                'nothing says which list they refer to: give its '
                'file_classes')
        names = _numbered_names(path, entries, file_classes)
        entries = {str(place): entries[str(place)]
                   for place in range(len(names))}
    elif file_classes is not None:
        raise ValueError(f'{path} has names of classes and needs no '
                         'file_classes: leave file_classes out')
    else:
        try:
            names = class_names(list(entries))
        except ValueError as error:
            raise ValueError(f'{path}: {error}') from None
    sentences = [_sentences(path, name, found) for name, found
                 in zip(names, entries.values(), strict=True)]
    counts = Counter(map(len, sentences))
    number = int(published[1]) if published else counts.most_common(1)[0][0]
    return Descriptions(path, names, sentences, number, numbered)


def listed(names: Sequence[str]) -> str:
    """The first few names, and how many more there are."""
    more = len(names) - _SHOWN
    return ', '.join(names[:_SHOWN]) + (f' and {more} more' if more > 0
                                        else '')


def _without(names: Sequence[str], others: Sequence[str]) -> list[str]:
    """Names that are not among the others."""
    known = set(map(plain_name, others))
    return [name for name in names if plain_name(name) not in known]


def _entries(path: Path) -> dict[str, Any]:
    """The object in a file; JSON itself would keep the last of equal keys."""
    if not path.is_file():
        raise FileNotFoundError(
            f'the file of descriptions {path} does not exist: correct the '
            'path')

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        repeated = [key for key, times in Counter(
            key for key, _ in pairs).items() if times > 1]
        if repeated:
            raise ValueError(f'it has {repeated[0]!r} more than once')
        return dict(pairs)

    try:
        content = json.loads(path.read_text(encoding='utf-8-sig'),
                             object_pairs_hook=unique)
    except (ValueError, RecursionError) as error:
        raise ValueError(
            f'{path} is not a JSON file of descriptions ({error}): mend it'
        ) from error
    if not isinstance(content, dict) or not content:
        raise ValueError(
            f'{path} holds {_short(content)} in place of an object with '
            'sentences by class: write {"name of a class": ["A sentence.", '
            '...], ...}')
    return content


def _numbered_names(path: Path, entries: dict[str, Any],
                    file_classes: str | Sequence[str]) -> list[str]:
    """Names of the classes that a file numbers, in their order."""
    names = class_names(file_classes)
    which = (f'{file_classes!r}' if isinstance(file_classes, str) else
             'of its file_classes')
    if len(entries) != len(names):
        raise ValueError(
            f'{path} has {len(entries)} classes and the list {which} has '
            f'{len(names)}: give as file_classes the list that the numbers '
            'of the file refer to')
    for place in range(len(names)):
        if str(place) not in entries:
            raise ValueError(
                f'{path} has {len(entries)} classes and none of number '
                f'{place}: number them from 0 to {len(names) - 1} in the '
                f'order of the list {which}')
    return names


def _sentences(path: Path, name: str, found: Any) -> list[str]:
    """The sentences of one class, if that is what the file has."""
    if not isinstance(found, list):
        raise ValueError(
            f'{path} has {_short(found)} for the class {name!r}: write a '
            'list of sentences')
    if not found:
        raise ValueError(f'{path} has no sentence for the class {name!r}: '
                         'write at least one')
    for text in found:
        if not isinstance(text, str) or not text.strip():
            raise ValueError(
                f'{path} has {_short(text)} among the sentences of the class '
                f'{name!r}: write each sentence as text between quotes')
    return found


def _short(value: Any) -> str:
    """A value as JSON, cut to what fits a message."""
    text = json.dumps(value)
    return text if len(text) <= 40 else f'{text[:37]}...'
