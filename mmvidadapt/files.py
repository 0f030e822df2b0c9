"""Files are written whole or not at all."""

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
