"""Class features on disk, so that a list of classes is encoded once.

A file is named by the hash of a description of all that its features depend
on, and holds the description itself and the hash of its values. Processes
that miss the same file wait for the first of them, by a lock that ends with
its process; there is no collective, so a process that evaluates alone waits
for nobody.
"""

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from mmengine.logging import MMLogger
from safetensors.torch import save
from torch import Tensor

from ...compat.checkpoints import CheckpointError, read_checkpoint
from ...files import whole_file
from ..locking import file_lock

#: Environment variable with the folder of everything that is cached.
CACHE_VARIABLE = 'MMVIDADAPT_CACHE'


def cache_folder(folder: str | os.PathLike | None = None) -> Path:
    """Folder of the cached class features.

    Args:
        folder (str | os.PathLike | None): Folder of everything that is
            cached; ``$MMVIDADAPT_CACHE`` if None, and ``~/.cache/mmvidadapt``
            if that is not set.

    Returns:
        Path: Its ``class_features``.
    """
    chosen = folder or os.environ.get(CACHE_VARIABLE) or '~/.cache/mmvidadapt'
    return Path(chosen).expanduser() / 'class_features'


def cached(folder: Path, description: Mapping[str, Any],
           compute: Callable[[], Tensor]) -> Tensor:
    """Read a tensor from the cache; compute and write it if it is not there.

    Args:
        folder (Path): Where the files are.
        description (Mapping[str, Any]): All that the tensor depends on, as
            JSON.
        compute (Callable[[], Tensor]): Makes it; runs in one process at a
            time.

    Returns:
        Tensor: ``compute()``, on the CPU if it was read.

    Raises:
        OSError: If the folder cannot be written.
    """
    text = json.dumps(description, sort_keys=True)
    path = folder / f'{_sha256(text.encode())}.safetensors'
    found = _read(path, text)
    if found is not None:
        return found
    with _lock(path):
        found = _read(path, text)  # another process may have been first
        if found is None:
            found = compute()
            _write(path, text, found)
    return found


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _bytes(tensor: Tensor) -> bytes:
    return tensor.detach().cpu().contiguous().numpy().tobytes()


def _read(path: Path, text: str) -> Tensor | None:
    """The tensor of a sound file; a file of no use is left to be replaced."""
    if not path.is_file():
        return None
    try:
        content = read_checkpoint(path)
        tensor = content['state_dict']['features']
        meta = content['meta']
        fault = (
            'describes other features' if meta['description'] != text else
            'is damaged' if meta['sha256'] != _sha256(_bytes(tensor)) else '')
    except (CheckpointError, KeyError, TypeError) as error:
        fault = f'cannot be read ({error})'
    if not fault:
        return tensor
    MMLogger.get_current_instance().warning(
        f'The cached class features {path} are not used, because the file '
        f'{fault}: they are computed anew and the file is replaced.')
    return None


def _write(path: Path, text: str, tensor: Tensor) -> None:
    """Write a file as a whole: readers hold no lock."""
    content = save(
        dict(features=tensor.detach().cpu().contiguous()),
        dict(description=text, sha256=_sha256(_bytes(tensor))))
    with _named(path.parent), whole_file(path) as temporary:
        temporary.write_bytes(content)


@contextmanager
def _lock(path: Path) -> Iterator[None]:
    """Hold the lock of a file, in whose folder can then be written."""
    with ExitStack() as stack:
        with _named(path.parent):
            path.parent.mkdir(parents=True, exist_ok=True)
            stack.enter_context(file_lock(path.with_suffix('.lock')))
        yield


@contextmanager
def _named(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise OSError(
            f'class features cannot be cached in {folder} ({error}): set '
            f'cache_dir of text, or {CACHE_VARIABLE}, to a folder that can '
            'be written') from error
