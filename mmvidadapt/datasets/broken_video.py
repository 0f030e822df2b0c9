"""Tell a broken video from a programming error, whatever decodes it.

MMAction2's decoders fail in many ways on a file that was cut short: an
exception of their own, an endless walk backwards, frames that silently
repeat, or (decord on a cut AVI) a crash of the whole process. A
:class:`ReadGuard` around the ``*Init`` and ``*Decode`` transforms of a
pipeline turns all of them into one named error and lets every other
exception through.
"""

import errno
import logging
import os
import re
import struct
import sys
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any, BinaryIO

import cv2
from mmengine.dataset import Compose
from mmengine.logging import print_log

__all__ = ['BrokenVideoError', 'PyAVReader', 'ReadGuard', 'find_damage',
           'guard_reading', 'guarded_pipeline', 'leaf_datasets']

# Decoders round: MMAction2 itself notes that the last frame of a sound video
# may be missing, so a file counts as truncated only beyond this many frames.
TAIL_FRAMES = 2
# Writers disagree on whether the padding of the last chunk is counted.
TAIL_BYTES = 8

REMEDY = ('fetch or encode the file again, or take it out of the list of '
          'videos')

# What a sound file answers on a machine in trouble. FFmpeg gives two of them
# for damaged files, too.
_SYSTEM_ERRNOS = {errno.EMFILE, errno.ENFILE, errno.EACCES, errno.ESTALE,
                  errno.EIO, errno.ENOMEM}
_FFMPEG_DAMAGE = {errno.EIO, errno.ENOMEM}
_SYSTEM_WORDS = ('cuda', 'out of memory', "can't allocate memory",
                 "can't start new thread", 'too many open files')

# The boxes of an MP4 or QuickTime file without which no frame is found.
_MP4_STARTS = (b'ftyp', b'moov', b'mdat', b'wide', b'free', b'skip', b'pnot')
_EBML_MAGIC = b'\x1aE\xdf\xa3'
_MATROSKA_SEGMENT = b'\x18S\x80g'


class BrokenVideoError(RuntimeError):
    """A video file that cannot be read; the message names it and why.

    Args:
        message (str): What is wrong and what to do. A data loader's worker
            hands an error over by this argument alone.
        path (str): The file. Defaults to ''.
    """

    def __init__(self, message: str, path: str = '') -> None:
        super().__init__(message)
        self.path = path


def find_damage(path: str) -> str | None:
    """Say what is wrong with a video file, judged by its own header.

    Reads a few bytes and decodes nothing. MP4/MOV, AVI and Matroska/WebM
    announce their length; of other containers only existence and size are
    checked.

    Args:
        path (str): File on the local disk.

    Returns:
        str or None: What is wrong, without the file's name; ``None`` where
        nothing is seen to be wrong.

    Raises:
        OSError: If the system cannot say, for example for want of
            permission.
    """
    try:
        os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return 'does not exist'
    if not os.path.isfile(path):
        return 'is not a file'
    size = os.path.getsize(path)
    if size == 0:
        return 'is empty (zero bytes)'
    with open(path, 'rb') as file:
        announced = _announced_size(file, size)
    if announced is not None and announced > size + TAIL_BYTES:
        return (f'is truncated: its header announces {announced} bytes, the '
                f'file has {size}')
    return None


def _announced_size(file: BinaryIO, size: int) -> int | None:
    """Size of the file by its own header; ``None`` if it does not say."""
    head = file.read(12)
    if head[:4] == b'RIFF' and len(head) == 12:
        return struct.unpack('<I', head[4:8])[0] + 8
    if head[:4] == _EBML_MAGIC:
        return _matroska_size(file)
    if head[4:8] in _MP4_STARTS:
        return _mp4_size(file, size)
    return None


def _mp4_size(file: BinaryIO, size: int) -> int | None:
    """End of the last top-level box that starts inside the file."""
    start = 0
    while start + 8 <= size:
        file.seek(start)
        length, kind = struct.unpack('>I4s', file.read(8))
        if not all(32 <= letter < 127 for letter in kind):
            return None  # not a box: trailing bytes of some writers
        if length == 0:
            return size  # the box runs to the end of the file
        if length == 1:
            extended = file.read(8)
            if len(extended) < 8:
                return start + 16
            length = struct.unpack('>Q', extended)[0]
        if length < 8:
            return None
        start += length
    return start


def _matroska_size(file: BinaryIO) -> int | None:
    """End of the segment that follows the EBML head."""
    file.seek(4)
    length = _ebml_number(file)
    if length is None:
        return None
    file.seek(length, os.SEEK_CUR)
    if file.read(4) != _MATROSKA_SEGMENT:
        return None
    length = _ebml_number(file)
    return None if length is None else file.tell() + length


def _ebml_number(file: BinaryIO) -> int | None:
    """Read a variable-length number; ``None`` for "unknown" or at the end."""
    first = file.read(1)
    if not first or first[0] == 0:
        return None
    width = 9 - first[0].bit_length()
    rest = file.read(width - 1)
    if len(rest) < width - 1:
        return None
    value = int.from_bytes(first + rest, 'big') & ((1 << 7 * width) - 1)
    return None if value == (1 << 7 * width) - 1 else value


class PyAVReader:
    """A PyAV container that counts the frames it hands out in order.

    It may be read in pieces, which ``PyAVDecode`` alone does not: each call
    of :meth:`decode` begins at frame ``first``, and no frame is decoded
    twice if pieces follow each other.

    Args:
        container (Any): What PyAV opened.
    """

    #: How far ``PyAVDecode`` reads beyond the last frame it wants.
    _BEYOND = 2

    def __init__(self, container: Any) -> None:
        self._container = container
        self._frames: Iterator[Any] | None = None
        self._recent: deque[tuple[int, Any]] = deque(maxlen=self._BEYOND)
        self.first = 0
        self.delivered = 0
        self.ended = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._container, name)

    def decode(self, *args: Any, **kwargs: Any) -> Iterator[Any]:
        """Hand out the container's frames one by one, from ``first`` on."""
        for number, frame in list(self._recent):
            if number >= self.first:
                yield frame
        if self._frames is None:
            self._frames = self._container.decode(*args, **kwargs)
        for frame in self._frames:
            number, self.delivered = self.delivered, self.delivered + 1
            self._recent.append((number, frame))
            if number >= self.first:
                yield frame
        self.ended = True

    def shortfall(self, total_frames: int) -> int:
        """Number of announced frames that the stream turned out to lack."""
        return total_frames - self.delivered if self.ended else 0


class _OpenCVReader:
    """An OpenCV reader that stops at the first frame missing for good.

    ``OpenCVDecode`` walks backwards from a missing frame until it finds one,
    which on a truncated file repeats one frame, after thousands of seeks.
    """

    def __init__(self, reader: Any, path: str) -> None:
        self._reader = reader
        self._path = path

    def __getattr__(self, name: str) -> Any:
        return getattr(self._reader, name)

    def __len__(self) -> int:
        return len(self._reader)

    def __getitem__(self, index: int) -> Any:
        frame = self._reader[index]
        total = len(self._reader)
        if frame is None and index < total - TAIL_FRAMES:
            raise BrokenVideoError(
                f'{self._path} is truncated: its header announces {total} '
                f'frames, frame {index} cannot be decoded; {REMEDY}.',
                self._path)
        return frame


class ReadGuard:
    """Wrap a reading transform so that a broken file has its own error.

    Only what a decoder throws at a bad file is translated; a ``KeyError``
    or ``TypeError`` of a misconfigured transform passes unchanged, and so
    does a fault of the system (no permission, no memory, too many open
    files, a failing disk, a stale network share, the GPU), which says
    nothing about the file.

    Args:
        transform (Callable[[dict], dict]): A transform whose type name
            contains ``Init`` or ``Decode``, the words by which MMAction2's
            inferencer finds them as well.
    """

    WORDS = ('Init', 'Decode')

    def __init__(self, transform: Callable[[dict], dict]) -> None:
        self.transform = transform
        self._warned = False

    @property
    def opens(self) -> bool:
        """Whether the transform opens a file, and decodes none."""
        return 'Init' in type(self.transform).__name__

    def __repr__(self) -> str:
        return repr(self.transform)

    @classmethod
    def is_reader(cls, transform: Any) -> bool:
        """Whether ``transform`` opens or decodes a file."""
        name = type(transform).__name__
        return any(word in name for word in cls.WORDS)

    def __call__(self, results: dict) -> dict:
        """Run the transform.

        Args:
            results (dict): The sample, as MMAction2's transforms pass it.

        Returns:
            dict: What the wrapped transform returns.

        Raises:
            BrokenVideoError: If the file is missing, empty, cut short or
                not decodable.
        """
        path = str(results.get('filename', results.get('frame_dir', '')))
        reader = results.get('video_reader')
        try:
            if self.opens:
                self._check_file(path)
            results = self.transform(results)
        except BrokenVideoError:
            raise
        except _reading_errors() as error:
            if _is_system_fault(error):
                raise
            raise BrokenVideoError(
                f'{path} cannot be read by '
                f'{type(self.transform).__name__}: {_first_line(error)}; '
                f'{REMEDY}.', path) from error
        except (IndexError, UnboundLocalError, ZeroDivisionError) as error:
            # A decoder that ran out of frames; an index beyond the video is
            # a fault of the sampler and stays what it is.
            if not self.opens and _inside(results):
                raise BrokenVideoError(
                    f'{path} has frames that cannot be decoded '
                    f'({_first_line(error)}); {REMEDY}.',
                    path) from error
            raise
        except ValueError as error:
            # What len() says of a file that OpenCV could not open.
            if '__len__() should return' not in str(error):
                raise
            raise BrokenVideoError(
                f'{path} cannot be opened by '
                f'{type(self.transform).__name__}; {REMEDY}.',
                path) from error
        if self.opens:
            self._check_opened(results, path)
        else:
            self._check_decoded(reader, results, path)
        return results

    def _check_file(self, path: str) -> None:
        """Refuse a local file whose header already shows the damage."""
        if '://' in path or self._backend() != 'disk':
            return  # not on this disk: the decoder is the judge
        if not os.path.splitext(path)[1]:
            # DecordInit appends the suffix by itself.
            path = path if os.path.exists(path) else f'{path}.mp4'
        damage = find_damage(path)
        if damage:
            raise BrokenVideoError(f'{path} {damage}; {REMEDY}.', path)

    def _backend(self) -> str:
        """Name of MMEngine's file backend that the transform reads by."""
        return getattr(self.transform, 'io_backend', 'disk')

    def _check_opened(self, results: dict, path: str) -> None:
        """Refuse a video of no frames; watch readers that hide a gap."""
        total = results.get('total_frames')
        if total is not None and total < 1:
            raise BrokenVideoError(
                f'{path} holds no frames as {type(self.transform).__name__} '
                f'sees it (total_frames={total}); {REMEDY}, or read it with '
                'DecordInit and DecordDecode, which count the frames of '
                'containers that do not announce them.', path)
        reader = results.get('video_reader')
        kind = type(reader).__module__.partition('.')[0]
        if kind == 'av':
            results['video_reader'] = PyAVReader(reader)
        elif kind == 'mmcv':
            results['video_reader'] = _OpenCVReader(reader, path)

    def _check_decoded(self, reader: Any, results: dict, path: str) -> None:
        """Refuse frames that stand in for missing ones; name short videos."""
        total = results.get('total_frames')
        if (total is not None and isinstance(reader, PyAVReader)
                and reader.shortfall(total) > TAIL_FRAMES):
            raise BrokenVideoError(
                f'{path} is truncated: its header announces {total} frames, '
                f'{reader.delivered} could be decoded; {REMEDY}.', path)
        asked = results.get('clip_len', 1)
        if asked == 1:
            asked = results.get('num_clips', 1)
        if total is not None and total < asked and not self._warned:
            self._warned = True  # one example per process is enough
            print_log(
                f'{path} has {total} frames, fewer than the {asked} asked '
                'for: frames are repeated; ask for fewer frames or take '
                'short videos out of the list of videos if that is not '
                'wanted.', logger='current', level=logging.WARNING)


def _reading_errors() -> tuple[type[BaseException], ...]:
    """What the decoders that are loaded throw at a file they cannot read."""
    errors = [OSError, RuntimeError, cv2.error]
    for module, name in (('decord', 'DECORDError'),
                         ('av.error', 'FFmpegError')):
        if module in sys.modules:
            errors.append(getattr(sys.modules[module], name))
    return tuple(errors)


def _is_system_fault(error: BaseException) -> bool:
    """Whether an error is about the machine rather than about the file."""
    if isinstance(error, OSError):
        by_ffmpeg = type(error).__module__.partition('.')[0] == 'av'
        return error.errno in (_SYSTEM_ERRNOS - _FFMPEG_DAMAGE if by_ffmpeg
                               else _SYSTEM_ERRNOS)
    text = str(error).lower()
    return any(words in text for words in _SYSTEM_WORDS)


def _first_line(error: BaseException) -> str:
    """The error's message, cut to one line of bearable length.

    Decord puts the time and a line of its source before what it says.
    """
    text = str(error).strip() or type(error).__name__
    return re.sub(r'\[[\d:]+\] \S+:\d+: ', '', text.splitlines()[0])[:160]


def _inside(results: dict) -> bool:
    """Whether every frame that was asked for lies inside the video."""
    total = results.get('total_frames', 0)
    indices = results.get('frame_inds')
    return (indices is not None and len(indices) > 0
            and 0 <= min(indices) and max(indices) < total)


def leaf_datasets(dataset: Any) -> list[Any]:
    """Datasets inside wrappers such as ``ConcatDataset``, in order.

    Args:
        dataset (Any): A dataset, or wrappers around some.

    Returns:
        list: Every dataset that has a ``pipeline``.
    """
    inner = [getattr(dataset, '_dataset', None),
             getattr(dataset, 'dataset', None)]
    inner += list(getattr(dataset, 'datasets', ()))
    leaves: list[Any] = []
    for part in inner:
        if part is not None:
            leaves += leaf_datasets(part)
    if not leaves and hasattr(dataset, 'pipeline'):
        leaves = [dataset]
    return leaves


def guard_reading(dataset: Any) -> int:
    """Put a :class:`ReadGuard` around the reading transforms of a dataset.

    Args:
        dataset (Any): A dataset with a pipeline, or wrappers around some.

    Returns:
        int: Number of transforms that are guarded now; calling twice does
        not guard twice.
    """
    guarded = 0
    for leaf in leaf_datasets(dataset):
        transforms = getattr(leaf.pipeline, 'transforms', None)
        if transforms is None:
            continue
        for place, transform in enumerate(transforms):
            if isinstance(transform, ReadGuard):
                guarded += 1
            elif ReadGuard.is_reader(transform):
                transforms[place] = ReadGuard(transform)
                guarded += 1
    return guarded


def guarded_pipeline(steps: Sequence[dict]) -> Compose:
    """Build a pipeline whose reading transforms are guarded.

    Args:
        steps (Sequence[dict]): Configs of transforms.

    Returns:
        Compose: The pipeline; broken videos are named errors.
    """
    pipeline = Compose(steps)
    pipeline.transforms = [
        ReadGuard(step) if ReadGuard.is_reader(step) else step
        for step in pipeline.transforms]
    return pipeline
