"""Sentences around a class name; the features of a class are their mean."""

from collections.abc import Sequence
from pathlib import Path

from open_clip import OPENAI_IMAGENET_TEMPLATES

_MOTE_HEADS = ('a photo of', 'a video of', 'a example of',
               'a demonstration of')
_MOTE_TAILS = ('{}.', 'a person {}.', 'a person using {}.',
               'a person doing {}.', 'a person during {}.',
               'a person performing {}.', 'a person practicing {}.')

#: Named sets: the 28 of MoTE's program (which has "a example"), one plain
#: sentence, and CLIP's 80 for ImageNet as open_clip has them.
TEMPLATES: dict[str, tuple[str, ...]] = dict(
    mote=tuple(f'{head} {tail}'
               for head in _MOTE_HEADS for tail in _MOTE_TAILS),
    video=('a video of {}.', ),
    imagenet=tuple(write('{}') for write in OPENAI_IMAGENET_TEMPLATES))


def prompt_templates(templates: str | Sequence[str]) -> list[str]:
    """Templates by name, from a file, or as they are.

    Args:
        templates (str | Sequence[str]): Key of :data:`TEMPLATES`, a text
            file with one template on each line, or the templates themselves.

    Returns:
        list[str]: Sentences with ``{}`` where the name of the class goes.

    Raises:
        ValueError: If there is no such set or file, no template, or one
            without exactly one ``{}``.
    """
    if isinstance(templates, str):
        if templates in TEMPLATES:
            found = list(TEMPLATES[templates])
        elif Path(templates).is_file():
            text = Path(templates).read_text(encoding='utf-8-sig')
            found = text.strip().splitlines()
        else:
            raise ValueError(
                f'there is no set of templates {templates!r}: give one of '
                f'{", ".join(TEMPLATES)}, a text file with one template on '
                'each line, or a list of templates')
    else:
        found = list(templates)
    if not found:
        raise ValueError(f'templates={templates!r} is empty: give at least '
                         "one, such as 'a video of {}.'")
    for template in found:
        if template.count('{}') != 1:
            raise ValueError(
                f'the template {template!r} holds {template.count("{}")} '
                'places {} for the name of the class: write exactly one')
    return found
