"""Read checkpoints with ``weights_only=True``, or as safetensors.

MMEngine 0.10.7 calls ``torch.load`` as if any pickle were harmless. Since
torch 2.6 that call refuses MMEngine's own checkpoints, whose message hub
holds :class:`HistoryBuffer` objects: numpy arrays, plus methods that pickle
protocol 2 stores as ``getattr(HistoryBuffer, 'mean')``. Here such a
checkpoint loads, with the few names it needs allowed while MMEngine reads
and not longer, and any other name is refused.
"""

import errno
import io
import os
import re
import struct
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout, suppress
from functools import wraps
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

from .importing import replace_everywhere

_HTML = re.compile(rb'\s*(<!--.*?-->\s*)*<(!doctype|html|head|body|\?xml)',
                   re.IGNORECASE | re.DOTALL)
_PLAIN_DTYPES = ('bool', 'int8', 'int16', 'int32', 'int64', 'uint8',
                 'uint16', 'uint32', 'uint64', 'float16', 'float32',
                 'float64')


class CheckpointError(RuntimeError):
    """A file that cannot be used as a checkpoint, and why."""


def read_checkpoint(filename: str | os.PathLike,
                    map_location: Any = None) -> Any:
    """Read a checkpoint file without running any code from it.

    Args:
        filename (str | os.PathLike): A local file written by
            ``torch.save``, or in the form of safetensors, whatever its
            name.
        map_location (Any): As in ``torch.load``.

    Returns:
        Any: What was saved, as a rule a dict. From safetensors
        ``dict(state_dict=..., meta=...)``.

    Raises:
        FileNotFoundError: If there is no such file.
        CheckpointError: If the file is no checkpoint, is damaged, or asks
            for anything but tensors, plain containers, numpy arrays of
            numbers and MMEngine's ``HistoryBuffer``.
    """
    import torch
    path = os.path.expanduser(os.fspath(filename))
    if not os.path.isfile(path):
        raise FileNotFoundError(f'{path} can not be found, give the path of '
                                'an existing checkpoint')
    with open(path, 'rb') as file:
        head = file.read(9)
    if head[8:] == b'{':  # after the length of the header, in JSON
        return _read_safetensors(path, map_location)
    if path.endswith('.safetensors'):
        # torch.load would go by the name and ask safetensors.
        raise CheckpointError(explain(path, ValueError(
            'no header of safetensors')))
    with _allowed_globals(), _named_errors(path):
        return torch.load(path, map_location=map_location, weights_only=True)


def _read_safetensors(path: str, map_location: Any) -> dict:
    """Read tensors and metadata.

    Raises:
        CheckpointError: If the file is damaged.
    """
    import torch
    from safetensors import SafetensorError, safe_open
    try:
        with safe_open(path, 'pt') as file:
            meta = file.metadata() or {}
            tensors = {key: file.get_tensor(key) for key in file.keys()}
    except SafetensorError as error:
        raise CheckpointError(
            f'{path} is a truncated or damaged safetensors file ({error}): '
            'download or copy it again') from error
    # A dict or function says where tensors of other devices go: here none is.
    if isinstance(map_location, (str, torch.device)):
        tensors = {key: tensor.to(map_location)
                   for key, tensor in tensors.items()}
    return dict(state_dict=tensors, meta=meta)


def _statistic_of_history_buffer(owner: Any, name: str) -> Any:
    """Answer ``getattr`` of a pickle for ``HistoryBuffer`` alone.

    Raises:
        UnpicklingError: For any other object, or any name but the four
            statistics that MMEngine registers.
    """
    from mmengine.logging import HistoryBuffer
    if owner is HistoryBuffer and name in ('mean', 'min', 'max', 'current'):
        return getattr(HistoryBuffer, name)
    raise UnpicklingError(f'GLOBAL builtins.getattr(..., {name!r}) was not '
                          'an allowed global by default.')


@contextmanager
def _allowed_globals() -> Iterator[None]:
    """Allow what MMEngine's checkpoints hold, while the context lasts.

    What somebody else allowed before stays allowed after it.
    """
    import numpy as np
    import torch
    from mmengine.logging import HistoryBuffer
    rebuild_array = np.zeros(1).__reduce__()[0]
    rebuild_scalar = np.float64(0).__reduce__()[0]
    # Both spellings: numpy 2 moved its private modules.
    wanted: list[Any] = [
        (function, f'numpy.{core}.multiarray.{name}')
        for function, name in ((rebuild_array, '_reconstruct'),
                               (rebuild_scalar, 'scalar'))
        for core in ('core', '_core')]
    wanted += [np.ndarray, np.dtype, HistoryBuffer,
               (_statistic_of_history_buffer, 'builtins.getattr')]
    wanted += [type(np.dtype(name)) for name in _PLAIN_DTYPES]
    already = torch.serialization.get_safe_globals()
    with torch.serialization.safe_globals(
            [entry for entry in wanted if entry not in already]):
        yield


@contextmanager
def _named_errors(filename: str) -> Iterator[None]:
    """Turn what ``torch.load`` raises into one sentence with the file."""
    try:
        yield
    except CheckpointError:
        raise
    except (UnpicklingError, EOFError, RuntimeError, LookupError, ValueError,
            AttributeError, struct.error, OSError) as error:
        if 'map_location' in str(error):  # torch says what to do
            raise
        # Torch seeks before the start of some truncated archives.
        if isinstance(error, OSError) and error.errno != errno.EINVAL:
            raise
        raise CheckpointError(explain(filename, error)) from error


def explain(filename: str, error: Exception) -> str:
    """Say what is wrong with a checkpoint file and what to do.

    Args:
        filename (str): The file.
        error (Exception): What reading it raised.

    Returns:
        str: One sentence.
    """
    size = os.path.getsize(filename) if os.path.isfile(filename) else None
    head = b''
    if size is not None:
        with open(filename, 'rb') as file:
            head = file.read(1024)
    if _HTML.match(head):
        return (f'{filename} is a web page, not a checkpoint: download the '
                'file itself instead of the page that shows it')
    if head.startswith(b'version https://git-lfs'):
        return (f'{filename} is a Git LFS pointer, not a checkpoint: fetch '
                'the file itself with `git lfs pull`')
    if size == 0:
        return f'{filename} is empty: download or copy it again'
    refused = _refused_globals(filename, error)
    if refused:
        return (f'{filename} is refused because it asks for '
                f'{", ".join(refused)}, which a checkpoint does not need and '
                'which could run foreign code: load a file that holds '
                'tensors and plain containers only, for instance one saved '
                'anew by its author with torch.save(dict(state_dict=...))')
    if 'TorchScript' in str(error):
        return (f'{filename} is a TorchScript archive, not a checkpoint: '
                'give it as weights= of the encoder instead')
    if _is_damaged(filename, head, error):
        return (f'{filename} is truncated or damaged ({size} bytes): '
                'download or copy it again')
    # Without torch's advice to read the file with weights_only=False.
    reason = str(error).rpartition('WeightsUnpickler error:')[2]
    reason = ' '.join(reason.partition('Check the documentation')[0].split())
    if not reason or isinstance(error, LookupError):
        reason = type(error).__name__
    return (f'{filename} is not a checkpoint written by torch.save '
            f'({reason[:200]}): give the path of a .pth file')


def _is_damaged(filename: str, head: bytes, error: Exception) -> bool:
    """Return whether this was a checkpoint before it lost its end."""
    if head.startswith(b'PK'):
        return not zipfile.is_zipfile(filename)
    pickled = head[:1] == b'\x80' and head[1:2] in b'\x02\x03\x04\x05'
    return pickled and (isinstance(error, (EOFError, LookupError,
                                           struct.error))
                        or 'EOF' in str(error))


def _refused_globals(filename: str, error: Exception) -> list[str]:
    """List the names that a refused pickle asks for, all if possible."""
    import torch
    message = str(error)
    names = set(re.findall(r'GLOBAL (\S+?(?:\(.*?\))?) was not an allowed',
                           message))
    names.update(re.findall(r'GLOBAL (\S+) whose module', message))
    names.update(re.findall(r"but got <class '(.+?)'>", message))
    if not names and 'unrecognized function' not in message:
        return []
    with suppress(ValueError, RuntimeError, OSError):
        names.update(torch.serialization.get_unsafe_globals_in_checkpoint(
            filename))
    names.update(re.findall(r'unrecognized function (.+?)(?: which|\n|$)',
                            message))
    return sorted(names)


@contextmanager
def _named_refusals(filename: str) -> Iterator[None]:
    """Name the address of a checkpoint whose contents were refused."""
    try:
        yield
    except UnpicklingError as error:
        raise CheckpointError(explain(filename, error)) from error


def needed() -> bool:
    """Return whether MMEngine cannot read its own, or reads foreign code."""
    import torch
    from mmengine.logging import HistoryBuffer
    from mmengine.runner.checkpoint import load_from_local
    with tempfile.TemporaryDirectory() as folder, redirect_stdout(
            io.StringIO()):  # a fork prints that it falls back
        own, foreign = Path(folder, 'own.pth'), Path(folder, 'foreign.pth')
        torch.save(HistoryBuffer([1.], [1]), own)
        torch.save(io.StringIO, foreign)  # harmless, and no weight
        try:
            load_from_local(str(own), 'cpu')
        except UnpicklingError:
            return True
        try:
            load_from_local(str(foreign), 'cpu')
        except (UnpicklingError, RuntimeError):
            return False
        return True


def mend() -> None:
    """Make every road of MMEngine's checkpoint loader a safe one."""
    import torch
    from mmengine.runner import checkpoint
    loader = checkpoint.CheckpointLoader
    old_local = checkpoint.load_from_local
    old_url = checkpoint.load_url
    old_load = loader.load_checkpoint.__func__

    @wraps(old_local)
    def load_from_local(filename: str, map_location: Any = None) -> Any:
        return read_checkpoint(filename, map_location)

    @wraps(old_url)
    def load_url(*args: Any, **kwargs: Any) -> Any:
        # torch.hub reads any pickle unless it is told not to.
        return torch.hub.load_state_dict_from_url(
            *args, **{**kwargs, 'weights_only': True})

    @wraps(old_load)
    def load_checkpoint(cls: type, filename: str, map_location: Any = None,
                        logger: Any = 'current') -> Any:
        # The other schemes call torch.load themselves, in this context.
        with _allowed_globals(), _named_refusals(filename):
            return old_load(cls, filename, map_location, logger)

    def _safe_torch_load(file: Any, map_location: Any = None,
                         weights_only: Any = None) -> Any:
        return torch.load(file, map_location=map_location, weights_only=True)

    loader.register_scheme('', load_from_local, force=True)
    if hasattr(checkpoint, '_safe_torch_load'):  # onedl-mmengine, all schemes
        checkpoint._safe_torch_load = _safe_torch_load
    replace_everywhere(old_local, load_from_local)
    checkpoint.load_url = load_url
    loader.load_checkpoint = classmethod(load_checkpoint)
