"""Frames that are asked for twice, decoded once and handed out apart.

Windows around sampled frames, several clips and short videos ask for a frame
more than once. MMAction2's ``PyAVDecode`` then hands out one array in
several places, and ``Flip``, which works in place, turns it as often;
``OpenCVDecode`` walks back in the file and decodes the frame again.
``DecordDecode`` and ``RawFrameDecode`` do neither.

``PyAVDecode`` also keeps each frame up to the last one asked for as a picture,
gigabytes of a long video, and leaves the videos of phones on their side, which
decord and OpenCV turn upright.
"""

from collections.abc import Callable, Iterator
from functools import wraps
from typing import Any

import numpy as np


class _Probe:
    """A reader of two tiny frames that counts what is read from it.

    It answers as PyAV's container, frame and colour conversion, and as
    mmcv's ``VideoReader``.
    """

    def __init__(self) -> None:
        self.reads = 0

    def decode(self, video: int) -> Iterator['_Probe']:
        return iter((self, self))

    def to_rgb(self) -> '_Probe':
        return self

    def to_ndarray(self) -> np.ndarray:
        return np.zeros((1, 1, 3), dtype=np.uint8)

    def __getitem__(self, index: int) -> np.ndarray:
        self.reads += 1
        return self.to_ndarray()


def _ask_thrice(decoder: Any) -> tuple[list[np.ndarray], int]:
    """Decode frames 1, 0, 1 of a probe: the frames and the reads."""
    probe = _Probe()
    results = decoder.transform(dict(
        video_reader=probe, frame_inds=np.array([1, 0, 1])))
    return results['imgs'], probe.reads


def pyav_needed() -> bool:
    """Return whether ``PyAVDecode`` hands out one array twice."""
    from mmaction.datasets.transforms.loading import PyAVDecode
    imgs, _ = _ask_thrice(PyAVDecode())
    return np.shares_memory(imgs[0], imgs[2])


def opencv_needed() -> bool:
    """Return whether ``OpenCVDecode`` asks for a frame twice."""
    from mmaction.datasets.transforms.loading import OpenCVDecode
    return _ask_thrice(OpenCVDecode())[1] > 2


def pyav_mend() -> None:
    """Let ``PyAVDecode`` hand out each frame upright, as an own array."""
    from mmaction.datasets.transforms.loading import PyAVDecode
    PyAVDecode.transform = _each_once(_upright(PyAVDecode.transform))


def opencv_mend() -> None:
    """Let ``OpenCVDecode`` ask for each frame once, in order."""
    from mmaction.datasets.transforms.loading import OpenCVDecode
    OpenCVDecode.transform = _each_once(OpenCVDecode.transform)


class _Picture:
    """A frame that is made a picture once, however often it is asked."""

    def __init__(self, frame: Any) -> None:
        self._frame = frame
        self._picture: np.ndarray | None = None

    def to_rgb(self) -> '_Picture':
        return self

    def to_ndarray(self) -> np.ndarray:
        if self._picture is None:
            self._picture = self._frame.to_rgb().to_ndarray()
        return self._picture


class _Wanted:
    """A PyAV container whose other frames share the picture of the first.

    MMAction2 lets early frames stand in for those that are missing at the
    end; then it is always the first one that does.
    """

    def __init__(self, container: Any, inds: np.ndarray) -> None:
        self._container = container
        self._wanted = set(inds.tolist())
        self.quarters = 0  # turns to the left

    def __getattr__(self, name: str) -> Any:
        return getattr(self._container, name)

    def decode(self, *args: Any, **kwargs: Any) -> Iterator[Any]:
        for number, frame in enumerate(
                self._container.decode(*args, **kwargs)):
            if not number:
                self.quarters = round(getattr(frame, 'rotation', 0) / 90)
                first = _Picture(frame)
            yield frame if number in self._wanted else first


def _upright(old_transform: Callable[[Any, dict], dict]
             ) -> Callable[[Any, dict], dict]:
    """Keep the frames that are asked for, as the file says to show them."""

    @wraps(old_transform)
    def transform(self: Any, results: dict) -> dict:
        reader = _Wanted(results['video_reader'], results['frame_inds'])
        results = old_transform(self, dict(results, video_reader=reader))
        # Copied, because what stands in for missing frames is one array.
        results['imgs'] = [np.rot90(img, reader.quarters).copy()
                           for img in results['imgs']]
        results['original_shape'] = results['img_shape'] = (
            results['imgs'][0].shape[:2])
        return results

    return transform


def _each_once(old_transform: Callable[[Any, dict], dict]
               ) -> Callable[[Any, dict], dict]:
    """Decode distinct frames in order, then deal them out."""

    @wraps(old_transform)
    def transform(self: Any, results: dict) -> dict:
        inds = np.asarray(results['frame_inds']).reshape(-1)
        distinct, places = np.unique(inds, return_inverse=True)
        results = old_transform(self, dict(results, frame_inds=distinct))
        imgs = results['imgs']
        dealt: set[int] = set()
        results['imgs'] = []
        for place in places.tolist():
            results['imgs'].append(
                imgs[place].copy() if place in dealt else imgs[place])
            dealt.add(place)
        results['frame_inds'] = inds
        return results

    return transform
