"""Turn a folder of videos, or a CSV, into lists, labels and a config."""

import argparse
import csv
import os
import random
import sys
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
SPLITS = ('train', 'val', 'test')
SUFFIXES = ('.3gp', '.avi', '.flv', '.m4v', '.mkv', '.mov', '.mp4', '.mpeg',
            '.mpg', '.webm', '.wmv')
EPILOG = """
A folder holds one folder of videos per class, or train/, val/ (and test/)
with such folders in them. A CSV has the columns path,label or
path,label,split, with or without that line at its top; paths count from the
folder of the CSV.

Written are train.txt, val.txt (and test.txt, if there is such a split) in
MMAction2's format, labels.txt with one class name per line, and config.py,
which inherits one of our configs. For example:

  python tools/data/make_lists.py my_videos data/mine --check
  python tools/train.py data/mine/config.py

From a config that only tests, such as configs/mote/vitb_zeroshot_ucf101.py,
come one list of all videos, test.txt (of the split test, or else val, if the
source divides), and a config that tests on it.
"""


class Video(NamedTuple):
    """One line of the lists to be.

    Args:
        path (str): Relative to the folder of the videos.
        label (str): Name of the class.
        split (str): One of ``SPLITS``, or empty if it is to be drawn.
    """

    path: str
    label: str
    split: str = ''


def find_videos(folder: Path) -> list[Video]:
    """Find the videos of a folder of class folders.

    Args:
        folder (Path): Folder of class folders, or of ``train``, ``val`` and
            ``test`` folders that hold them.

    Returns:
        list[Video]: Sorted by class and name.

    Raises:
        ValueError: If there are no class folders or no videos.
    """
    classes = _folders(folder)
    names = {entry.name for entry in classes}
    if 'train' in names and names <= set(SPLITS):
        places = [(entry, split.name) for split in classes
                  for entry in _folders(split)]
    else:
        places = [(entry, '') for entry in classes]
    videos = [Video(str(file.relative_to(folder)), entry.name, split)
              for entry, split in places
              for file in sorted(entry.rglob('*'))
              if file.suffix.lower() in SUFFIXES and file.is_file()]
    if not videos:
        raise ValueError(
            f'{folder} holds no class folders with videos '
            f'({", ".join(SUFFIXES)}): put the videos of each class into a '
            'folder of their own, or give a CSV.')
    return videos


def _folders(folder: Path) -> list[Path]:
    """Visible folders inside a folder, sorted by name."""
    return sorted(entry for entry in folder.iterdir()
                  if entry.is_dir() and not entry.name.startswith('.'))


def read_csv(path: Path) -> list[Video]:
    """Read videos from a CSV of path, label and, if wanted, split.

    Args:
        path (Path): The file.

    Returns:
        list[Video]: In the order of the file.

    Raises:
        ValueError: If a row is incomplete, or names an unknown split.
    """
    videos = []
    with path.open(newline='', encoding='utf-8-sig') as file:
        for number, row in enumerate(csv.reader(file), start=1):
            row = [cell.strip() for cell in row]
            if not any(row) or (number == 1
                                and row[:2] == ['path', 'label']):
                continue
            if len(row) not in (2, 3) or not all(row):
                raise ValueError(
                    f'{path}, line {number} is {",".join(row)!r}: give '
                    'path,label or path,label,split.')
            if len(row) == 3 and row[2] not in SPLITS:
                raise ValueError(
                    f'{path}, line {number} has the split {row[2]!r}: use '
                    'one of train, val, test.')
            videos.append(Video(*row))
    if not videos:
        raise ValueError(f'{path} lists no videos: give one path,label per '
                         'line.')
    if len({bool(video.split) for video in videos}) > 1:
        raise ValueError(f'{path} gives a split for some videos only: give '
                         'it for all of them, or for none.')
    return videos


def class_names(videos: list[Video]) -> list[str]:
    """Names of the classes in the order of their numbers.

    Args:
        videos (list[Video]): All videos.

    Returns:
        list[str]: Sorted; numbers by their value, so that labels 0 to n - 1
        keep their meaning.
    """
    names = {video.label for video in videos}
    if all(name.isdecimal() for name in names):
        return sorted(names, key=int)
    return sorted(names)


def split_videos(videos: list[Video], val_ratio: float,
                 seed: int) -> dict[str, list[Video]]:
    """Divide the videos, class by class, unless they are divided already.

    The draw of a class depends on the seed and its own videos only, so that
    another class may come or go without moving videos between the lists.

    Args:
        videos (list[Video]): All videos.
        val_ratio (float): Share of each class that goes to validation;
            rounded, at least one video of a class of two or more, and never
            all of them.
        seed (int): Seed of the draw.

    Returns:
        dict[str, list[Video]]: Non-empty splits, in the order of ``SPLITS``.

    Raises:
        ValueError: If ``val_ratio`` is not between 0 and 1, or no video is
            left for training or validation.
    """
    if not 0 < val_ratio < 1:
        raise ValueError(f'--val-ratio is {val_ratio}: give a share between '
                         '0 and 1.')
    if videos[0].split:
        parts = {split: [video for video in videos if video.split == split]
                 for split in SPLITS}
    else:
        by_class = defaultdict(list)
        for video in sorted(videos):
            by_class[video.label].append(video)
        parts = dict(train=[], val=[])
        for label, members in by_class.items():
            random.Random(f'{seed} {label}').shuffle(members)
            share = max(1, round(val_ratio * len(members)))
            share = min(share, len(members) - 1)
            parts['val'] += sorted(members[:share])
            parts['train'] += sorted(members[share:])
    for split in ('train', 'val'):
        if not parts[split]:
            raise ValueError(
                f'No video is left for the split {split!r}: give more '
                'videos of each class, or name the splits in a CSV.')
    return {split: part for split, part in parts.items() if part}


def videos_to_test(videos: list[Video]) -> dict[str, list[Video]]:
    """The list of a config that only tests.

    Args:
        videos (list[Video]): All videos.

    Returns:
        dict[str, list[Video]]: ``test``: all videos if they are not divided,
        else those for testing, else those for validation.

    Raises:
        ValueError: If all videos are for training.
    """
    for split in ('', 'test', 'val'):
        part = [video for video in videos if video.split == split]
        if part:
            return dict(test=part)
    raise ValueError('All videos are of the split train, and --base only '
                     'tests: name others val or test, or name no split.')


def broken_videos(videos: list[Video], root: Path) -> dict[str, str]:
    """Open every video and read its first, middle and last frame.

    Args:
        videos (list[Video]): The videos.
        root (Path): Folder that their paths count from.

    Returns:
        dict[str, str]: What is wrong, by path, for those that are broken.
    """
    from mmengine.utils import track_iter_progress

    from mmvidadapt.datasets import BrokenVideoError, VideoReader
    broken = {}
    for video in track_iter_progress(videos, file=sys.stderr):
        try:
            with VideoReader(root / video.path) as reader:
                last = len(reader) - 1
                reader.read({0, last // 2, last})
        except BrokenVideoError as error:
            broken[video.path] = str(error)
    return broken


def list_text(videos: list[Video], names: list[str]) -> str:
    """Lines of ``path label``, as MMAction2's ``VideoDataset`` reads them.

    Args:
        videos (list[Video]): The videos of one list.
        names (list[str]): Class names by number.

    Returns:
        str: The list.
    """
    numbers = {name: number for number, name in enumerate(names)}
    return ''.join(f'{video.path} {numbers[video.label]}\n'
                   for video in videos)


def config_text(base: Path, model: Mapping, out: Path, root: Path,
                num_classes: int, splits: list[str]) -> str:
    """A config for the user's data that inherits one of ours.

    Args:
        base (Path): The config to inherit.
        model (Mapping): Its model.
        out (Path): Folder of the lists and of this config.
        root (Path): Folder of the videos.
        num_classes (int): Number of classes.
        splits (list[str]): Splits that have a list.

    Returns:
        str: The config.
    """
    relative = Path(os.path.relpath(base.resolve(), out.resolve()))
    trains = 'train' in splits
    used = dict(train='train', val='val') if trains else {}
    used['test'] = 'test' if 'test' in splits else 'val'
    loaders = ''.join(f"""\
{split}_dataloader = dict(
    dataset=dict(
        ann_file=f'{{lists}}/{name}.txt', data_prefix=dict(video=data_root)))
""" for split, name in used.items())
    files = 'train.txt, val.txt' if trains else 'test.txt'
    settings = ''.join(f'{line},\n'
                       for line in _class_settings(model, num_classes))
    return f"""# Written by tools/data/make_lists.py; change what you like.
_base_ = {relative.as_posix()!r}

data_root = {root.resolve().as_posix()!r}  # the videos
lists = {out.resolve().as_posix()!r}  # {files}, labels.txt
num_classes = {num_classes}

model = dict(
{settings[:-2]})
{loaders}""" + ("""\
# To start from a checkpoint of another data set, whose classes differ:
# load_from = 'path/to/checkpoint.pth'
""" if trains else '')


def _class_settings(model: Mapping, num_classes: int) -> list[str]:
    """Lines of a config that name the classes, or their number, again.

    Mixing of clips needs it too. It stands in a list, which a config that
    inherits has to write whole. A text head reads names, and compares no more
    nearest classes than there are.
    """
    lines = ['    cls_head=dict(num_classes=num_classes)']
    head = model.get('cls_head', {})
    if 'classes' in head:
        fewer = ', modulation_k=num_classes' if (
            num_classes < head.get('modulation_k', 5)) else ''
        lines = [f"    cls_head=dict(classes=f'{{lists}}/labels.txt'{fewer})"]
    blending = model.get('data_preprocessor', {}).get('blending') or {}
    augments = [', '.join(f'{key}=num_classes' if key == 'num_classes'
                          else f'{key}={value!r}'
                          for key, value in augment.items())
                for augment in blending.get('augments', [])]
    if augments:
        steps = ',\n'.join(f'            dict({step})' for step in augments)
        lines.append('    data_preprocessor=dict(\n        blending=dict('
                     f'augments=[\n{steps}\n        ]))')
    elif 'num_classes' in blending:
        lines.append('    data_preprocessor=dict(\n        blending=dict('
                     'num_classes=num_classes))')
    return lines


def write_files(files: dict[Path, str], force: bool = False) -> None:
    """Write all files or none.

    Args:
        files (dict[Path, str]): Text by path.
        force (bool): Whether files that exist may be replaced.

    Raises:
        ValueError: If one exists and ``force`` is false.
    """
    existing = [str(path) for path in files if path.exists()]
    if existing and not force:
        raise ValueError(f'{", ".join(existing)} exists already: choose '
                         'another folder, or add --force to replace it.')
    for path, text in files.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f'{path.name}.part')
        partial.write_text(text, encoding='utf-8')
        os.replace(partial, path)


def parse_args() -> tuple[argparse.Namespace, argparse.ArgumentParser]:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('source', type=Path,
                        help='folder of class folders, or a CSV')
    parser.add_argument('out', type=Path, help='folder to write to')
    parser.add_argument('--format', choices=('auto', 'folders', 'csv'),
                        default='auto',
                        help='what SOURCE is; auto looks (default)')
    parser.add_argument('--val-ratio', type=float, default=0.2,
                        help='share of each class for validation, where the '
                        'source does not divide (default 0.2)')
    parser.add_argument('--seed', type=int, default=0,
                        help='seed of that division (default 0)')
    parser.add_argument('--base', type=Path,
                        default=ROOT / 'configs' / 'inti' / 'vitb_k400.py',
                        help='config to inherit (default: InTI on ViT-B/16)')
    parser.add_argument('--check', action='store_true',
                        help='read every video, report those that are '
                        'broken and leave them out')
    parser.add_argument('--force', action='store_true',
                        help='replace files that exist')
    parser.add_argument('--traceback', action='store_true',
                        help='show where an error came from, not only what '
                        'it says')
    return parser.parse_args(), parser


def make_lists(args: argparse.Namespace) -> dict[Path, str]:
    """Do what the command line asks for, up to writing.

    Args:
        args (argparse.Namespace): The command line.

    Returns:
        dict[Path, str]: Text by path.

    Raises:
        ValueError: If something in the source or the options is wrong.
    """
    if not args.source.exists():
        raise ValueError(f'{args.source} does not exist: give a folder of '
                         'class folders, or a CSV.')
    if not args.base.is_file():
        raise ValueError(f'--base {args.base} does not exist: give one of '
                         'the configs under configs/.')
    from mmengine.config import Config
    base = Config.fromfile(args.base, import_custom_modules=False)
    trains = 'train_dataloader' in base
    is_folder = args.source.is_dir()
    if args.format != 'auto' and is_folder != (args.format == 'folders'):
        raise ValueError(
            f'{args.source} is {"a folder" if is_folder else "a file"}, '
            f'--format says {args.format}: leave --format out.')
    root = args.source if is_folder else args.source.parent
    videos = (find_videos if is_folder else read_csv)(args.source)
    if args.check:
        broken = broken_videos(videos, root)
        for what in broken.values():
            print(f'Left out: {what}')
        videos = [video for video in videos if video.path not in broken]
        if not videos:
            raise ValueError('Every video is broken: see the lines above.')
    names = class_names(videos)
    parts = split_videos(videos, args.val_ratio, args.seed) if trains else (
        videos_to_test(videos))
    trained = {video.label for video in parts.get('train', [])}
    unseen = [name for name in names if name not in trained]
    if unseen and trains:
        raise ValueError(f'No training video shows {", ".join(unseen)}: add '
                         'some, or take the class out.')
    for split, part in parts.items():
        print(f'{split}: {len(part)} videos of '
              f'{len({video.label for video in part})} classes')
    files = {args.out / f'{split}.txt': list_text(part, names)
             for split, part in parts.items()}
    files[args.out / 'labels.txt'] = '\n'.join(names) + '\n'
    files[args.out / 'config.py'] = config_text(
        args.base, base.model, args.out, root, len(names), list(parts))
    return files


def main() -> None:
    """Run from the command line."""
    args, parser = parse_args()
    try:
        files = make_lists(args)
        write_files(files, args.force)
    except ValueError as error:
        if args.traceback:
            raise
        parser.error(str(error))
    config = args.out / 'config.py'
    trains = args.out / 'train.txt' in files
    print(f'Now run: python tools/train.py {config}' if trains else
          f'Now run: python tools/test.py {config} CHECKPOINT')


if __name__ == '__main__':
    main()
