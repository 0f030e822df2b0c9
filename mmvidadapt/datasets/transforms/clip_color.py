"""Colour changes of a clip, whose coin is thrown once for all its frames.

MMAction2's ``ColorJitter`` and MMCV's ``adjust_hue`` add a shift to unsigned
bytes, which NumPy 2 refuses. These transforms calculate in OpenCV, which
saturates, and which is fast on bytes.
"""

from collections.abc import Callable
from typing import TypeAlias

import cv2
import numpy as np
from mmaction.registry import TRANSFORMS
from mmcv.transforms import BaseTransform

__all__ = ['ClipColorJitter', 'ClipGrayscale']

Frames: TypeAlias = list[np.ndarray] | np.ndarray


def map_frames(function: Callable[[np.ndarray], np.ndarray],
               frames: Frames) -> Frames:
    """Apply a function to every frame.

    Args:
        function (Callable[[np.ndarray], np.ndarray]): From a frame to a
            frame of the same shape.
        frames (Frames): MMAction2's ``imgs``, a list of ``(H, W, 3)`` bytes
            or the same stacked.

    Returns:
        Frames: New frames, stacked if they were.
    """
    mapped = [function(np.ascontiguousarray(frame)) for frame in frames]
    return np.stack(mapped) if isinstance(frames, np.ndarray) else mapped


def _check_prob(prob: float) -> None:
    """Refuse what is not a probability."""
    if not 0 <= prob <= 1:
        raise ValueError(f'prob is {prob}: give a probability from 0 to 1.')


def _gray(frame: np.ndarray) -> np.ndarray:
    """Luminance in three equal channels (ITU-R 601-2, as PIL has it)."""
    return cv2.cvtColor(cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY),
                        cv2.COLOR_GRAY2RGB)


def adjust_brightness(frame: np.ndarray, factor: float) -> np.ndarray:
    """Scale all channels; 0 is black, 1 leaves the frame as it is.

    Args:
        frame (np.ndarray): ``(H, W, 3)``, bytes, RGB.
        factor (float): At least 0.

    Returns:
        np.ndarray: A new frame.
    """
    return cv2.convertScaleAbs(frame, alpha=factor)


def adjust_contrast(frame: np.ndarray, factor: float) -> np.ndarray:
    """Move all channels from or to the frame's mean luminance.

    Args:
        frame (np.ndarray): ``(H, W, 3)``, bytes, RGB.
        factor (float): At least 0; 1 leaves the frame as it is.

    Returns:
        np.ndarray: A new frame.
    """
    gray = cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY)
    mean = cv2.sumElems(gray)[0] / gray.size  # as NumPy's, which is slower
    return cv2.LUT(frame, _table(np.arange(256) * factor
                                 + (1 - factor) * mean))


def adjust_saturation(frame: np.ndarray, factor: float) -> np.ndarray:
    """Move every pixel from or to its own luminance.

    Args:
        frame (np.ndarray): ``(H, W, 3)``, bytes, RGB.
        factor (float): At least 0; 0 is grey, 1 leaves the frame as it is.

    Returns:
        np.ndarray: A new frame.
    """
    return cv2.addWeighted(frame, factor, _gray(frame), 1 - factor, 0)


def adjust_hue(frame: np.ndarray, shift: float) -> np.ndarray:
    """Turn the colour circle.

    Args:
        frame (np.ndarray): ``(H, W, 3)``, bytes, RGB.
        shift (float): In turns, from -0.5 to 0.5; 0 leaves the hues.

    Returns:
        np.ndarray: A new frame.
    """
    hsv = cv2.cvtColor(frame, cv2.COLOR_RGB2HSV_FULL)
    turn = np.zeros((frame.shape[1], 3), np.uint8)
    turn[:, 0] = round(shift * 256) % 256
    hsv += turn  # bytes wrap around as hues do
    return cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB_FULL)


def _table(values: np.ndarray) -> np.ndarray:
    """A table of bytes out of 256 numbers, rounded and saturated."""
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


def _span(name: str, value: float | tuple[float, float], centre: float,
          lowest: float, highest: float) -> tuple[float, float]:
    """The range a factor is drawn from."""
    sound = False
    if isinstance(value, (int, float)):
        low, high = max(lowest, centre - value), centre + value
        sound = value >= 0
    elif len(value) == 2:
        low, high = value
        sound = low <= high
    if not sound or low < lowest or high > highest:
        raise ValueError(
            f'{name} is {value}: give a number of at least 0, or a range '
            f'(low, high) between {lowest} and {highest}.')
    return low, high


@TRANSFORMS.register_module()
class ClipColorJitter(BaseTransform):
    """Change brightness, contrast, saturation and hue of a clip.

    The coin is thrown once for all frames; so are factors and order drawn,
    unless ``per_frame``. The operations are those of PIL and torchvision. The
    defaults are ViFi-CLIP's recipe, which InTI and MSTA train by.

    Required keys: imgs. Modified keys: imgs.

    Args:
        brightness (float | tuple[float, float]): A factor from ``1 - b`` to
            ``1 + b``, or a range. Defaults to 0.4.
        contrast (float | tuple[float, float]): Likewise. Defaults to 0.4.
        saturation (float | tuple[float, float]): Likewise. Defaults to 0.2.
        hue (float | tuple[float, float]): A shift from ``-h`` to ``h`` in
            turns of the colour circle, or a range. Defaults to 0.1.
        prob (float): How often a clip is changed at all. Defaults to 0.8.
        per_frame (bool): Draw factors and order anew for each frame, as
            ViFi-CLIP's program does. Defaults to False.

    Raises:
        ValueError: If a range or ``prob`` makes no sense.
    """

    def __init__(self,
                 brightness: float | tuple[float, float] = 0.4,
                 contrast: float | tuple[float, float] = 0.4,
                 saturation: float | tuple[float, float] = 0.2,
                 hue: float | tuple[float, float] = 0.1,
                 prob: float = 0.8,
                 per_frame: bool = False) -> None:
        _check_prob(prob)
        top = float('inf')
        self.brightness = _span('brightness', brightness, 1.0, 0.0, top)
        self.contrast = _span('contrast', contrast, 1.0, 0.0, top)
        self.saturation = _span('saturation', saturation, 1.0, 0.0, top)
        if isinstance(hue, (int, float)):
            hue = (-hue, hue)
        self.hue = _span('hue', hue, 0.0, -0.5, 0.5)
        self.prob = prob
        self.per_frame = per_frame

    def transform(self, results: dict) -> dict:
        """Change the colours of ``results['imgs']``.

        Args:
            results (dict): A sample of MMAction2.

        Returns:
            dict: The same with new frames.
        """
        if np.random.rand() >= self.prob:
            return results
        drawn = None if self.per_frame else self._draw()

        def jitter(frame: np.ndarray) -> np.ndarray:
            for adjust, amount in drawn or self._draw():
                frame = adjust(frame, amount)
            return frame

        results['imgs'] = map_frames(jitter, results['imgs'])
        return results

    def _draw(self) -> list[tuple[Callable, float]]:
        """Functions of a frame in their order, each with its factor."""
        steps = [(adjust_brightness, np.random.uniform(*self.brightness)),
                 (adjust_contrast, np.random.uniform(*self.contrast)),
                 (adjust_saturation, np.random.uniform(*self.saturation)),
                 (adjust_hue, np.random.uniform(*self.hue))]
        return [steps[place] for place in np.random.permutation(4)]

    def __repr__(self) -> str:
        return (f'{type(self).__name__}(brightness={self.brightness}, '
                f'contrast={self.contrast}, saturation={self.saturation}, '
                f'hue={self.hue}, prob={self.prob}, '
                f'per_frame={self.per_frame})')


@TRANSFORMS.register_module()
class ClipGrayscale(BaseTransform):
    """Take the colour out of a clip, all frames or none.

    Required keys: imgs. Modified keys: imgs.

    Args:
        prob (float): How often. Defaults to 0.2.

    Raises:
        ValueError: If ``prob`` is not a probability.
    """

    def __init__(self, prob: float = 0.2) -> None:
        _check_prob(prob)
        self.prob = prob

    def transform(self, results: dict) -> dict:
        """Turn ``results['imgs']`` grey, still in three channels.

        Args:
            results (dict): A sample of MMAction2.

        Returns:
            dict: The same with new frames.
        """
        if np.random.rand() < self.prob:
            results['imgs'] = map_frames(_gray, results['imgs'])
        return results

    def __repr__(self) -> str:
        return f'{type(self).__name__}(prob={self.prob})'
