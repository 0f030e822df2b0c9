"""Find videos: files, and folders of numbered frames."""

import os
from collections.abc import Sequence
from pathlib import Path

__all__ = ['IMAGE_SUFFIXES', 'MissingExtraError', 'VIDEO_SUFFIXES',
           'files_below', 'find_videos', 'holds_frames']

VIDEO_SUFFIXES = ('.3gp', '.avi', '.flv', '.m4v', '.mkv', '.mov', '.mp4',
                  '.mpeg', '.mpg', '.webm', '.wmv')
IMAGE_SUFFIXES = ('.bmp', '.jpeg', '.jpg', '.png', '.webp')


class MissingExtraError(ImportError, ValueError):
    """A package that only some uses need is not there, or does not load."""


def files_below(folder: Path,
                suffixes: Sequence[str] = VIDEO_SUFFIXES) -> list[Path]:
    """Files of some kind in a folder and in the folders inside it.

    Hidden ones are no videos: macOS leaves a ``._NAME.mp4`` for each file
    that it copies to a foreign disk.

    Args:
        folder (Path): Where to look.
        suffixes (Sequence[str]): What their names end in, in lower case.

    Returns:
        list[Path]: Sorted.
    """
    return sorted(
        path for path in folder.rglob('*')
        if path.suffix.lower() in suffixes and path.is_file() and not any(
            part.startswith('.') for part in path.relative_to(folder).parts))


def holds_frames(folder: Path) -> bool:
    """Whether pictures lie directly in a folder, and no videos.

    A picture beside videos is a cover or a contact sheet.
    """
    found = {path.suffix.lower() for path in folder.iterdir()
             if not path.name.startswith('.')}
    return not found.isdisjoint(IMAGE_SUFFIXES) and (
        found.isdisjoint(VIDEO_SUFFIXES))


def find_videos(paths: Sequence[str | os.PathLike]) -> list[Path]:
    """The videos that paths stand for, each once.

    Args:
        paths (Sequence[str | os.PathLike]): Video files; folders of frames,
            which are one video each; folders that hold such files and
            folders at any depth.

    Returns:
        list[Path]: In the order given, those of a folder sorted.

    Raises:
        FileNotFoundError: If there is no such file or folder.
        ValueError: If a folder holds no videos, or there is no path at all.
    """
    found: dict[Path, None] = {}
    for path in map(Path, paths):
        if not path.exists():
            raise FileNotFoundError(
                f'{path} does not exist: give a video, a folder of frames or '
                'a folder of videos')
        if path.is_dir() and not holds_frames(path):
            inside = files_below(path) + sorted(filter(holds_frames, {
                picture.parent
                for picture in files_below(path, IMAGE_SUFFIXES)}))
            if not inside:
                raise ValueError(
                    f'{path} holds neither videos '
                    f'({", ".join(VIDEO_SUFFIXES)}) nor folders of frames: '
                    'give another folder')
            found.update(dict.fromkeys(inside))
        else:
            found[path] = None
    if not found:
        raise ValueError('there is no video to look at: give at least one')
    return list(found)
