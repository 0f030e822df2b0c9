"""One process of a machine at a time, without a collective.

A barrier would wait for ever where one process works alone: a hook of rank
0, two runs of one user, or a process that found what the others miss.
"""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def file_lock(path: Path) -> Iterator[None]:
    """Wait for a file's lock and hold it while the context lasts.

    The kernel drops the lock when its process ends, however that happens;
    the empty file stays.

    Args:
        path (Path): The file, made if it is not there.

    Yields:
        None: While the lock is held.

    Raises:
        OSError: If the file cannot be written or locked.
    """
    with open(path, 'a') as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
