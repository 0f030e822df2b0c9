#!/usr/bin/env python
"""Draw few-shot and base-to-novel lists from an annotation list."""

import argparse
import random
import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from make_lists import write_files

from mmvidadapt.apis.cli import make_parser, run_tool
from mmvidadapt.compat.annotation_lists import (
    NO_LABEL,
    ListError,
    split_rawframe_line,
    split_video_line,
)
from mmvidadapt.datasets.class_lists import class_names, plain_name

EXAMPLE = """\
python tools/data/make_subsets.py few-shot ucf101_train.txt data/few_shot
  python tools/data/make_subsets.py base-novel ucf101_train.txt \
data/base_novel --classes ucf101 --test ucf101_test.txt"""


class Video(NamedTuple):
    """One line of an annotation list.

    Args:
        line (str): As it stands there.
        label (int): Its last field.
    """

    line: str
    label: int

    def renumbered(self, label: int) -> 'Video':
        """The line with another label.

        Args:
            label (int): The new label.

        Returns:
            Video: The new line.
        """
        return Video(re.sub(r'\S+$', str(label), self.line), label)


def read_list(path: Path, rawframes: bool = False, with_offset: bool = False,
              num_classes: int | None = None) -> list[Video]:
    """Read the lines of a list of videos, or of folders of frames.

    Args:
        path (Path): A list for ``VideoDataset`` or ``RawframeDataset``.
        rawframes (bool): Whether it is one for ``RawframeDataset``.
        with_offset (bool): As in ``RawframeDataset``.
        num_classes (int | None): Refuse labels from this one on.

    Returns:
        list[Video]: Without repetitions, in the order of the file.

    Raises:
        ListError: If there is no list, or a line of it cannot be understood
            or has no label of a class.
    """
    if not path.is_file():
        raise ListError(f'the annotation list {path} does not exist: correct '
                        'the path')
    videos = []
    for number, text in enumerate(
            path.read_text(encoding='utf-8-sig').splitlines(), 1):
        line = text.strip()
        if not line:
            continue
        try:
            if rawframes:
                label = split_rawframe_line(line, with_offset)['label']
            else:
                label = split_video_line(line)[1]
            if label == NO_LABEL:
                raise ListError('there is no label: end the line with the '
                                'class number')
            if label < 0 or num_classes is not None and label >= num_classes:
                known = '' if num_classes is None else (
                    f' of the {num_classes} classes')
                raise ListError(f'label {label} is none{known}: labels count '
                                'from 0; correct the list or --classes')
        except ListError as error:
            raise ListError(f'{path}, line {number}: {error}') from None
        videos.append(Video(line, label))
    if not videos:
        raise ListError(f'{path} is empty: give a list with one line for '
                        'each video')
    return list(dict.fromkeys(videos))


def draw(videos: Sequence[Video], classes: Sequence[int], shots: int,
         seed: int, names: Sequence[str] | None = None) -> list[Video]:
    """Draw as many videos of each class.

    The draw of a class depends on the seed, its label and its own videos
    only, not on their order, and a larger draw holds the smaller ones.

    Args:
        videos (Sequence[Video]): The full list.
        classes (Sequence[int]): Labels to draw from.
        shots (int): Videos ``K`` of each class.
        seed (int): Seed of the draw.
        names (Sequence[str] | None): Names by label, for the message.

    Returns:
        list[Video]: In the order of the full list.

    Raises:
        ValueError: If a class has fewer videos.
    """
    members = defaultdict(list)
    for video in videos:
        members[video.label].append(video)
    drawn: set[Video] = set()
    for label in classes:
        of_class = sorted(members[label])
        if len(of_class) < shots:
            name = '' if names is None else f' ({names[label]})'
            raise ValueError(
                f'class {label}{name} has {len(of_class)} videos, fewer than '
                f'the {shots} of --shots: ask for fewer, or take the class '
                'out of the list')
        random.Random(f'{seed} {label}').shuffle(of_class)
        drawn.update(of_class[:shots])
    return [video for video in videos if video in drawn]


def halve_classes(videos: Sequence[Video], classes: str,
                  base: str) -> tuple[list[int], list[int]]:
    """Divide the classes into base and novel ones.

    Args:
        videos (Sequence[Video]): The full training list.
        classes (str): A list of classes.
        base (str): Which are base classes: ``'published'``, those of the
            package's lists ``{classes}_base`` and ``{classes}_novel``;
            ``'frequent'``, the half with most training videos; ``'first'``,
            the half with the lower labels; or a file of their names. Of an
            odd number, the base half has one more.

    Returns:
        tuple[list[int], list[int]]: Labels of base and of novel classes.
        Their places are the new labels. ``'frequent'`` orders both halves
        by number of videos, fewest first, and then by label, as ViFi-CLIP's
        published lists are; a list of names is followed; else the old order
        is.

    Raises:
        ValueError: If there are no published halves, a file names an unknown
            class, or one half is empty.
    """
    names = class_names(classes)
    if base == 'published':
        return (_labels(f'{classes}_base', names),
                _labels(f'{classes}_novel', names))
    everything = list(range(len(names)))
    half = len(names) // 2
    if base == 'first':
        chosen = everything[:-half]
    elif base == 'frequent':
        counts = Counter(video.label for video in videos)
        everything.sort(key=lambda label: counts[label])
        chosen = everything[half:]
    else:
        chosen = _labels(base, names)
    novel = [label for label in everything if label not in set(chosen)]
    if not novel:
        raise ValueError(f'{len(chosen)} of {len(names)} classes are base '
                         'classes and none is novel: leave some')
    return chosen, novel


def _labels(classes: str, names: Sequence[str]) -> list[int]:
    """Labels of some classes among all names, in their own order."""
    labels = {plain_name(name): c for c, name in enumerate(names)}
    wanted = class_names(classes)
    unknown = [name for name in wanted if plain_name(name) not in labels]
    if unknown:
        raise ValueError(f'{classes} names {unknown[0]!r}, which is not in '
                         '--classes: correct one of them')
    return [labels[plain_name(name)] for name in wanted]


def _default_base(classes: str) -> str:
    """Base classes unless the command line says which."""
    try:
        class_names(f'{classes}_base')
    except ValueError:
        return 'frequent'
    return 'published'


def renumber(videos: Sequence[Video], classes: Sequence[int]) -> list[Video]:
    """Keep the videos of some classes; labels become places among them.

    Args:
        videos (Sequence[Video]): A list.
        classes (Sequence[int]): Labels to keep.

    Returns:
        list[Video]: With labels ``0 .. len(classes) - 1``.
    """
    places = {label: place for place, label in enumerate(classes)}
    return [video.renumbered(places[video.label]) for video in videos
            if video.label in places]


def few_shot(args: argparse.Namespace) -> dict[Path, str]:
    """Lists of K videos per class.

    Args:
        args (argparse.Namespace): The command line.

    Returns:
        dict[Path, str]: Text by path.
    """
    names = None if args.classes is None else class_names(args.classes)
    videos = read_list(args.list, args.rawframes, args.with_offset,
                       None if names is None else len(names))
    number = len(names or range(max(video.label for video in videos) + 1))
    files = {}
    for shots in args.shots:
        for seed in args.seeds:
            drawn = draw(videos, range(number), shots, seed, names)
            path = args.out / f'shots{shots}_seed{seed}.txt'
            files[path] = _text(drawn)
            print(f'{path}: {len(drawn)} of {len(videos)} videos; to train '
                  'as long as on all of them, RepeatDataset with '
                  f'times={len(videos) // len(drawn)}')
    return files


def base_novel(args: argparse.Namespace) -> dict[Path, str]:
    """Few-shot lists of base classes, test lists of both halves.

    Args:
        args (argparse.Namespace): The command line.

    Returns:
        dict[Path, str]: Text by path.

    Raises:
        ValueError: If a test list shows no class of one half.
    """
    names = class_names(args.classes)
    videos = read_list(args.list, args.rawframes, args.with_offset,
                       len(names))
    base = args.base or _default_base(args.classes)
    halves = dict(zip(('base', 'novel'),
                      halve_classes(videos, args.classes, base), strict=True))
    lists = {}
    for seed in args.seeds:
        lists[f'base_shots{args.shots}_seed{seed}.txt'] = renumber(
            draw(videos, halves['base'], args.shots, seed, names),
            halves['base'])
    if args.test is not None:
        tested = read_list(args.test, args.rawframes, args.with_offset,
                           len(names))
        for half, classes in halves.items():
            lists[f'{half}_test.txt'] = renumber(tested, classes)
            if not lists[f'{half}_test.txt']:
                raise ValueError(f'{args.test} has no video of a {half} '
                                 'class: give the list of all classes')
    files = {}
    for half, classes in halves.items():
        path = args.out / f'{half}_classes.txt'
        files[path] = ''.join(f'{names[label]}\n' for label in classes)
        print(f'{path}: {len(classes)} classes')
    for name, part in lists.items():
        files[args.out / name] = _text(part)
        print(f'{args.out / name}: {len(part)} videos')
    return files


def _text(videos: Sequence[Video]) -> str:
    return ''.join(f'{video.line}\n' for video in videos)


def _count(text: str) -> int:
    """A number of videos on the command line."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f'{number} is below 1')
    return number


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = make_parser(__doc__, EXAMPLE)
    protocols = parser.add_subparsers(required=True, metavar='PROTOCOL')
    few = protocols.add_parser(
        'few-shot', help='K videos of each class: shots{K}_seed{S}.txt')
    few.set_defaults(make=few_shot)
    novel = protocols.add_parser(
        'base-novel', help='half of the classes to train on, the others to '
        'test on: {base,novel}_classes.txt, base_shots{K}_seed{S}.txt and '
        '{base,novel}_test.txt, labels counted from 0 in each half')
    novel.set_defaults(make=base_novel)
    for protocol in (few, novel):
        protocol.add_argument(
            'list', type=Path, metavar='LIST',
            help='training list of a VideoDataset or RawframeDataset')
        protocol.add_argument('out', type=Path, metavar='OUT',
                              help='folder to write to')
        protocol.add_argument(
            '--seeds', type=int, nargs='+', default=[1, 2, 3], metavar='S',
            help='one list is drawn for each (default: 1 2 3)')
        protocol.add_argument(
            '--rawframes', action='store_true',
            help='the lists are those of a RawframeDataset')
        protocol.add_argument(
            '--with-offset', action='store_true',
            help='as in RawframeDataset, its lists give offsets')
        protocol.add_argument('--force', action='store_true',
                              help='replace files that exist')
    few.add_argument(
        '--shots', type=_count, nargs='+', default=[2, 4, 8, 16],
        metavar='K', help='videos of a class (default: 2 4 8 16)')
    few.add_argument(
        '--classes', help='class names: finds classes without any video, '
        'and names those with too few')
    novel.add_argument(
        '--shots', type=_count, default=16, metavar='K',
        help='videos of a base class (default: 16)')
    novel.add_argument(
        '--classes', required=True,
        help="class names: a file, or a list of ours such as 'ucf101'")
    novel.add_argument(
        '--base', metavar='{published,frequent,first,FILE}',
        help='base classes: the published ones, that hmdb51, k400, sthv2 and '
        'ucf101 have (default for these); those with most videos in LIST '
        '(default for others), the first half by number, or those that a '
        'file names')
    novel.add_argument('--test', type=Path, metavar='LIST',
                       help='test list of all classes, to be divided')
    return parser.parse_args()


def main(args: argparse.Namespace) -> None:
    """Draw the lists and write them."""
    write_files(args.make(args), args.force)


if __name__ == '__main__':
    run_tool(main, parse_args())
