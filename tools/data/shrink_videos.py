#!/usr/bin/env python
"""Encode a folder of videos again: small, and fast to read frames from."""

import argparse
import errno
import json
import multiprocessing
import os
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor
from concurrent.futures import wait as wait_for
from concurrent.futures.process import BrokenProcessPool
from fractions import Fraction
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import av
import numpy as np
from av.error import FFmpegError
from av.video.frame import PictureType
from mmengine.utils import ProgressBar

from mmvidadapt.apis.cli import make_parser, run_tool
from mmvidadapt.datasets.video_files import VIDEO_SUFFIXES, files_below
from mmvidadapt.datasets.video_reader import (
    BrokenVideoError,
    VideoReader,
    find_damage,
)
from mmvidadapt.datasets.video_reader.damage import is_system_fault
from mmvidadapt.datasets.video_reader.pictures import (
    Painter,
    display_matrix,
    turn,
)
from mmvidadapt.files import check_folder, whole_file

#: The structure of groups of pictures that docs/data.md compares with others:
#: a key frame every 8 frames, and between them three frames at a time that no
#: frame refers to. A reader that wants one frame decodes four at most.
KEY_EVERY, B_FRAMES = 8, 3
_X264 = (f'keyint={KEY_EVERY}:min-keyint={KEY_EVERY}:scenecut=0:'
         f'bframes={B_FRAMES}:b-adapt=0:b-pyramid=none:open-gop=0:'
        # With it, x264 writes other bytes from run to run, on one thread, too.
        'mbtree=0')
#: Mean difference of a picture from the source's, in levels of 0 to 255, from
#: which on a result counts as wrong. Compression leaves 2 to 4.
MAX_DIFFERENCE = 12.
#: Seconds by which a frame may be shown earlier or later than in the source.
MAX_DELAY = 1e-3
#: Ticks a second; whole numbers for 24, 25, 30 and 29.97 frames a second, and
#: for milliseconds.
TICKS = 90000
#: Of how many videos, and of how many of their frames, space is estimated.
SAMPLES, SAMPLE_FRAMES = 8, 64
#: Written beside the videos: with which options they were made.
RECORD = 'shrink_videos.json'
# Hours of video take longer than the reader allows for a clip.
_MAX_SECONDS = 24 * 3600.
# Seconds after which what a killed run left can no longer be in use.
_STALE = 3600.
# FFmpeg's numbers of matrices: of RGB (none), not known, and BT.601.
_RGB, _UNKNOWN, _BT601 = 0, 2, 5
# What the system answers where no more can be written.
_FULL = (errno.ENOSPC, errno.EDQUOT)


class Options(NamedTuple):
    """What the pixels of a result depend on.

    Args:
        short_side (int): Pixels of the shorter side, if it has more.
        crf (int): Constant rate factor of x264.
    """

    short_side: int
    crf: int


class Job(NamedTuple):
    """A video to be encoded.

    Args:
        source (Path): The file.
        target (Path): The file to write.
    """

    source: Path
    target: Path


class Stopped(Exception):
    """The user has stopped the run."""


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = make_parser(
        'Encode every video of a folder again, to a short side of 256 and '
        'with key frames\nso close together that a few frames are read '
        'several times faster. Every frame\nis kept, with its time; sound is '
        'dropped. Each result is compared with its\nsource before it gets '
        'its name. An interrupted run goes on where it stopped.',
        'python tools/data/shrink_videos.py data/kinetics400/original_train '
        'data/kinetics400/videos_train')
    parser.add_argument('folder', type=Path,
                        help='folder of videos, searched to its depth')
    parser.add_argument('out', type=Path, help='folder to write to; its tree '
                        'will be that of FOLDER, all files .mp4')
    parser.add_argument('--short-side', type=int, default=256, metavar='N',
                        help='pixels of the shorter side; smaller videos '
                        'keep their size (default %(default)s)')
    parser.add_argument('--crf', type=int, default=19, metavar='N',
                        help='quality of x264, from 1 (largest files) to 51 '
                        '(default %(default)s)')
    parser.add_argument('--workers', type=int, default=os.cpu_count() or 1,
                        metavar='N', help='videos encoded at once (default: '
                        'number of cores, here %(default)s)')
    parser.add_argument('--force', action='store_true',
                        help='start even if the results are not expected to '
                        'fit on the disk')
    return parser.parse_args()


# -- what there is to do ---------------------------------------------------


def plan(folder: Path, out: Path) -> list[Job]:
    """Pair the videos of a folder with the files to write.

    Args:
        folder (Path): Folder of videos.
        out (Path): Folder to write to.

    Returns:
        list[Job]: All videos, sorted.

    Raises:
        ValueError: If there are no videos, two would get the same name, or
            one of the folders is inside the other.
    """
    if not folder.is_dir():
        raise ValueError(f'{folder} is not a folder: give a folder of '
                         'videos.')
    here, there = folder.resolve(), out.resolve()
    if here == there or here in there.parents or there in here.parents:
        raise ValueError(
            f'{out} and {folder} are the same folder, or one is inside the '
            'other: give a folder of its own for the results.')
    check_folder(out)
    # A link that leads nowhere is a video that cannot be read.
    videos = sorted([*files_below(folder), *(
        path for path in folder.rglob('*') if path.is_symlink()
        and not path.exists() and path.suffix.lower() in VIDEO_SUFFIXES)])
    if not videos:
        raise ValueError(f'{folder} holds no videos '
                         f'({", ".join(VIDEO_SUFFIXES)}): give a folder of '
                         'videos.')
    taken: dict[Path, Path] = {}
    for video in videos:
        target = out / video.relative_to(folder).with_suffix('.mp4')
        other = taken.setdefault(target, video)
        if other != video:
            raise ValueError(
                f'{other} and {video} would both become {target}: rename one '
                'of them, or move it to another folder.')
    return [Job(video, target) for target, video in taken.items()]


def unfinished(jobs: Sequence[Job], out: Path,
               options: Options) -> list[Job]:
    """Leave out the videos whose result is there.

    Args:
        jobs (Sequence[Job]): All videos.
        out (Path): Folder of the results.
        options (Options): With which they are to be made.

    Returns:
        list[Job]: The others, in order.

    Raises:
        ValueError: If the folder holds results of other options, or files
            of the same names that are not ours.
    """
    there = {job for job in jobs if job.target.exists()}
    record = out / RECORD
    if record.exists():
        try:
            before = dict(json.loads(record.read_text()))
        except (ValueError, TypeError) as error:
            raise ValueError(
                f'{record} does not say how the videos beside it were made: '
                'delete the folder and start again, or give another '
                'one.') from error
        if before != options._asdict():
            words = ' '.join(f'--{name.replace("_", "-")} {value}'
                             for name, value in before.items())
            raise ValueError(f'the videos in {out} were made with {words}: '
                             'give the same options, or another folder.')
    elif there:
        raise ValueError(
            f'{out} holds {len(there)} videos of these names, and no '
            f'{RECORD} that says how they were made: give an empty folder.')
    # A machine that lost its power may keep the name of a file only.
    return [job for job in jobs
            if job not in there or find_damage(job.target)]


def check_options(options: Options, workers: int) -> None:
    """Refuse numbers that make no sense.

    Args:
        options (Options): Of the pixels.
        workers (int): Number of processes.

    Raises:
        ValueError: If one of them is out of its range.
    """
    if options.short_side < 16:
        raise ValueError(f'--short-side is {options.short_side}: give at '
                         'least 16.')
    if options.short_side % 2:
        raise ValueError(f'--short-side is {options.short_side}: give an '
                         'even number.')
    if not 1 <= options.crf <= 51:
        raise ValueError(f'--crf is {options.crf}: give a number from 1 to '
                         '51.')
    if workers < 1:
        raise ValueError(f'--workers is {workers}: give at least 1.')


# -- one video -------------------------------------------------------------


def fit(width: int, height: int, short_side: int) -> tuple[int, int]:
    """The size of a result.

    Args:
        width (int): Of the source.
        height (int): Of the source.
        short_side (int): Of the result, at most.

    Returns:
        tuple[int, int]: Even width and height; x264 halves both for colour.
    """
    scale = min(1., short_side / min(width, height))
    if scale == 1:
        return max(2, width // 2 * 2), max(2, height // 2 * 2)
    return 2 * round(width * scale / 2), 2 * round(height * scale / 2)


def clock(reader: VideoReader) -> list[int]:
    """When each frame is shown, in ticks.

    Args:
        reader (VideoReader): An open file.

    Returns:
        list[int]: Ascending, from 0.
    """
    times = reader.times
    if len(times) > 1 and not times[-1]:
        times = np.arange(len(times)) / 25.  # no rate is known
    ticks = np.rint(times * TICKS).astype(np.int64)
    # Two frames in one tick would be refused by x264.
    numbers = np.arange(len(ticks))
    return (np.maximum.accumulate(ticks - numbers) + numbers).tolist()


def upright(frame: Any, size: tuple[int, int]) -> Any:
    """Scale a frame, make it 8-bit YUV 4:2:0, and turn it upright.

    Args:
        frame (Any): Of PyAV.
        size (tuple[int, int]): Width and height before it is turned.

    Returns:
        Any: A frame; the same one if nothing is to be done.
    """
    matrix = display_matrix(frame)
    if (frame.width, frame.height, frame.format.name) != (*size, 'yuv420p'):
        space, span = colours(frame)
        space = _BT601 if space == _UNKNOWN else space
        frame = frame.reformat(
            *size, format='yuv420p', interpolation='BICUBIC',
            src_colorspace=space, dst_colorspace=space,
            src_color_range=frame.color_range, dst_color_range=span,
            threads=1)
    if matrix is None:
        return frame
    planes = frame.to_ndarray()
    rows = [size[1], size[1] // 2, size[1] // 2]
    parts = [part.reshape(height, -1, 1) for part, height in zip(
        np.split(planes.ravel(), np.cumsum(
            [size[0] * size[1], size[0] * size[1] // 4])),
        rows, strict=True)]
    turned = [turn(part, matrix) for part in parts]
    return av.VideoFrame.from_ndarray(
        np.concatenate([part.ravel() for part in turned]).reshape(
            -1, turned[0].shape[1]), format='yuv420p')


def colours(frame: Any) -> tuple[int, int]:
    """Matrix and range that the pixels of a result have.

    Args:
        frame (Any): Of the source.

    Returns:
        tuple[int, int]: FFmpeg's numbers: those of the source, and BT.601
        for RGB, as the reader takes what has no tag.
    """
    space = frame.colorspace
    return (_BT601 if space == _RGB else space), frame.color_range


def add_stream(output: Any, reader: VideoReader, frame: Any,
               options: Options) -> tuple[Any, tuple[int, int]]:
    """Prepare the encoder.

    Args:
        output (Any): The open file to write.
        reader (VideoReader): The source.
        frame (Any): Its first frame.
        options (Options): Size and quality.

    Returns:
        tuple[Any, tuple[int, int]]: Stream of the output; the size to which
        frames are scaled before they are turned.
    """
    size = fit(frame.width, frame.height, options.short_side)
    rate = Fraction(reader.avg_fps).limit_denominator(1001) or Fraction(25)
    stream = output.add_stream('libx264', rate=rate, options={
        'crf': str(options.crf), 'preset': 'medium', 'tune': 'fastdecode',
        'a53cc': '0', 'x264-params': _X264})
    picture = upright(frame, size)
    stream.width, stream.height = picture.width, picture.height
    stream.pix_fmt = 'yuv420p'
    encoder = stream.codec_context
    encoder.thread_count = 1
    encoder.time_base = stream.time_base = Fraction(1, TICKS)
    encoder.colorspace, encoder.color_range = colours(frame)
    encoder.color_primaries = frame.color_primaries
    encoder.color_trc = frame.color_trc
    shape = reader.sample_aspect_ratio
    if shape:
        on_its_side = (picture.width, picture.height) != size
        encoder.sample_aspect_ratio = 1 / shape if on_its_side else shape
    return stream, size


def encode(reader: VideoReader, target: Path, options: Options,
           total: int | None = None,
           stopped: Callable[[], bool] = lambda: False
           ) -> dict[int, np.ndarray]:
    """Encode a video again.

    Args:
        reader (VideoReader): The source.
        target (Path): The file to write.
        options (Options): Size and quality.
        total (int | None): Only so many frames. Defaults to all.
        stopped (Callable[[], bool]): Whether the user wants no more.

    Returns:
        dict[int, np.ndarray]: Upright RGB pictures of the source by number
        of the frame, of the size of the result: the first, the middle and
        the last one.

    Raises:
        BrokenVideoError: If fewer frames can be decoded than there are, or
            x264 does not take them.
        OSError: If the machine fails, for example because a disk is full.
        Stopped: If the user has stopped the run.
    """
    total = min(total or reader.total_frames, reader.total_frames)
    try:
        # A colon in a name is no protocol.
        with av.open(f'file:{target}', 'w', format='mp4',
                     options=dict(movflags='faststart')) as output:
            return _encode(reader, output, options, total, stopped)
    except FFmpegError as error:
        if is_system_fault(error) or error.errno in _FULL:
            raise
        raise BrokenVideoError(
            f'{reader.name} cannot be encoded ({error.strerror}); take it '
            'out of the folder.', reader.name) from error


def _encode(reader: VideoReader, output: Any, options: Options, total: int,
            stopped: Callable[[], bool]) -> dict[int, np.ndarray]:
    """Encode into an open file."""
    ticks, kept, stream = clock(reader), {}, None
    compared = {0, total // 2, total - 1}
    for number, frame in enumerate(islice(reader.frames(), total)):
        if stopped():
            raise Stopped
        if stream is None:
            stream, size = add_stream(output, reader, frame, options)
            painter = Painter(frame.width, frame.height)
        picture = upright(frame, size)
        if number in compared:
            kept[number] = resize(painter.paint(frame), picture.width,
                                  picture.height)
        picture.pts, picture.time_base = ticks[number], Fraction(1, TICKS)
        # Else x264 would make key frames where the source had them.
        picture.pict_type = PictureType.NONE
        output.mux(stream.encode(picture))
    output.mux(stream.encode(None))
    return kept


def resize(picture: np.ndarray, width: int, height: int) -> np.ndarray:
    """Scale a picture, without threads, which a fork would not survive."""
    frame = av.VideoFrame.from_ndarray(picture, format='rgb24')
    return frame.reformat(width, height, interpolation='AREA',
                          threads=1).to_ndarray()


def verify(target: Path, reader: VideoReader,
           pictures: dict[int, np.ndarray]) -> str | None:
    """Compare a result with its source.

    Args:
        target (Path): The result.
        reader (VideoReader): The source.
        pictures (dict[int, np.ndarray]): Of the source, by number of the
            frame, in the size of the result.

    Returns:
        str | None: What is wrong, if something is.
    """
    with VideoReader(target, max_seconds=_MAX_SECONDS) as result:
        if len(result) != len(reader):
            return f'has {len(result)} frames in place of {len(reader)}'
        late = np.abs(result.times * TICKS - clock(reader)).max() / TICKS
        if late > MAX_DELAY:
            return f'shows a frame {late:.3f} s off its time'
        for number, found in zip(pictures, result.read(pictures),
                                 strict=True):
            difference = np.abs(
                found.astype(np.int16) - pictures[number]).mean()
            if difference > MAX_DIFFERENCE:
                return (f'differs in frame {number} by {difference:.1f} '
                        f'levels on average (at most {MAX_DIFFERENCE:g}); '
                        'lower --crf if it is grainy')
    return None


def shrink(job: Job, options: Options,
           stopped: Callable[[], bool] = lambda: False) -> str | None:
    """Encode one video, and keep the result if it is right.

    Args:
        job (Job): Source and target.
        options (Options): Size and quality.
        stopped (Callable[[], bool]): Whether the user wants no more.

    Returns:
        str | None: Why there is no result, if there is none.

    Raises:
        Stopped: If the user has stopped the run.
    """
    try:
        with VideoReader(job.source, max_seconds=_MAX_SECONDS) as reader, \
                whole_file(job.target) as partial:
            wrong = verify(partial, reader, encode(
                reader, partial, options, stopped=stopped))
            if wrong:
                raise BrokenVideoError(f'the result of {job.source} {wrong}.')
    except BrokenVideoError as error:
        return str(error)
    return None


def clear_leftovers(out: Path) -> None:
    """Remove what a killed run was writing.

    Args:
        out (Path): Folder of the results.
    """
    for path in out.rglob('.*-*.mp4'):
        if (path.name[1:].partition('-')[0].isdecimal()
                and time.time() - path.stat().st_mtime > _STALE):
            path.unlink(missing_ok=True)


# -- all of them -----------------------------------------------------------


class Estimate(NamedTuple):
    """How much space results will take.

    Args:
        size (float): Bytes.
        videos (int): How many videos it was made from.
    """

    size: float
    videos: int


def estimate(jobs: Sequence[Job], options: Options) -> Estimate:
    """Encode the beginnings of some videos and infer the size of all.

    Args:
        jobs (Sequence[Job]): Videos to be encoded.
        options (Options): Size and quality.

    Returns:
        Estimate: Of no videos if none of the chosen can be read.
    """
    places = np.linspace(0, len(jobs) - 1, min(SAMPLES, len(jobs)))
    small, large, videos = 0., 0, 0
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder, 'sample.mp4')
        for place in places.round().astype(int):
            source = jobs[place].source
            try:
                with VideoReader(source,
                                 max_seconds=_MAX_SECONDS) as reader:
                    encode(reader, target, options, SAMPLE_FRAMES)
            except BrokenVideoError:
                continue
            share = min(SAMPLE_FRAMES, len(reader)) / len(reader)
            small += target.stat().st_size / share
            large += source.stat().st_size
            videos += 1
    return Estimate(small / max(1, large) * _size(jobs), videos)


def _size(jobs: Sequence[Job]) -> int:
    """Bytes of all sources."""
    return sum(job.source.stat().st_size for job in jobs
               if job.source.exists())


def check_space(jobs: Sequence[Job], out: Path, options: Options,
                force: bool) -> None:
    """Say how much space the results will take, and refuse if they do not fit.

    Args:
        jobs (Sequence[Job]): Videos to be encoded.
        out (Path): Folder to write to.
        options (Options): Size and quality.
        force (bool): Whether to go on anyway.

    Raises:
        ValueError: If they do not fit.
    """
    print('Estimating how much space the videos will take ...', flush=True)
    needed = estimate(jobs, options)
    there = next(place for place in (out, *out.absolute().parents)
                 if place.exists())
    free = shutil.disk_usage(there).free
    now = _size(jobs)
    if not needed.videos:
        print(f'{len(jobs)} videos of {words(now)}; how much space they will '
              'take is not known, because none that was tried can be read. '
              f'{words(free)} are free on the disk of {out}.', flush=True)
        return
    print(f'{len(jobs)} videos of {words(now)} will take about '
          f'{words(needed.size)} (estimated from {needed.videos} of them); '
          f'{words(free)} are free on the disk of {out}.', flush=True)
    if needed.size > free and not force:
        raise ValueError(
            f'about {words(needed.size)} are needed and {words(free)} are '
            f'free on the disk of {out}: free some, give a folder on another '
            'disk, or start anyway by --force.')


def words(size: float) -> str:
    """A number of bytes to be read by people."""
    units = ['TB', 'GB', 'MB', 'kB', 'bytes']
    while size >= 1000 and len(units) > 1:
        size /= 1000
        units.pop()
    return f'{size:.{0 if len(units) == 5 else 1}f} {units[-1]}'


def run_all(jobs: Sequence[Job], options: Options,
            workers: int) -> Iterator[str | None]:
    """Encode videos, several at once.

    Args:
        jobs (Sequence[Job]): The videos.
        options (Options): Size and quality.
        workers (int): Number of processes; with one, it is this one.

    Yields:
        str | None: For each video, in no order, why there is no result.
    """
    if min(workers, len(jobs)) == 1:
        for job in jobs:
            yield shrink(job, options)
        return
    stop = multiprocessing.Event()
    pool = ProcessPoolExecutor(min(workers, len(jobs)),
                               initializer=_start_worker, initargs=(stop, ))
    try:
        left = iter(jobs)
        running: set[Future] = set()
        while True:
            # Not all at once: millions of futures would fill the memory.
            for job in left:
                running.add(pool.submit(_work, job, options))
                if len(running) >= 2 * workers:
                    break
            if not running:
                return
            done, running = wait_for(running, return_when=FIRST_COMPLETED)
            for future in done:
                yield future.result()
    except BrokenProcessPool as error:
        raise ValueError(
            'a worker was ended from outside, most likely because the memory '
            'was full: start again with fewer --workers.') from error
    finally:
        stop.set()
        pool.shutdown(cancel_futures=True)


def with_bar(results: Iterator[str | None],
             total: int) -> Iterator[str | None]:
    """Show how many results there are, and end the line whatever happens."""
    bar = ProgressBar(total, file=sys.stderr)
    try:
        for result in results:
            bar.update()
            yield result
    finally:
        sys.stderr.write('\n')


_stop: Any = None


def _start_worker(stop: Any) -> None:
    """Listen to the main process only, which hears Ctrl-C, and end with it."""
    global _stop
    _stop = stop
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """Leave as soon as the main process is gone, however it went."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _work(job: Job, options: Options) -> str | None:
    """Encode one video in a worker."""
    if _stop.is_set():
        raise Stopped
    return shrink(job, options, _stop.is_set)


def main(args: argparse.Namespace) -> int:
    """Encode what is missing.

    Args:
        args (argparse.Namespace): The command line.

    Returns:
        int: 0 if every video has its result, 130 after Ctrl-C, else 1.
    """
    options = Options(args.short_side, args.crf)
    check_options(options, args.workers)
    jobs = plan(args.folder, args.out)
    todo = unfinished(jobs, args.out, options)
    clear_leftovers(args.out)
    if not todo:
        print(f'Nothing to do: {len(jobs)} of {len(jobs)} videos are in '
              f'{args.out}.')
        return 0
    failed: list[str] = []
    done = 0
    # What a scheduler sends is to end a run as Ctrl-C does.
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        check_space(todo, args.out, options, args.force)
        with whole_file(args.out / RECORD) as partial:
            partial.write_text(json.dumps(options._asdict()) + '\n')
        for wrong in with_bar(run_all(todo, options, args.workers),
                              len(todo)):
            done += 1
            failed += [wrong] if wrong else []
    except KeyboardInterrupt:
        sys.stderr.write(
            f'stopped: {len(jobs) - len(todo) + done - len(failed)} of '
            f'{len(jobs)} videos are in {args.out}; the same command goes on '
            'from there.\n')
        return 130
    except OSError as error:
        if error.errno not in _FULL:
            raise
        raise ValueError(f'the disk of {args.out} is full: free some space, '
                         'and the same command goes on.') from error
    finally:
        signal.signal(signal.SIGTERM, before)
    print(f'{len(jobs) - len(failed)} of {len(jobs)} videos are in '
          f'{args.out}')
    for what in sorted(failed):
        print(f'Left out: {what}')
    return 1 if failed else 0


if __name__ == '__main__':
    arguments = parse_args()
    run_tool(main, arguments)
