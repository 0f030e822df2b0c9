"""Write checkpoints in one step, and delete what they replace last.

MMEngine 0.10.7 writes straight to the final name, and its hook deletes the
checkpoint that the new one replaces before it writes. A run that is killed
in between has lost both. Here a file appears whole or not at all.
"""

import os
import tempfile
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import wraps
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

from .importing import replace_everywhere


def needed() -> bool:
    """Return whether a save that breaks off destroys the old file."""
    import torch
    from mmengine.runner import checkpoint
    with tempfile.TemporaryDirectory() as folder, mock.patch.object(
            checkpoint, 'FileClient'):  # it warns that it is deprecated
        path = Path(folder, 'probe.pth')
        torch.save({}, path)
        before = path.stat().st_ino
        checkpoint.save_checkpoint({}, str(path))
        return path.stat().st_ino == before


def mend() -> None:
    """Write a checkpoint beside its final name and move it there whole."""
    from mmengine.fileio import LocalBackend, get_file_backend
    from mmengine.runner import checkpoint
    old_save = checkpoint.save_checkpoint

    @wraps(old_save)
    def save_checkpoint(checkpoint: dict, filename: str,
                        file_client_args: dict | None = None,
                        backend_args: dict | None = None) -> None:
        local = (not filename.startswith('pavi://')
                 and file_client_args is None
                 and isinstance(get_file_backend(
                     filename, backend_args=backend_args), LocalBackend))
        if not local:
            old_save(checkpoint, filename, file_client_args, backend_args)
            return
        with _moved_into_place(filename) as temporary:
            old_save(checkpoint, temporary, backend_args=backend_args)

    replace_everywhere(old_save, save_checkpoint)


@contextmanager
def _moved_into_place(filename: str) -> Iterator[str]:
    """Yield a temporary name; move it to ``filename`` if all went well.

    The name is the same every time, so that the next attempt overwrites
    what a killed one left behind.
    """
    temporary = f'{filename}.tmp'
    try:
        yield temporary
    except BaseException:
        with suppress(FileNotFoundError):
            os.unlink(temporary)
        raise
    os.replace(temporary, filename)


def hook_needed() -> bool:
    """Return whether the hook deletes before it has written."""
    from mmengine.hooks.checkpoint_hook import CheckpointHook
    events: list[str] = []
    with tempfile.TemporaryDirectory() as folder:
        hook = CheckpointHook(max_keep_ckpts=1)
        hook.out_dir, hook.keep_ckpt_ids = folder, deque([1], 1)
        hook.file_backend = SimpleNamespace(
            join_path=os.path.join, isfile=lambda path: True,
            remove=lambda path: events.append('remove'))
        hook._save_checkpoint_with_step(
            SimpleNamespace(
                work_dir=folder,
                message_hub=SimpleNamespace(update_info=lambda *args: None),
                save_checkpoint=lambda *args, **kwargs:
                events.append('save')), 2, {})
    return events[0] == 'remove'


def hook_mend() -> None:
    """Delete replaced checkpoints last, and move `last_checkpoint` whole."""
    from mmengine.hooks import checkpoint_hook
    hook = checkpoint_hook.CheckpointHook
    for name in ('_save_checkpoint_with_step', '_save_best_checkpoint'):
        setattr(hook, name, _removing_last(getattr(hook, name)))
    # The module's only `open` writes the file `last_checkpoint`.
    checkpoint_hook.open = _open_and_move


@contextmanager
def _open_and_move(filename: str, *args: Any,
                   **kwargs: Any) -> Iterator[Any]:
    """Open a file for writing under a temporary name, then move it."""
    with _moved_into_place(filename) as temporary:
        with open(temporary, *args, **kwargs) as file:
            yield file


def _removing_last(method: Callable) -> Callable:
    """Wrap a saving method of the hook so that it removes files last."""

    @wraps(method)
    def wrapped(self: Any, *args: Any, **kwargs: Any) -> Any:
        backend = getattr(self, 'file_backend', None)
        if backend is None:  # validation without training saves nothing
            return method(self, *args, **kwargs)
        queue = _RemovalQueue(backend)
        self.file_backend = queue
        try:
            result = method(self, *args, **kwargs)
        finally:
            self.file_backend = backend
        current = {self.last_ckpt, getattr(self, 'best_ckpt_path', None),
                   *getattr(self, 'best_ckpt_path_dict', {}).values()}
        for remove, path in queue.removals:
            if path not in current:  # not the one just written again
                remove(path)
        return result

    return wrapped


class _RemovalQueue:
    """A file backend that keeps removals for later.

    Args:
        backend (Any): The backend that does everything else.
    """

    def __init__(self, backend: Any) -> None:
        self._backend = backend
        self.removals: list[tuple[Callable, str]] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._backend, name)

    def remove(self, path: str) -> None:
        """Remember to remove a file."""
        self.removals.append((self._backend.remove, path))

    def rmtree(self, path: str) -> None:
        """Remember to remove a folder."""
        self.removals.append((self._backend.rmtree, path))
