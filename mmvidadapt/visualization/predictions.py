"""Pictures and videos of what a classifier said."""

import os
from collections.abc import Iterator, Sequence
from fractions import Fraction
from functools import lru_cache, partial
from itertools import groupby
from pathlib import Path

import cv2
import matplotlib.pyplot as plt
import mmcv
import numpy as np
from matplotlib.figure import Figure
from matplotlib.gridspec import GridSpec
from PIL import Image, ImageDraw, ImageFont

from ..apis.video_classifier import Prediction, Timeline
from ..datasets.video_files import IMAGE_SUFFIXES, files_below
from ..datasets.video_reader import VideoReader
from ..files import whole_file
from .canvas import font_for, names_as_written, save_figure, short, strip, tile
from .runs import spread

__all__ = ['draw_sheet', 'draw_timeline', 'write_labelled']

#: Videos on one page of a contact sheet.
PAGE = 12
#: Frames shown of each.
SHOWN = 5
#: Lowest picture on which labels can be read.
LEAST_HEIGHT = 240
#: Frames per second of a video that is made of a folder of frames.
FRAMES_RATE = 12


def _picture(path: Path) -> np.ndarray:
    return mmcv.imread(path, channel_order='rgb')


def _thumbnails(video: Path, number: int, height: int = 120) -> np.ndarray:
    """Small frames spread evenly over a video, ``(N, H, W, 3)``."""
    if video.is_dir():
        files = files_below(video, IMAGE_SUFFIXES)
        frames = [_picture(files[place])
                  for place in spread(number, len(files))]
    else:
        with VideoReader(video) as reader:
            frames = reader.read(spread(number, len(reader)))
    width = max(1, round(frames[0].shape[1] * height / frames[0].shape[0]))
    return np.stack([cv2.resize(frame, (width, height),
                                interpolation=cv2.INTER_AREA)
                     for frame in frames])


@names_as_written
def draw_sheet(predictions: Sequence[Prediction], path: Path) -> list[Path]:
    """A contact sheet: frames of each video, and a bar for each class.

    Args:
        predictions (Sequence[Prediction]): What was said; videos that could
            not be read are left out.
        path (Path): PNG. Further pages of 12 videos are called
            ``NAME-2.png``, ``NAME-3.png``, ...

    Returns:
        list[Path]: What was written.

    Raises:
        ValueError: If no video could be read.
    """
    sound = [one for one in predictions if one.error is None]
    if not sound:
        raise ValueError('no video could be read, so there is nothing to '
                         'draw')
    written = []
    for page in range(0, len(sound), PAGE):
        name = path if not page else path.with_name(
            f'{path.stem}-{page // PAGE + 1}{path.suffix}')
        save_figure(_sheet(sound[page:page + PAGE]), name)
        written.append(name)
    return written


def _sheet(predictions: Sequence[Prediction]) -> Figure:
    figure = plt.figure(figsize=(13, 1.9 * len(predictions)),
                        layout='constrained')
    grid = GridSpec(len(predictions), 2, figure, width_ratios=(2.4, 1))
    rows = max(len(one.labels) for one in predictions)
    for row, one in enumerate(predictions):
        axes = figure.add_subplot(grid[row, 0])
        tile(axes, strip(_thumbnails(Path(one.video), SHOWN)))
        axes.set_title(short(os.path.basename(one.video)), fontsize=10,
                       loc='left')
        axes.set_anchor('W')
        bars = figure.add_subplot(grid[row, 1])
        _bars(bars, one, max(rows, 3))
    return figure


def _bars(axes: plt.Axes, one: Prediction, rows: int) -> None:
    places = -np.arange(len(one.labels))
    colours = ['tab:blue'] + ['0.7'] * (len(places) - 1)
    axes.barh(places, one.scores, color=colours, height=.75)
    axes.set_ylim(.5 - rows, .5)
    # Probabilities on one scale; other scores on their own.
    if min(one.scores) >= 0 and max(one.scores) <= 1:
        axes.set_xlim(0, 1.12)
    for place, score in zip(places, one.scores, strict=True):
        axes.text(max(score, 0), place, f' {score:.2f}', va='center',
                  fontsize=8)
    axes.set_yticks(places, [short(label) for label in one.labels],
                    fontsize=9)
    axes.set_xticks([])
    axes.spines[['top', 'right', 'bottom']].set_visible(False)


@names_as_written
def draw_timeline(timeline: Timeline, path: Path, classes: int = 5) -> None:
    """Scores over time under frames of the video.

    Args:
        timeline (Timeline): Scores of windows.
        path (Path): PNG.
        classes (int): Classes drawn: those whose highest score is highest.
    """
    shown = timeline.strongest(classes)
    figure = plt.figure(figsize=(12, 2.1 + .85 * len(shown)),
                        layout='constrained')
    grid = GridSpec(1 + len(shown), 1, figure,
                    height_ratios=[1.2] + [.85] * len(shown))
    strip_axes = figure.add_subplot(grid[0])
    ends = float(timeline.starts[-1] + timeline.length)
    middles = timeline.starts + timeline.length / 2
    # Each window counts from its own start to the next one's.
    edges = np.concatenate([[0.], (middles[1:] + middles[:-1]) / 2, [ends]])
    known = timeline.scores[np.isfinite(timeline.scores)]
    low, high = (float(known.min()), float(known.max())) if len(known) else (
        0., 1.)
    if low >= 0 and high <= 1:
        low, high = 0., max(.05, high)
    high = max(high, low + .05)
    # A row for each class: curves in one would hide each other.
    for row, k in enumerate(shown, 1):
        axes = figure.add_subplot(grid[row], sharex=strip_axes)
        axes.stairs(timeline.scores[:, k], edges, baseline=low, fill=True,
                    color=f'C{row - 1}')
        axes.set_ylim(low, high + .08 * (high - low))
        axes.set_ylabel(short(timeline.classes[k]), rotation=0, ha='right',
                        va='center')
        axes.grid(alpha=.3)
        axes.tick_params(labelbottom=row == len(shown))
        if row == 1:
            axes.set_title(f'score of a window of {timeline.length:.3g} s',
                           fontsize=9, loc='left')
    axes.set_xlabel('seconds')
    strip_axes.set_title(short(os.path.basename(timeline.video)), fontsize=11,
                         loc='left')
    strip_axes.set_axis_off()
    strip_axes.set_xlim(0, ends)
    _fill_strip(strip_axes, Path(timeline.video), ends)
    save_figure(figure, path)


def _fill_strip(axes: plt.Axes, video: Path, ends: float) -> None:
    """Show as many frames of a video as there is room for."""
    axes.figure.draw_without_rendering()  # settles how much room that is
    room = axes.get_window_extent()
    height, width = _thumbnails(video, 1)[0].shape[:2]
    number = max(1, round(room.width / room.height * height / width))
    frames = _thumbnails(video, number)
    frames = frames[np.arange(number) * len(frames) // number]
    axes.imshow(strip(frames), extent=(0, ends, 0, 1), aspect='auto')


# -- videos ----------------------------------------------------------------


def _frames(video: Path) -> tuple[float, Iterator[np.ndarray]]:
    """Frames per second, and the frames ``(H, W, 3)`` in RGB."""
    if video.is_dir():
        files = files_below(video, IMAGE_SUFFIXES)
        return FRAMES_RATE, map(_picture, files)
    reader = VideoReader(video)
    return reader.avg_fps, iter(reader)


def _panel(lines: Sequence[tuple[str, float]], size: tuple[int, int]
           ) -> np.ndarray:
    """Labels and bars of their scores on a dark ground.

    Args:
        lines (Sequence[tuple[str, float]]): Labels with scores.
        size (tuple[int, int]): Width and height of the video.

    Returns:
        np.ndarray: ``(H', W, 4)``, uint8; drawn at the foot of the video.
    """
    width, height = size
    letters = max(14, round(height / 18))
    step = round(letters * 1.45)
    panel = Image.new('RGBA', (width, step * len(lines) + letters // 2),
                      (0, 0, 0, 150))
    draw = ImageDraw.Draw(panel)
    pen = _Pen(letters)
    for row, (label, score) in enumerate(lines):
        top = letters // 4 + row * step
        if 0 <= score <= 1:
            draw.rectangle((0, top, round(score * width), top + step - 3),
                           fill=(40, 110, 190, 210) if not row else
                           (90, 90, 90, 200))
        number = f'{score:.2f}'
        right = width - letters // 2 - pen.length(number)
        while label and pen.length(label) > right - letters:
            label = label.removesuffix('...')[:-1]
            label = label.rstrip() + '...' if label else ''
        for text, left in (label, letters / 2), (number, right):
            for run, font in pen.runs(text):
                draw.text((left, top + letters), run, (255, 255, 255), font,
                          anchor='ls')  # fonts share the base line
                left += font.getlength(run)
    return np.asarray(panel)


class _Pen:
    """Letters of one size, each in a font that has it.

    Args:
        letters (int): Their height in pixels.
    """

    def __init__(self, letters: int) -> None:
        # A label that is cut is measured once for each letter.
        self._file = lru_cache(font_for)
        self._font = lru_cache(partial(ImageFont.truetype, size=letters))

    def runs(self, text: str) -> list[tuple[str, ImageFont.FreeTypeFont]]:
        """A text in pieces of one font."""
        return [(''.join(run), self._font(file))
                for file, run in groupby(text, self._file)]

    def length(self, text: str) -> float:
        """Pixels that a text takes."""
        return sum(font.getlength(run) for run, font in self.runs(text))


def _labels_at(said: Prediction | Timeline, seconds: float,
               number: int) -> tuple[tuple[str, float], ...]:
    """Labels and scores to show at a time."""
    if isinstance(said, Prediction):
        return tuple(zip(said.labels, said.scores, strict=True))[:number]
    middles = said.starts + said.length / 2
    row = said.scores[np.abs(middles - seconds).argmin()]
    order = np.argsort(-row, kind='stable')[:number]
    return tuple((said.classes[k], float(row[k])) for k in order)


def write_labelled(said: Prediction | Timeline, path: Path,
                   number: int = 3) -> None:
    """Write the video with labels drawn on it, as H.264 without sound.

    Args:
        said (Prediction | Timeline): Labels of the whole video, or of its
            times.
        path (Path): ``.mp4`` file to write.
        number (int): Labels to show.

    Raises:
        ValueError: If the video could not be read.
    """
    import av
    if isinstance(said, Prediction) and said.error is not None:
        raise ValueError(f'there is no video to draw on: {said.error}')
    rate, frames = _frames(Path(said.video))
    panels: dict[tuple, np.ndarray] = {}
    with whole_file(path) as part, av.open(str(part), 'w') as out:
        stream = None
        for place, frame in enumerate(frames):
            scale = max(1., LEAST_HEIGHT / frame.shape[0])
            # H.264 in its usual form has even sides.
            width, height = (2 * round(scale * side / 2)
                             for side in frame.shape[1::-1])
            if (height, width) != frame.shape[:2]:
                frame = cv2.resize(frame, (width, height))
            if stream is None:
                stream = out.add_stream('libx264', rate=Fraction(
                    rate).limit_denominator(1001))
                stream.width, stream.height = width, height
                stream.pix_fmt = 'yuv420p'
            lines = _labels_at(said, place / rate, number)
            if lines not in panels:
                panels[lines] = _panel(lines, (width, height))
            for packet in stream.encode(av.VideoFrame.from_ndarray(
                    _blend(frame, panels[lines]))):
                out.mux(packet)
        for packet in stream.encode() if stream is not None else ():
            out.mux(packet)


def _blend(frame: np.ndarray, panel: np.ndarray) -> np.ndarray:
    """The frame with a panel over its foot."""
    frame = frame.copy()
    panel = panel[:len(frame)]
    foot = frame[-len(panel):]
    alpha = panel[..., 3:] / 255.
    foot[:] = foot * (1 - alpha) + panel[..., :3] * alpha
    return frame
