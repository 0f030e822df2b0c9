"""How much CPU time the readers of videos take, compared with each other.

::

    files given, re-encoded or made --> frames by PyAV, one after the other
    each reader, once               --> which of its frames differ
    all readers, in turns           --> CPU time of opening, of 8 and 16
                                        frames, of all, of a pipeline
"""

import copy
import gc
import logging
import math
import os
import random
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from fractions import Fraction
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from itertools import chain
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from mmaction.registry import TRANSFORMS
from mmengine.config import Config
from mmengine.logging import print_log
from mmengine.registry import init_default_scope

from ..datasets.broken_video import ReadGuard, guarded_pipeline
from ..datasets.video_files import find_videos
from ..datasets.video_reader.damage import (
    REMEDY,
    BrokenVideoError,
    find_damage,
    first_line,
)
from ..datasets.video_reader.pictures import Painter
from .cli import environment

__all__ = ['READERS', 'FileSpeed', 'ReaderSpeed', 'Timing', 'cores_for',
           'encode_again', 'encode_video', 'make_videos', 'measure_readers',
           'nonref_share', 'toy_frames', 'versions']

#: Transforms that open and that decode, one thread each; the first is ours.
READERS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    'VideoDecode': (dict(type='VideoInit', num_threads=1),
                    dict(type='VideoDecode')),
    'DecordDecode': (dict(type='DecordInit', num_threads=1),
                     dict(type='DecordDecode')),
    'PyAVDecode': (dict(type='PyAVInit'), dict(type='PyAVDecode')),
    'OpenCVDecode': (dict(type='OpenCVInit'), dict(type='OpenCVDecode')),
    'TorchCodecDecode': (dict(type='TorchCodecInit', num_threads=1),
                         dict(type='TorchCodecDecode')),
}
#: The reader that ratios refer to.
BASELINE = 'DecordDecode'
#: Numbers of frames that are read evenly spaced.
CLIPS = (8, 16)
#: Width and height that videos are re-encoded at.
SIZES = ((340, 256), (1280, 720))
#: Mean absolute difference of grey values, of pictures made as small as
#: ``_SMALL``: below the first a frame is the one wanted, above the second it
#: is another. Between them, where readers round 10 bits in their own ways, the
#: nearest one decides.
_SAME, _OTHER = 0.02, 4.
_SMALL = 160
#: Turns in which every reader does everything; then all frames are read no
#: more, and readers wait that are so many times slower than the fastest.
_FULL_TURNS = 3
_SLOW = 3.

# Name of a made video, its codec, its size and the options of the encoder.
_MADE: tuple[tuple[str, str, tuple[int, int], dict[str, str]], ...] = (
    ('x264.mp4', 'libx264', SIZES[0], {}),
    ('x264_720p.mp4', 'libx264', SIZES[1], {}),
    ('x264_open_gop.mp4', 'libx264', SIZES[0],
     {'x264-params': 'open-gop=1:keyint=48'}),
    ('x265.mp4', 'libx265', SIZES[0], {'x265-params': 'log-level=error'}),
    ('av1.mp4', 'libsvtav1', SIZES[0], {'preset': '8'}),
    ('vp9.webm', 'libvpx-vp9', SIZES[0],
     {'b': '400k', 'deadline': 'good', 'cpu-used': '5'}),
    ('mpeg4_b_frames.avi', 'mpeg4', SIZES[0],
     {'bf': '2', 'b': '800k', 'g': '250'}),
    ('mpeg2.ts', 'mpeg2video', SIZES[0],
     {'bf': '2', 'b': '2M', 'g': '15'}),
    ('mjpeg.avi', 'mjpeg', SIZES[0], {'b': '6M'}),
    ('prores.mov', 'prores_ks', SIZES[0], {}))
_PIXELS = {'mjpeg': 'yuvj420p', 'prores_ks': 'yuv422p10le'}


@dataclass
class Timing:
    """CPU time of one thing that a reader did several times.

    Args:
        seconds (float): Median.
        least (float): Minimum.
        spread (float): Half the distance of the quartiles.
        ratio (float | None): ``seconds`` over those of :data:`BASELINE`;
            None without it, and for a reader that gives wrong frames.
    """

    seconds: float
    least: float
    spread: float
    ratio: float | None = None


@dataclass
class ReaderSpeed:
    """What one reader did with one file.

    Args:
        name (str): Key of :data:`READERS`.
        frames (int): How many frames it counts.
        wrong (int): Frames that differ from those of PyAV.
        read (int): Frames that were compared.
        problem (str): Why it cannot read the file; empty if it can.
        timings (dict[str, Timing]): By what was done: ``'open'``,
            ``'8 frames'``, ``'16 frames'``, ``'all'``, ``'pipeline'``.
    """

    name: str
    frames: int = 0
    wrong: int = 0
    read: int = 0
    problem: str = ''
    timings: dict[str, Timing] = field(default_factory=dict)

    def remark(self, frames: int) -> str:
        """What is to be known beside the times, if anything.

        Args:
            frames (int): Frames that the file has.

        Returns:
            str: A few words, or the sentence of an error.
        """
        if self.problem:
            return self.problem
        remarks = []
        if self.wrong:
            remarks.append(f'wrong frames: {self.wrong} of {self.read}')
        if self.frames != frames:
            remarks.append(f'counts {self.frames} frames')
        return ', '.join(remarks)


@dataclass
class FileSpeed:
    """What all readers did with one file.

    Args:
        name (str): The file.
        codec (str): FFmpeg's name of the codec.
        container (str): FFmpeg's name of the container.
        width (int): Of a frame, in pixels.
        height (int): Of a frame.
        frames (int): How many PyAV decodes.
        nonref (float): Share of frames that no other frame refers to.
        rate (float): Clips that a GPU takes in a second.
        readers (list[ReaderSpeed]): In the order of :data:`READERS`.
    """

    name: str
    codec: str
    container: str
    width: int
    height: int
    frames: int
    nonref: float
    rate: float
    readers: list[ReaderSpeed] = field(default_factory=list)

    def as_dict(self) -> dict:
        """Plain containers, as JSON takes them, with the cores."""
        found = asdict(self)
        for reader in found['readers']:
            for task, timing in reader['timings'].items():
                if task not in ('open', 'all'):
                    timing['cores'] = cores_for(self.rate, timing['seconds'])
        return found

    def __str__(self) -> str:
        """A table; ms of CPU time, and cores where clips are read."""
        tasks = list(dict.fromkeys(chain.from_iterable(
            reader.timings for reader in self.readers)))
        head = ['reader']
        for task in tasks:
            head += [f'{task} ms', 'ratio']
            if task not in ('open', 'all'):
                head.append('cores')
        rows = [head]
        for reader in self.readers:
            row = [reader.name]
            for task in tasks:
                timing = reader.timings.get(task)
                row += self._cells(task, timing)
            rows.append([*row, reader.remark(self.frames)])
        widths = [max(map(len, column)) for column in zip(
            *(row[:len(head)] for row in rows), strict=True)]
        lines = [f'{self.name}: {self.codec}, {self.width} x {self.height}, '
                 f'{self.frames} frames, {self.nonref:.0%} of them '
                 'non-reference']
        for row in rows:
            cells = [cell.rjust(width) for cell, width in zip(
                row[1:len(head)], widths[1:], strict=True)]
            lines.append('  '.join(
                [row[0].ljust(widths[0]), *cells, *row[len(head):]]).rstrip())
        return '\n'.join(lines)

    def _cells(self, task: str, timing: Timing | None) -> list[str]:
        clip = task not in ('open', 'all')
        if timing is None:
            return ['-'] * (2 + clip)
        cells = [f'{1000 * timing.seconds:.1f} '
                 f'({1000 * timing.spread:.1f})',
                 '-' if timing.ratio is None else f'{timing.ratio:.3f}']
        if clip:
            cells.append(f'{cores_for(self.rate, timing.seconds)}')
        return cells


def cores_for(rate: float, seconds: float) -> int:
    """Cores that feed a GPU.

    Args:
        rate (float): Clips that it takes in a second.
        seconds (float): CPU time of a clip.

    Returns:
        int: At least 1.
    """
    return max(1, math.ceil(round(rate * seconds, 6)))


def versions() -> dict[str, str]:
    """Versions of the libraries that read.

    Returns:
        dict[str, str]: By the name of the package, those that are there.
    """
    found = {}
    for name in ('av', 'decord', 'torchcodec'):
        with suppress(PackageNotFoundError):
            found[name] = version(name)
    return {**found, 'opencv': cv2.__version__}


# -- videos ------------------------------------------------------------------


def toy_frames(number: int, width: int, height: int,
               seed: int = 0) -> Iterator[np.ndarray]:
    """A film of moving texture with noise, cut twice.

    A smooth background pans, two smaller pieces of texture cross it, and
    every frame has noise of its own.

    Args:
        number (int): How many frames.
        width (int): Of a frame.
        height (int): Of a frame.
        seed (int): Of the random numbers.

    Yields:
        np.ndarray: ``(height, width, 3)`` RGB bytes.
    """
    rng = np.random.default_rng(seed)
    scene = max(1, math.ceil(number / 3))

    def texture(w: int, h: int, cells: int) -> np.ndarray:
        coarse = rng.uniform(0, 255, (cells, math.ceil(cells * w / h), 3))
        fine = rng.uniform(-40, 40, (6 * cells, 6 * cells, 3))
        return np.sum([
            cv2.resize(part.astype(np.float32), (w, h),
                       interpolation=cv2.INTER_CUBIC)
            for part in (coarse, fine)], axis=0)

    for frame in range(number):
        step = frame % scene
        if step == 0:
            back = texture(2 * width, height + height // 2, 6)
            pieces = [texture(width // 4, height // 3, 3) for _ in range(2)]
            speed = rng.uniform(.3, 1, 3) * width / 170
        left = round(speed[0] * step) % width
        top = round(speed[1] * step / 2) % max(1, height // 2)
        picture = back[top:top + height, left:left + width].copy()
        for place, piece in enumerate(pieces):
            h, w = piece.shape[:2]
            x = round(speed[1 + place] * 2 * step) % max(1, width - w)
            y = (place + 1) * (height - h) // 3
            picture[y:y + h, x:x + w] = piece
        picture += rng.normal(0, 6, (height, width, 1))
        yield np.clip(picture, 0, 255).astype(np.uint8)


def encode_video(path: Path, frames: Iterator[np.ndarray], codec: str,
                 options: dict[str, str] | None = None,
                 rate: Fraction | int = 30) -> Path:
    """Write a video.

    Args:
        path (Path): File to write; its suffix names the container.
        frames (Iterator[np.ndarray]): RGB pictures of one size.
        codec (str): FFmpeg's name of the encoder.
        options (dict[str, str] | None): Of the encoder; ``'b'`` is its bit
            rate.
        rate (Fraction | int): Frames a second.

    Returns:
        Path: ``path``.
    """
    import av
    with av.open(str(path), 'w') as container:
        stream: Any = None
        for picture in frames:
            if stream is None:
                stream = container.add_stream(
                    codec, rate=rate, options=options or {})
                stream.height, stream.width = picture.shape[:2]
                stream.pix_fmt = _PIXELS.get(codec, 'yuv420p')
                # Without a number, encoders start a thread for each core.
                stream.thread_count = 1
            container.mux(stream.encode(
                av.VideoFrame.from_ndarray(picture, format='rgb24')))
        container.mux(stream.encode(None))
    return path


def make_videos(folder: Path, frames: int = 300,
                shrink: int = 1) -> list[Path]:
    """Write a video for each of the codecs that matter.

    Args:
        folder (Path): Where to write.
        frames (int): Frames of each.
        shrink (int): Divides their width and height.

    Returns:
        list[Path]: The files. One whose encoder FFmpeg lacks is left out.
    """
    from av.error import FFmpegError
    made = []
    for name, codec, size, options in _MADE:
        width, height = (side // shrink // 2 * 2 for side in size)
        try:
            made.append(encode_video(
                folder / name, toy_frames(frames, width, height), codec,
                options))
        except (FFmpegError, ValueError) as error:
            print_log(f'{name} is left out, {codec} cannot encode it: '
                      f'{first_line(error)}', logger='current',
                      level=logging.WARNING)
    return made


def encode_again(path: Path, folder: Path) -> list[Path]:
    """Encode a video anew by x264's defaults, at every size of ``SIZES``.

    Args:
        path (Path): A video.
        folder (Path): Where to write.

    Returns:
        list[Path]: The files, ``NAME_x264_WIDTHxHEIGHT.mp4``.
    """
    import av
    written = []
    for width, height in SIZES:
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            frames = (frame.to_ndarray(
                format='rgb24', width=width, height=height)
                for frame in container.decode(stream))
            written.append(encode_video(
                folder / f'{path.stem}_x264_{width}x{height}.mp4', frames,
                'libx264', rate=stream.average_rate or 30))
    return written


def nonref_share(path: Path) -> float:
    """Share of the frames of a video that no other frame refers to.

    Args:
        path (Path): A video.

    Returns:
        float: From 0 to 1: what the decoder leaves out if it is asked to
        leave out frames that it does not need for others. 0 for a decoder
        that cannot.
    """
    every, needed = (_count(path, skip) for skip in ('DEFAULT', 'NONREF'))
    return 1 - needed / every


def _count(path: Path, skip: Any) -> int:
    import av
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        stream.codec_context.skip_frame = skip
        return sum(1 for _ in container.decode(stream))


# -- frames ------------------------------------------------------------------


def _small(picture: np.ndarray, size: tuple[int, int] | None = None
           ) -> np.ndarray:
    """A grey picture of at most ``_SMALL`` pixels a side."""
    gray = cv2.cvtColor(np.ascontiguousarray(picture), cv2.COLOR_RGB2GRAY)
    if size is None:
        scale = min(1., _SMALL / max(gray.shape))
        size = (max(1, round(gray.shape[1] * scale)),
                max(1, round(gray.shape[0] * scale)))
    return cv2.resize(gray, size, interpolation=cv2.INTER_AREA)


def _reference(path: Path) -> tuple[FileSpeed, list[np.ndarray]]:
    """A file as PyAV decodes it from its first frame to the last.

    Colours and the way up are ours; order and number of frames are not.
    """
    import av
    damage = find_damage(path)
    if damage:
        raise BrokenVideoError(f'{path} {damage}; {REMEDY}.', str(path))
    with av.open(f'file:{path}') as container:
        stream = container.streams.best('video')
        if stream is None:
            raise ValueError(f'{path} holds no video: take it out of the '
                             'files to read')
        context: Any = stream.codec_context
        painter = Painter(context.width, context.height)
        seen = [_small(painter.paint(frame))
                for frame in container.decode(stream)]
        found = FileSpeed(
            path.name, context.name, container.format.name, context.width,
            context.height, len(seen), 0, 0)
    if not seen:
        raise ValueError(f'{path} has no frame that can be decoded: take it '
                         'out of the files to read')
    return found, seen


def _evenly(number: int, total: int) -> np.ndarray:
    """The middle frames of so many equal parts."""
    return ((np.arange(number) + .5) * total / number).astype(int)


def _differing(pictures: Sequence[np.ndarray], wanted: Sequence[int],
               seen: Sequence[np.ndarray]) -> int:
    """How many pictures are other frames than those wanted."""
    return sum(
        _is_other(_small(picture, seen[index].shape[::-1]), index, seen)
        for picture, index in zip(pictures, wanted, strict=True))


def _is_other(small: np.ndarray, index: int,
              seen: Sequence[np.ndarray]) -> bool:
    """Whether a small picture is not that of a frame."""
    def distance(other: np.ndarray) -> float:
        return float(cv2.absdiff(small, other).mean())

    far = distance(seen[index])
    if _SAME < far <= _OTHER:
        return min(map(distance, seen)) < .8 * far
    return far > _OTHER


# -- measuring ---------------------------------------------------------------


@contextmanager
def _one_thread() -> Iterator[None]:
    """Let libraries use one thread each; no garbage of before is counted."""
    before = cv2.getNumThreads(), torch.get_num_threads()
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    gc.freeze()
    try:
        with environment({'OPENCV_FFMPEG_CAPTURE_OPTIONS': 'threads;1',
                          'SVT_LOG': '1'}):
            yield
    finally:
        gc.unfreeze()
        cv2.setNumThreads(before[0])
        torch.set_num_threads(before[1])


class _Reading:
    """A reader on a file: each task is a function of nothing."""

    def __init__(self, name: str, path: Path, total: int,
                 pipeline: Sequence[dict] | None) -> None:
        self.init, self.decode = map(TRANSFORMS.build, READERS[name])
        self.sample = dict(filename=str(path), label=0, start_index=0,
                           modality='RGB')
        clips = {f'{number} frames': _evenly(number, total)
                 for number in CLIPS}
        self.wanted = {**clips, 'all': np.arange(total)}
        self.tasks: dict[str, Callable[[], Any]] = {
            'open': self.open,
            **{task: partial(self.read, task) for task in self.wanted}}
        if pipeline is not None:
            self.pipeline = guarded_pipeline(_with_reader(pipeline, name))
            self.tasks['pipeline'] = lambda: self.pipeline(
                copy.deepcopy(self.sample))

    def open(self) -> dict:
        """Open the file."""
        return self.init(dict(self.sample))

    def read(self, task: str) -> list[np.ndarray]:
        """Open the file and decode the frames of a task."""
        results = self.open()
        results['frame_inds'] = self.wanted[task].copy()
        return self.decode(results)['imgs']


def _with_reader(steps: Sequence[dict], name: str) -> list[dict]:
    """The steps of a pipeline with another reader in them."""
    init, decode = READERS[name]
    known = {step['type']: place for pair in READERS.values()
             for place, step in enumerate(pair)}
    places = [known.get(step['type']) for step in steps]
    if sorted(place for place in places if place is not None) != [0, 1]:
        raise ValueError(
            'the pipeline does not open and decode videos by one of '
            f'{", ".join(READERS)}: give a config that reads video files')
    return [step if place is None else {**(init, decode)[place]}
            for step, place in zip(steps, places, strict=True)]


def _train_pipeline(cfg: Config) -> list[dict]:
    """The steps of a config's training data."""
    if cfg.get('train_dataloader') is None:
        raise ValueError('the config has no train_dataloader: give one that '
                         'trains')
    dataset = cfg.train_dataloader.dataset
    while 'dataset' in dataset:
        dataset = dataset['dataset']
    steps = list(dataset['pipeline'])
    _with_reader(steps, BASELINE)
    return steps


def _missing(name: str) -> str:
    """Why a reader's library cannot be used here; empty if it can."""
    try:
        if name == 'DecordDecode':
            import decord  # noqa: F401
        elif name == 'TorchCodecDecode':
            from ..datasets.transforms.torch_codec import _decoder_class
            _decoder_class()
    except ImportError as error:
        return first_line(error)
    return ''


def measure_readers(
        paths: Sequence[str | os.PathLike] = (), *, again: bool = False,
        repeats: int = 9, rate: float = 400., pipeline: Config | None = None,
        readers: Sequence[str] | None = None) -> Iterator[FileSpeed]:
    """Measure readers on videos, one file after the other.

    Args:
        paths (Sequence[str | os.PathLike]): Videos and folders of videos; a
            set is made if there are none.
        again (bool): Measure them also re-encoded by x264's defaults, at
            every size of :data:`SIZES`.
        repeats (int): How often each reader has its turn; a third of that,
            at least three, where it reads all frames or takes more than
            three times as long as the fastest.
        rate (float): Clips that a GPU takes in a second.
        pipeline (Config | None): Run the training pipeline of this config
            as well, with its reader replaced.
        readers (Sequence[str] | None): Keys of :data:`READERS`; all whose
            libraries are there if None.

    Yields:
        FileSpeed: The file that was measured.

    Raises:
        ValueError: If a number is too small, ``again`` has nothing to
            re-encode, a path holds no video, or the pipeline reads none.
        FileNotFoundError: If a path does not exist.
        BrokenVideoError: If a file cannot be decoded.
    """
    if repeats < 2:
        raise ValueError(f'--repeats {repeats} gives no median: use at least '
                         '2')
    if not 0 < rate < math.inf:
        raise ValueError(f'--rate {rate:g} is no number of clips a second: '
                         'give one above 0')
    if again and not paths:
        raise ValueError('--re-encode encodes the files of --readers again: '
                         'give files behind it')
    init_default_scope('mmaction')
    steps = None if pipeline is None else _train_pipeline(pipeline)
    names = list(READERS if readers is None else readers)
    names = [name for name in names if not _missing(name)]
    videos = find_videos(paths) if paths else []
    for video in videos:
        if video.is_dir():
            raise ValueError(f'{video} is a folder of pictures: give videos')
    with tempfile.TemporaryDirectory() as folder, _one_thread():
        for video in videos:
            yield _measure_file(video, names, repeats, rate, steps)
            for other in encode_again(video, Path(folder)) if again else ():
                yield _measure_file(other, names, repeats, rate, steps)
                other.unlink()
        for video in make_videos(Path(folder)) if not videos else ():
            yield _measure_file(video, names, repeats, rate, steps)


def _measure_file(path: Path, names: Sequence[str], repeats: int,
                  rate: float, steps: Sequence[dict] | None) -> FileSpeed:
    """All readers on one file."""
    from av.error import FFmpegError
    try:
        found, seen = _reference(path)
        found.nonref, found.rate = nonref_share(path), rate
    except FFmpegError as error:
        raise BrokenVideoError(
            f'{path} cannot be decoded from its start to its end '
            f'({error.strerror}); {REMEDY}.', str(path)) from error
    working: list[tuple[ReaderSpeed, _Reading]] = []
    for name in names:
        reader = ReaderSpeed(name)
        found.readers.append(reader)
        reading = _Reading(name, path, found.frames, steps)
        try:
            _check(reader, reading, seen)
        except Exception as error:  # whatever a library throws at a file
            reader.problem = first_line(error)
        else:
            working.append((reader, reading))
    taken = _in_turns([reading for _, reading in working], repeats)
    for (reader, _), times in zip(working, taken, strict=True):
        reader.timings = {task: _summary(seconds)
                          for task, seconds in times.items()}
    _compare(found.readers)
    return found


def _check(reader: ReaderSpeed, reading: _Reading,
           seen: Sequence[np.ndarray]) -> None:
    """Do everything once; note what differs from the frames of PyAV."""
    # Guarded: not every reader comes back from every file.
    reader.frames = ReadGuard(reading.init)(
        dict(reading.sample))['total_frames']
    for task, wanted in reading.wanted.items():
        pictures = reading.read(task)
        reader.wrong += _differing(pictures, wanted.tolist(), seen)
        reader.read += len(wanted)
    if 'pipeline' in reading.tasks:
        reading.tasks['pipeline']()


def _in_turns(readings: Sequence[_Reading],
              repeats: int) -> list[dict[str, list[float]]]:
    """Seconds of each reader by task; other load hits all alike."""
    taken: list[dict[str, list[float]]] = [
        {task: [] for task in reading.tasks} for reading in readings]
    full = max(_FULL_TURNS, repeats // 3)
    for turn in range(repeats):
        gc.collect()
        for task in readings[0].tasks if readings else ():
            for reading, times in zip(readings, taken, strict=True):
                if turn >= full and (task == 'all' or min(times[task]) >
                                     _SLOW * min(min(other[task])
                                                 for other in taken)):
                    continue
                random.seed(turn)
                np.random.seed(turn)
                start = time.process_time()
                reading.tasks[task]()  # what it returns is freed at once
                times[task].append(time.process_time() - start)
    return taken


def _summary(seconds: Sequence[float]) -> Timing:
    low, middle, high = map(float, np.percentile(seconds, (25, 50, 75)))
    return Timing(middle, min(seconds), (high - low) / 2)


def _compare(readers: Sequence[ReaderSpeed]) -> None:
    """Add ratios, in place."""
    base = next((reader.timings for reader in readers
                 if reader.name == BASELINE), {})
    for reader in readers:
        for task, timing in reader.timings.items():
            if task in base and not reader.wrong:
                timing.ratio = timing.seconds / base[task].seconds
