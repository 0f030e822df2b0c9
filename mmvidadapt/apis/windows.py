"""Slide a window over a long video, decoding each frame once.

::

    reader --> windows of frames --> frame numbers of each, by the config's
                                     own sampling, as if it were a video
           --> all numbers in order --> decoded piece by piece
           --> a window goes on as soon as its last frame is there

Frames are held from the piece that decodes them to the last window that shows
them, so memory does not grow with the length of the video.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from ..datasets.broken_video import TAIL_FRAMES, PyAVReader, ReadGuard
from ..datasets.video_reader import VideoReader

#: Frames that a piece spans at most.
PIECE = 64


@dataclass
class Window:
    """A part of a video, ready to be looked at.

    Args:
        first (int): Its first frame.
        num_frames (int): How many frames it has.
        sample (dict): As the steps before the decoder leave it, with
            ``frame_inds`` counted as the decoder counts.
    """

    first: int
    num_frames: int
    sample: dict

    @property
    def frames(self) -> np.ndarray:
        """Numbers of the frames that it shows, ``(N, )``."""
        return self.sample['frame_inds']


def frame_rate(results: dict) -> float:
    """Frames per second of a video that was opened.

    Args:
        results (dict): What the step that opened it left.

    Returns:
        float: As its header says.

    Raises:
        ValueError: If nothing says.
    """
    rate = results.get('avg_fps')
    if not rate and 'filename' in results:
        rate = cv2.VideoCapture(results['filename']).get(cv2.CAP_PROP_FPS)
    if not rate or not np.isfinite(rate) or rate <= 0:
        name = results.get('filename', results.get('frame_dir'))
        raise ValueError(f'{name} does not say how many frames it shows in a '
                         'second: give fps')
    return float(rate)


def window_starts(total: int, length: int, step: int) -> list[int]:
    """First frames of windows of one length that cover a video.

    Args:
        total (int): Frames of the video.
        length (int): Frames of a window.
        step (int): Frames between the starts of windows.

    Returns:
        list[int]: Ascending. The last window ends with the video, so it may
        start nearer to the one before; a video that is shorter than a window
        has one, from its start.
    """
    last = max(0, total - length)
    starts = list(range(0, last + 1, step))
    if starts[-1] < last:
        starts.append(last)
    return starts


def _decoder_place(steps: Sequence[Any]) -> int:
    """Place of the step that decodes.

    Raises:
        ValueError: If there is none.
    """
    for place, step in enumerate(steps):
        if isinstance(step, ReadGuard) and not step.opens:
            return place
    raise ValueError('the test pipeline has no step that decodes frames: '
                     'name one whose type ends in Decode')


class WindowReader:
    """Windows of one video, through the test pipeline of a config.

    Args:
        steps (Sequence[Any]): Transforms, those that read guarded; see
            :func:`~mmvidadapt.datasets.broken_video.guarded_pipeline`.
        sample (dict): What the pipeline starts from.
        window (float): Seconds that a window lasts.
        stride (float): Seconds between the starts of two windows.
        fps (float | None): Frames per second; what the file says if None.

    Raises:
        ValueError: If a length is not positive, the pipeline decodes
            nothing, or the frame rate is not known.
        BrokenVideoError: If the file cannot be opened.
    """

    def __init__(self, steps: Sequence[Any], sample: dict, window: float,
                 stride: float, fps: float | None = None) -> None:
        for name, value in (('window', window), ('stride', stride),
                            ('fps', 1 if fps is None else fps)):
            if not 0 < value < math.inf:
                raise ValueError(f'{name}={value} is not a positive number: '
                                 'give one above 0')
        place = _decoder_place(steps)
        self._decode, self._after = steps[place], steps[place + 1:]
        before = list(steps[:place])
        while before and isinstance(before[0], ReadGuard):
            sample = before.pop(0)(sample)
        self._reader = sample.pop('video_reader', None)
        self._sample = sample
        self.fps = fps or frame_rate(sample)
        total = sample['total_frames']
        self._tail = total - TAIL_FRAMES + sample['start_index']
        self.length = min(total, max(1, round(window * self.fps)))
        self.windows = [
            self._plan(before, first) for first in window_starts(
                total, self.length, max(1, round(stride * self.fps)))]

    def _plan(self, sampling: Sequence[Any], first: int) -> Window:
        """Let the config choose frames of a window as of a video."""
        sample = dict(self._sample, total_frames=self.length)
        for step in sampling:
            sample = step(sample)
        inds = np.asarray(sample['frame_inds']).reshape(-1) + first
        return Window(first, self.length, dict(
            sample, frame_inds=inds,
            total_frames=self._sample['total_frames']))

    def __len__(self) -> int:
        return len(self.windows)

    def __iter__(self) -> Iterator[dict]:
        """What the model reads of each window, in their order.

        Yields:
            dict: As the pipeline packs a sample.
        """
        wanted = np.unique(np.concatenate(
            [window.frames for window in self.windows]))
        held: dict[int, np.ndarray] = {}
        waiting = list(self.windows)
        for number, picture in self._pictures(wanted):
            held[number] = picture
            while waiting and waiting[0].frames.max() <= number:
                yield self._finish(waiting.pop(0), held)
                first = min((window.frames.min() for window in waiting),
                            default=number + 1)
                for passed in [n for n in held if n < first]:
                    del held[passed]

    def _pictures(self, wanted: np.ndarray
                  ) -> Iterator[tuple[int, np.ndarray]]:
        """The frames in order, by the decoder of the config."""
        if isinstance(self._reader, VideoReader):
            yield from self._reader.stream(wanted)
            return
        while len(wanted):
            piece = wanted[wanted < wanted[0] + PIECE]
            if wanted[-1] >= self._tail > piece[-1] and (
                    wanted[len(piece)] >= self._tail):
                piece = wanted  # the last frames of a file may be missing
            wanted = wanted[len(piece):]
            yield from zip(piece.tolist(), self._decode_piece(piece),
                           strict=True)

    def _decode_piece(self, piece: np.ndarray) -> list[np.ndarray]:
        """Decode some frames with the config's own decoder."""
        inds = piece
        if isinstance(self._reader, PyAVReader) and (
                self._decode.transform.mode == 'accurate'):
            self._reader.first = int(piece[0])
            inds = piece - piece[0]
        found = self._decode(dict(
            self._sample, video_reader=self._reader, frame_inds=inds))
        return found['imgs']

    def _finish(self, window: Window, held: dict[int, np.ndarray]) -> dict:
        # Later steps may write into what several windows show.
        shape = held[int(window.frames[0])].shape[:2]
        sample = dict(window.sample, img_shape=shape, original_shape=shape,
                      imgs=[held[n].copy() for n in window.frames.tolist()])
        for step in self._after:
            sample = step(sample)
        return sample
