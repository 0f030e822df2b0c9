"""Read videos with TorchCodec, where it is installed."""

from typing import Any

import numpy as np
from mmaction.registry import TRANSFORMS

from ..video_files import MissingExtraError
from .video_decode import FileOpener, FrameDecoder

__all__ = ['TorchCodecDecode', 'TorchCodecInit']


def _decoder_class() -> Any:
    """TorchCodec's decoder.

    Raises:
        MissingExtraError: If it, or the FFmpeg that it needs, is not there.
    """
    try:
        from torchcodec.decoders import VideoDecoder
    except (ImportError, OSError, RuntimeError) as error:
        # It looks for FFmpeg's libraries while it is imported.
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise MissingExtraError(
            f'TorchCodec cannot be used ({reason}): install the release for '
            "your torch (pip install '.[torchcodec]') and FFmpeg's "
            'libraries, or read with VideoInit and VideoDecode') from error
    return VideoDecoder


@TRANSFORMS.register_module()
class TorchCodecInit(FileOpener):
    """Open a video file with TorchCodec.

    Stands where ``DecordInit`` does. TorchCodec is an extra of this package
    (``pip install '.[torchcodec]'``) and needs the libraries of FFmpeg; it
    is imported when the first video is opened.

    Required keys: ``filename``. Added keys: ``video_reader``,
    ``total_frames``, ``avg_fps``.

    Args:
        io_backend (str): MMEngine's file backend, which takes the other
            arguments. Other than ``'disk'`` the whole file is fetched first.
        num_threads (int): Threads that decode; 0 lets FFmpeg choose.
        seek_mode (str): ``'exact'`` reads through the file once to number
            its frames, ``'approximate'`` trusts its header.
    """

    def __init__(self, io_backend: str = 'disk', num_threads: int = 1,
                 seek_mode: str = 'exact', **kwargs: Any) -> None:
        super().__init__(io_backend, num_threads, **kwargs)
        self.seek_mode = seek_mode

    def transform(self, results: dict) -> dict:
        """Open ``results['filename']``.

        Args:
            results (dict): A sample of MMAction2.

        Returns:
            dict: The same with a reader.

        Raises:
            MissingExtraError: If TorchCodec cannot be used here.
        """
        decoder = _decoder_class()
        reader = decoder(self.fetch(results['filename']),
                         dimension_order='NHWC',
                         num_ffmpeg_threads=self.num_threads,
                         seek_mode=self.seek_mode)
        results['video_reader'] = reader
        results['total_frames'] = len(reader)
        results['avg_fps'] = reader.metadata.average_fps
        return results

    def __repr__(self) -> str:
        return (f'{type(self).__name__}(io_backend={self.io_backend!r}, '
                f'num_threads={self.num_threads}, '
                f'seek_mode={self.seek_mode!r})')


@TRANSFORMS.register_module()
class TorchCodecDecode(FrameDecoder):
    """Decode the frames that were sampled from a ``TorchCodecInit``.

    Required keys: ``video_reader``, ``frame_inds``. Added keys: ``imgs``
    (RGB), ``original_shape``, ``img_shape``. Modified keys:
    ``video_reader``, which becomes None.
    """

    def decode(self, reader: Any, indices: list[int]) -> list[np.ndarray]:
        """Pictures of frames.

        Args:
            reader (Any): TorchCodec's decoder.
            indices (list[int]): Numbers of the frames.

        Returns:
            list[np.ndarray]: ``(H, W, 3)`` RGB, each an array of its own.
        """
        return list(reader.get_frames_at(indices).data.numpy())
