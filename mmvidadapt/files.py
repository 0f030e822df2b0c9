"""Files are written whole or not at all, where they can be."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def whole_file(path: str | os.PathLike) -> Iterator[Path]:
    """A name to write to; the file gets its own name once that succeeded.

    Args:
        path (str | os.PathLike): The file to write. Its folder is made.

    Yields:
        Path: A name beside it with the same suffix. Nothing stays there if
        writing fails, and what ``path`` held before does.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f'.{os.getpid()}-{path.name}')
    try:
        yield partial
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def check_folder(folder: Path) -> None:
    """Refuse a folder that could not be written to, before hours of work.

    Args:
        folder (Path): A folder that is there or that will be made.

    Raises:
        ValueError: If a file is where a folder is to be.
        PermissionError: If it, or the first folder above it that is there,
            cannot be written to.
    """
    there = next(place for place in (folder, *folder.absolute().parents)
                 if place.exists())
    if not there.is_dir():
        raise ValueError(f'{there} is a file: choose another folder')
    if not os.access(there, os.W_OK):
        raise PermissionError(f'{there} cannot be written to: choose another '
                              'folder')
