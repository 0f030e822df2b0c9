"""Tell a broken video from a programming error, whatever decodes it.

MMAction2's decoders fail in many ways on a file that was cut short: an
exception of their own, an endless walk backwards, frames that silently
repeat, or (decord on a cut AVI) a crash of the whole process. A
:class:`ReadGuard` around the ``*Init`` and ``*Decode`` transforms of a
pipeline turns all of them into one named error and lets every other
exception through.
"""

import logging
import os
import sys
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import cv2
from mmengine.dataset import Compose
from mmengine.logging import print_log

from .transforms.video_decode import VideoInit
from .video_reader import VideoReader, identify
from .video_reader.damage import (
    REMEDY,
    BrokenVideoError,
    find_damage,
    first_line,
    is_system_fault,
)

__all__ = ['BrokenVideoError', 'PyAVReader', 'ReadGuard', 'find_damage',
           'guard_reading', 'guarded_pipeline', 'leaf_datasets']

# Decoders round: MMAction2 itself notes that the last frame of a sound video
# may be missing, so a file counts as truncated only beyond this many frames.
TAIL_FRAMES = 2

_JUMPS = 'gives other frames than those asked for'
#: What other readers get wrong without an error: codecs or containers, and
#: the fault. docs/predict.md has the whole table, which a test measures.
_KNOWN_FAULTS: dict[str, tuple[tuple[frozenset[str], frozenset[str], str],
                               ...]] = {
    'DecordInit': (
        (frozenset(('mpeg1video', 'mpeg2video')), frozenset(),
         'loses the first frames'),
        (frozenset(('mpeg4', 'hevc', 'vc1', 'wmv3')), frozenset(), _JUMPS)),
    'OpenCVInit': (
        (frozenset(('mpeg1video', 'mpeg2video')), frozenset(), _JUMPS),
        (frozenset(), frozenset(('matroska,webm', 'mpegts')),
         'counts frames by a guess')),
    'TorchCodecInit': (
        (frozenset(('mpeg1video', 'mpeg2video')), frozenset(),
         'loses the first frames'),
        (frozenset(('mpeg4', )), frozenset(('avi', )), _JUMPS)),
}


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
            raise _blame(self._path, 'OpenCVDecode', f'it counts {total} '
                         f'frames and does not find frame {index}', [index])
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
        self._told: set[str] = set()

    @property
    def _name(self) -> str:
        return type(self.transform).__name__

    @property
    def opens(self) -> bool:
        """Whether the transform opens a file, and decodes none."""
        return 'Init' in self._name

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
            if self.opens and not isinstance(self.transform, VideoInit):
                self._check_file(path)
            results = self.transform(results)
        except BrokenVideoError:
            raise
        except _reading_errors() as error:
            if is_system_fault(error):
                raise
            raise _blame(path, self._name, first_line(error),
                         results.get('frame_inds')) from error
        except (IndexError, OverflowError, UnboundLocalError,
                ZeroDivisionError) as error:
            # A decoder that ran out of frames, or opened what has none; an
            # index beyond the video is a fault of the sampler and stays what
            # it is.
            if not (self.opens or _inside(results)
                    or isinstance(error, OverflowError)):
                raise
            raise _blame(path, self._name, first_line(error),
                         results.get('frame_inds')) from error
        except ValueError as error:
            # What len() says of a file that OpenCV could not open.
            if '__len__() should return' not in str(error):
                raise
            raise _blame(path, self._name, 'it finds no video') from error
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
            raise _blame(path, self._name,
                         f'it counts {total} frames')
        self._tell_known_faults(path)
        reader = results.get('video_reader')
        kind = type(reader).__module__.partition('.')[0]
        if kind == 'av':
            results['video_reader'] = PyAVReader(reader)
        elif kind == 'mmcv':
            results['video_reader'] = _OpenCVReader(reader, path)

    def _tell_known_faults(self, path: str) -> None:
        """Say once of a file if its reader is known to get it wrong.

        Raises:
            BrokenVideoError: If it would never return.
        """
        faults = _KNOWN_FAULTS.get(self._name)
        if not faults or path in self._told or not os.path.isfile(path):
            return
        self._told.add(path)
        codec, container = identify(path)
        if self._name == 'OpenCVInit' and codec == 'av1':
            # It opens the file, and looks for its first frame without end.
            raise _blame(path, self._name, 'it cannot decode AV1')
        for codecs, containers, fault in faults:
            if codec in codecs or container in containers:
                print_log(
                    f'{path} is {codec} in {container}, where '
                    f'{self._name} {fault}: read it with VideoInit and '
                    'VideoDecode.', logger='current', level=logging.WARNING)
                return

    def _check_decoded(self, reader: Any, results: dict, path: str) -> None:
        """Refuse frames that stand in for missing ones; name short videos."""
        total = results.get('total_frames')
        if (total is not None and isinstance(reader, PyAVReader)
                and reader.shortfall(total) > TAIL_FRAMES):
            raise _blame(path, self._name, f'it counts {total} frames, of '
                         f'which {reader.delivered} could be decoded',
                         results.get('frame_inds'))
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


def _blame(path: str, reader: str, reason: str,
           indices: Sequence[int] | None = None) -> BrokenVideoError:
    """The error for a file that a reader fails on, and what will help.

    Args:
        path (str): The file.
        reader (str): Name of the transform.
        reason (str): What it said.
        indices (Sequence[int] | None): Frames that it was to decode; some
            of them all if None.
    """
    if os.path.isfile(path):
        try:
            with VideoReader(path) as video:
                last = len(video) - 1
                video.read({0, last // 2, last} if indices is None else
                           {min(int(index), last) for index in indices})
        except BrokenVideoError as error:
            return error
        return BrokenVideoError(
            f'{path} cannot be read by {reader} ({reason}), though it is '
            'sound: read it with VideoInit and VideoDecode.', path)
    return BrokenVideoError(
        f'{path} cannot be read by {reader} ({reason}); {REMEDY}.', path)


def _reading_errors() -> tuple[type[BaseException], ...]:
    """What the decoders that are loaded throw at a file they cannot read."""
    errors = [OSError, RuntimeError, cv2.error]
    for module, name in (('decord', 'DECORDError'),
                         ('av.error', 'FFmpegError')):
        if module in sys.modules:
            errors.append(getattr(sys.modules[module], name))
    return tuple(errors)


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
