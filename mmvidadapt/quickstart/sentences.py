"""Sentences about the quickstart's combinations of shape and motion.

MSTA compares the names of classes with descriptions that a language model
wrote, of what is seen and of what happens. These were written by hand, in the
words of the captions of the still pictures where these have words.
"""

import json
from pathlib import Path
from typing import Dict, List, NamedTuple, Sequence, Tuple

from ..files import whole_file
from . import scenes
from .synthetic import ActionClass

#: What a thing looks like from the first to the last moment of each axis.
_MOMENTS: Dict[str, Tuple[str, str, str]] = {
    'sideways': ('{} on the left', '{} in the middle', '{} on the right'),
    'upwards': ('{} at the bottom', '{} in the middle', '{} at the top'),
    'size': ('{} that is small', '{} of middle size', '{} that is big'),
}


class Sentences(NamedTuple):
    """What is said of a class.

    Args:
        spatial (list[str]): What is seen in its frames, in whatever order:
            the same for a class and its reverse.
        temporal (list[str]): What happens in it, step by step.
    """

    spatial: List[str]
    temporal: List[str]


def describe(cls: ActionClass) -> Sentences:
    """Describe a combination of shape and motion.

    Args:
        cls (ActionClass): One of :data:`~.synthetic.SEEN` or
            :data:`~.synthetic.UNSEEN`.

    Returns:
        Sentences: Two of each kind.
    """
    shape, axis = cls.scene.split('-')
    thing = f'a {scenes.SHAPES[shape]} {shape}'
    low, middle, high = (text.format(thing) for text in _MOMENTS[axis])
    start, end = (high, low) if cls.backwards else (low, high)
    return Sentences(
        spatial=[f'a picture of {thing}.', f'{low}, {middle} or {high}.'],
        temporal=[f'first {start}, then {middle}, at last {end}.',
                  f'{cls.text}: it begins with {start} and ends with {end}.'])


def write_descriptions(classes: Sequence[ActionClass], folder: Path) -> None:
    """Write the sentences about classes, a file for each kind.

    Args:
        classes (Sequence[ActionClass]): As for :func:`describe`.
        folder (Path): Gets ``spatial.json`` and ``temporal.json``, which
            :func:`mmvidadapt.datasets.class_descriptions` reads.
    """
    for kind in Sentences._fields:
        found = {c.text: getattr(describe(c), kind) for c in classes}
        with whole_file(folder / f'{kind}.json') as part:
            part.write_text(json.dumps(found, indent=2) + '\n')
