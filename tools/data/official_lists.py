#!/usr/bin/env python
"""Write the lists that our configs read, from a data set's own annotations."""

import argparse
import csv
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache, partial
from pathlib import Path
from typing import NamedTuple

from make_lists import Video, broken_videos, list_text, write_files

from mmvidadapt.apis.cli import make_parser, run_tool
from mmvidadapt.datasets.class_lists import class_names, plain_name
from mmvidadapt.datasets.video_files import files_below

EXAMPLE = """\
python tools/data/official_lists.py ucf101
  python tools/data/official_lists.py kinetics400 /disk/kinetics400 \
--skip-missing"""
COLUMNS = ('label', 'youtube_id', 'time_start', 'time_end')


class Entry(NamedTuple):
    """One video of an annotation file.

    Args:
        names (tuple[str, ...]): What its file may be called, without suffix,
            and with the folder of the class where names alone may clash.
        label (str): Name of its class as it stands there.
        place (str): Where it stands, for messages.
    """

    names: tuple[str, ...]
    label: str
    place: str


class Listing(NamedTuple):
    """A list to write.

    Args:
        name (str): File name, as in the configs.
        split (str): ``'train'``, ``'val'`` or ``'test'``.
        folder (str): Folder of the videos, as in the configs.
        classes (str): The class list that gives the labels.
        read (Callable[[Path], Iterator[Entry]]): From the folder of the
            annotations to entries.
        every (str): The class list of all entries, if others than those of
            ``classes`` are to be passed over.
        by_class (bool): Whether names are those of a class folder and a file.
    """

    name: str
    split: str
    folder: str
    classes: str
    read: Callable[[Path], Iterator[Entry]]
    every: str = ''
    by_class: bool = False

    @property
    def frames(self) -> bool:
        """Whether a video is a folder of frames."""
        return self.folder == 'rawframes'


def annotation_file(folder: Path, *names: str) -> Path:
    """Find a published file in a folder and the folders inside it.

    Args:
        folder (Path): Where the annotations were unpacked.
        *names (str): What the file may be called.

    Returns:
        Path: The file.

    Raises:
        FileNotFoundError: If there is none.
    """
    for name in names:
        for path in sorted(folder.rglob(name)):
            return path
    raise FileNotFoundError(f'{folder} holds no {" or ".join(names)}: unpack '
                            "the data set's annotations there")


def _kinetics(annotations: Path, names: Sequence[str]) -> Iterator[Entry]:
    """Entries of a CSV of Kinetics."""
    path = annotation_file(annotations, *names)
    with path.open(newline='', encoding='utf-8-sig') as file:
        rows = csv.DictReader(file)
        for column in COLUMNS:
            if column not in (rows.fieldnames or []):
                raise ValueError(
                    f'{path} has no column {column!r} in its first line: '
                    f'take the file with {",".join(COLUMNS)}')
        for row in rows:
            place = f'{path}, line {rows.line_num}'
            try:
                start, end = (int(float(row[column]))
                              for column in COLUMNS[2:])
            except (TypeError, ValueError):
                raise ValueError(f'{place} has no times: load the file '
                                 'again, or mend the line') from None
            video = row['youtube_id']
            # One clip of a video was taken, so its id alone will do.
            yield Entry((f'{video}_{start:06d}_{end:06d}', video),
                        row['label'] or '', place)


def _sthv1(annotations: Path, name: str) -> Iterator[Entry]:
    """Entries of a CSV of Something-Something V1."""
    path = annotation_file(annotations, f'something-something-v1-{name}.csv')
    for place, line in _lines(path):
        video, _, label = line.partition(';')
        yield Entry((video,), label, place)


def _sthv2(annotations: Path, name: str) -> Iterator[Entry]:
    """Entries of a JSON of Something-Something V2."""
    path = annotation_file(annotations, f'{name}.json',
                           f'something-something-v2-{name}.json')
    try:
        videos = json.loads(path.read_text(encoding='utf-8'))
    except ValueError as error:
        raise ValueError(f'{path} is not JSON ({error}): load the file '
                         'again') from error
    for number, video in enumerate(videos, 1):
        place = f'{path}, entry {number}'
        if not (isinstance(video, dict)
                and {'id', 'template'} <= video.keys()):
            raise ValueError(f'{place} has no id or no template: take the '
                             'file of the training or validation videos')
        yield Entry((str(video['id']),), video['template'], place)


def _ucf101(annotations: Path, name: str) -> Iterator[Entry]:
    """Entries of a list of UCF-101."""
    for place, line in _lines(annotation_file(annotations, name)):
        video = Path(line.split()[0])  # training lists number the class
        label = str(video.parent)
        yield Entry((f'{label}/{video.stem}',), label, place)


def _hmdb51(annotations: Path, number: int, mark: str) -> Iterator[Entry]:
    """Entries of HMDB-51's lists, one for each class.

    Lines end in 1 for training, in 2 for testing and in 0 for neither.
    """
    for label in class_names('hmdb51'):
        path = annotation_file(annotations,
                               f'{label}_test_split{number}.txt')
        for place, line in _lines(path):
            video, _, given = line.rpartition(' ')
            if given == mark:
                yield Entry((f'{label}/{Path(video).stem}',), label, place)


def _lines(path: Path) -> Iterator[tuple[str, str]]:
    """Place and text of the lines that are not blank."""
    with path.open(encoding='utf-8-sig') as file:
        for number, line in enumerate(file, 1):
            if line.strip():
                yield f'{path}, line {number}', line.strip()


#: What the configs read, by data set.
DATA_SETS = {
    'kinetics400': [
        Listing(f'kinetics400_{split}_list_videos.txt', split,
                f'videos_{split}', 'k400', partial(_kinetics, names=names))
        for split, names in (
            ('train', ('train.csv', 'kinetics_train.csv')),
            ('val', ('val.csv', 'validate.csv', 'kinetics_val.csv')))],
    'kinetics600': [
        Listing(f'kinetics600_zeroshot_{number}_list_videos.txt', 'test',
                'videos_test', f'k600_zeroshot_{number}',
                partial(_kinetics, names=('test.csv', 'kinetics_test.csv')),
                every='k600')
        for number in (1, 2, 3)],
    'sthv1': [
        Listing(f'sthv1_{split}_list_rawframes.txt', split, 'rawframes',
                'sthv1', partial(_sthv1, name=name))
        for split, name in (('train', 'train'), ('val', 'validation'))],
    'sthv2': [
        Listing(f'sthv2_{split}_list_videos.txt', split, 'videos', 'sthv2',
                partial(_sthv2, name=name))
        for split, name in (('train', 'train'), ('val', 'validation'))],
    'ucf101': [
        Listing(f'ucf101_{split}_split_{number}_videos.txt', split, 'videos',
                'ucf101',
                partial(_ucf101, name=f'{name}list{number:02d}.txt'),
                by_class=True)
        for number in (1, 2, 3)
        for split, name in (('train', 'train'), ('val', 'test'))],
    'hmdb51': [
        Listing(f'hmdb51_{split}_split_{number}_videos.txt', split, 'videos',
                'hmdb51', partial(_hmdb51, number=number, mark=mark),
                by_class=True)
        for number in (1, 2, 3)
        for split, mark in (('train', '1'), ('val', '2'))],
}


@cache
def found_videos(folder: Path, by_class: bool) -> dict[str, str]:
    """Videos in a folder, by name.

    Args:
        folder (Path): Where to look.
        by_class (bool): Whether the folder of a file is part of its name.

    Returns:
        dict[str, str]: Path below ``folder`` by name without suffix.

    Raises:
        FileNotFoundError: If there is no such folder.
    """
    videos: dict[str, str] = {}
    for path in files_below(_existing(folder)):
        name = f'{path.parent.name}/{path.stem}' if by_class else path.stem
        videos.setdefault(name, path.relative_to(folder).as_posix())
    return videos


@cache
def found_frames(folder: Path) -> dict[str, str]:
    """Folders of frames in a folder, by name.

    Args:
        folder (Path): Where to look.

    Returns:
        dict[str, str]: Name and number of frames, by name.

    Raises:
        FileNotFoundError: If there is no such folder.
    """
    counts = {inside.name: sum(1 for _ in inside.glob('*.jpg'))
              for inside in _existing(folder).iterdir() if inside.is_dir()}
    return {name: f'{name} {count}' for name, count in counts.items()
            if count}


def _existing(folder: Path) -> Path:
    if not folder.is_dir():
        raise FileNotFoundError(f'the folder {folder} does not exist: put '
                                'the videos there, or a link to them')
    return folder


def select(listing: Listing, root: Path) -> tuple[list[Video], list[str]]:
    """Find the videos of a list.

    Args:
        listing (Listing): The list.
        root (Path): Folder of the data set.

    Returns:
        tuple[list[Video], list[str]]: Videos that are there, in the order of
        the annotations, with our names of their classes, and names of those
        that are not.

    Raises:
        ValueError: If there is a class of another name, or no video at all
            in the annotations or in the folder.
    """
    folder = root / listing.folder
    found = (found_frames(folder) if listing.frames
             else found_videos(folder, listing.by_class))
    ours = {plain_name(name): name for name in class_names(listing.classes)}
    known = {plain_name(name)
             for name in class_names(listing.every or listing.classes)}
    videos, missing = [], []
    for entry in listing.read(root / 'annotations'):
        label = plain_name(entry.label)
        if label not in known:
            raise ValueError(
                f'{entry.place}: {entry.label!r} is no class of '
                f'{listing.every or listing.classes}: take the annotations '
                'of this data set')
        if label not in ours:
            continue
        path = next((found[name] for name in entry.names if name in found),
                    None)
        if path is None:
            missing.append(entry.names[0])
        else:
            videos.append(Video(path, ours[label]))
    if not videos and not missing:
        raise ValueError(f'the annotations name no video of {listing.name}: '
                         'take those of this data set')
    if not videos:
        raise ValueError(
            f'none of the {len(missing)} videos of {listing.name} is in '
            f'{folder}, not even {missing[0]}: correct the folder, or the '
            'annotations')
    return videos, missing


def unreadable(selected: Mapping[Listing, tuple[list[Video], list[str]]],
               root: Path) -> set[Path]:
    """Read the videos of all lists, each once, and name those that fail.

    Args:
        selected (Mapping[Listing, tuple[list[Video], list[str]]]): As from
            :func:`select`, by list.
        root (Path): Folder of the data set.

    Returns:
        set[Path]: The broken files.
    """
    broken = set()
    for folder in dict.fromkeys(listing.folder for listing in selected):
        videos = dict.fromkeys(
            video for listing, (found, _) in selected.items()
            if listing.folder == folder for video in found)
        for path, what in broken_videos(list(videos), root / folder).items():
            print(f'Left out: {what}')
            broken.add(root / folder / path)
    return broken


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = make_parser(__doc__, EXAMPLE)
    parser.add_argument('data_set', choices=sorted(DATA_SETS),
                        metavar='DATASET', help=', '.join(sorted(DATA_SETS)))
    parser.add_argument('root', nargs='?', type=Path, metavar='ROOT',
                        help='folder of annotations/ and of the videos, to '
                        'which the lists are written (default: data/DATASET)')
    parser.add_argument('--split', nargs='+', choices=('train', 'val', 'test'),
                        help='write the lists of these only')
    parser.add_argument('--skip-missing', action='store_true',
                        help='leave out videos that are not there')
    parser.add_argument('--check', action='store_true',
                        help='read every video, report those that are broken '
                        'and leave them out')
    parser.add_argument('--force', action='store_true',
                        help='replace files that exist')
    return parser.parse_args()


def main(args: argparse.Namespace) -> None:
    """Write the lists of a data set, all or none."""
    root = args.root or Path('data', args.data_set)
    listings = [listing for listing in DATA_SETS[args.data_set]
                if args.split is None or listing.split in args.split]
    if not listings:
        raise ValueError(f'there is no list of {args.data_set} for --split '
                         f'{" ".join(args.split)}: leave --split out')
    if args.check and listings[0].frames:
        raise ValueError(f'--check reads video files, and {args.data_set} '
                         'has frames, which are always counted: leave it out')
    selected = {listing: select(listing, root) for listing in listings}
    stops = not args.skip_missing and any(
        missing for _, missing in selected.values())
    broken = (unreadable(selected, root) if args.check and not stops
              else set())
    files, lacking = {}, ''
    for listing, (found, missing) in selected.items():
        videos = [video for video in found
                  if root / listing.folder / video.path not in broken]
        names = class_names(listing.classes)
        number = len(found) + len(missing)
        print(f'{root / listing.name}: {len(videos)} of {number} videos, '
              f'{len({video.label for video in videos})} of {len(names)} '
              f'classes; {len(missing)} missing, '
              f'{len(found) - len(videos)} broken')
        if missing and not lacking:
            lacking = (
                f'{len(missing)} of {number} videos of {listing.name} are not '
                f'in {root / listing.folder}, {missing[0]} the first: '
                'complete the download, or add --skip-missing to leave them '
                'out')
        files[root / listing.name] = list_text(videos, names)
    if stops:
        raise ValueError(lacking)
    write_files(files, args.force)


if __name__ == '__main__':
    run_tool(main, parse_args())
