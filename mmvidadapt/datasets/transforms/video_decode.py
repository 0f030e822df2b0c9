"""Read videos with this package's own reader."""

from abc import abstractmethod
from typing import Any

import numpy as np
from mmaction.registry import TRANSFORMS
from mmcv.transforms import BaseTransform
from mmengine.fileio import get

from ..video_reader import VideoReader
from ..video_reader.reader import check_seconds

__all__ = ['FileOpener', 'FrameDecoder', 'VideoDecode', 'VideoInit']


class FileOpener(BaseTransform):
    """What the transforms that open a video file share.

    Args:
        io_backend (str): MMEngine's file backend, which takes the other
            arguments. Other than ``'disk'`` the whole file is fetched first.
        num_threads (int): Threads that decode; 0 lets FFmpeg choose.

    Raises:
        ValueError: If ``num_threads`` is negative.
    """

    def __init__(self, io_backend: str = 'disk', num_threads: int = 1,
                 **kwargs: Any) -> None:
        if num_threads < 0:
            raise ValueError(f'num_threads is {num_threads}: give 1 or more, '
                             'or 0 to let FFmpeg choose.')
        self.io_backend = io_backend
        self.num_threads = num_threads
        self.kwargs = kwargs

    def fetch(self, name: str) -> str | bytes:
        """Path of a file on this disk, or what a backend holds of it.

        Args:
            name (str): The file as the backend knows it.

        Returns:
            str | bytes: What a reader opens.
        """
        if self.io_backend == 'disk':
            return name
        return get(name, dict(backend=self.io_backend, **self.kwargs))


class FrameDecoder(BaseTransform):
    """What the transforms that decode frames of an open file share."""

    @abstractmethod
    def decode(self, reader: Any, indices: list[int]) -> list[np.ndarray]:
        """Pictures of frames.

        Args:
            reader (Any): What opened the file.
            indices (list[int]): Numbers of the frames.

        Returns:
            list[np.ndarray]: ``(H, W, 3)`` RGB, each an array of its own.
        """

    def transform(self, results: dict) -> dict:
        """Decode ``results['frame_inds']``.

        Args:
            results (dict): A sample of MMAction2.

        Returns:
            dict: The same with pictures, each an array of its own.

        Raises:
            BrokenVideoError: If a frame cannot be decoded.
            IndexError: If a frame lies outside the video.
        """
        inds = np.asarray(results['frame_inds']).reshape(-1)
        images = self.decode(results['video_reader'], inds.tolist())
        results['video_reader'] = None
        results['frame_inds'] = inds
        results['imgs'] = images
        results['original_shape'] = results['img_shape'] = images[0].shape[:2]
        return results

    def __repr__(self) -> str:
        return f'{type(self).__name__}()'


@TRANSFORMS.register_module()
class VideoInit(FileOpener):
    """Open a video with :class:`~mmvidadapt.datasets.VideoReader`.

    Stands where ``DecordInit`` does; any sampler may follow. Frame ``k`` is
    the k-th frame that a player shows.

    Required keys: ``filename``. Added keys: ``video_reader``,
    ``total_frames``, ``avg_fps``.

    Args:
        io_backend (str): MMEngine's file backend, which takes the other
            arguments. Other than ``'disk'`` the whole file is fetched first.
        num_threads (int): Threads that decode; 0 lets FFmpeg choose.
        max_seconds (float): Seconds that opening a file, and decoding its
            frames, may take each before the file counts as broken.

    Raises:
        ValueError: If ``max_seconds`` is not positive or ``num_threads`` is
            negative.
    """

    def __init__(self, io_backend: str = 'disk', num_threads: int = 1,
                 max_seconds: float = 300., **kwargs: Any) -> None:
        super().__init__(io_backend, num_threads, **kwargs)
        self.max_seconds = check_seconds(max_seconds)

    def transform(self, results: dict) -> dict:
        """Open ``results['filename']``.

        Args:
            results (dict): A sample of MMAction2.

        Returns:
            dict: The same with a reader.

        Raises:
            BrokenVideoError: If it is no video that can be read.
        """
        name = results['filename']
        reader = VideoReader(
            self.fetch(name), num_threads=self.num_threads,
            max_seconds=self.max_seconds, name=str(name))
        results['video_reader'] = reader
        results['total_frames'] = reader.total_frames
        results['avg_fps'] = reader.avg_fps
        return results

    def __repr__(self) -> str:
        return (f'{type(self).__name__}(io_backend={self.io_backend!r}, '
                f'num_threads={self.num_threads}, '
                f'max_seconds={self.max_seconds})')


@TRANSFORMS.register_module()
class VideoDecode(FrameDecoder):
    """Decode the frames that were sampled from a ``VideoInit``.

    Only these frames are made pictures, each distinct one once.

    Required keys: ``video_reader``, ``frame_inds``. Added keys: ``imgs``
    (RGB), ``original_shape``, ``img_shape``. Modified keys:
    ``video_reader``, which becomes None, and ``frame_inds``, which becomes
    flat.
    """

    def decode(self, reader: Any, indices: list[int]) -> list[np.ndarray]:
        """Pictures of frames.

        Args:
            reader (Any): A :class:`~mmvidadapt.datasets.VideoReader`.
            indices (list[int]): Numbers of the frames.

        Returns:
            list[np.ndarray]: ``(H, W, 3)`` RGB, each an array of its own.
        """
        return reader.read(indices)
