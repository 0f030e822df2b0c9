"""From a decoded frame to an upright RGB picture: the one colour rule.

Matrix and range are those that the stream is tagged with; without a tag, or
with one that swscale does not know, BT.601 and limited range. Pictures of more
than 8 bits a sample are rounded to 8 first, plane by plane:
``(value + half) >> shift``, at most 255. FFmpeg's swscale then converts, with
bicubic interpolation of the colour planes and no other flag, on one thread.
Interlaced frames stay woven, pixels that are not square stay as they are
stored, and what a container says of cropping does not count.
"""

import struct
from typing import Any

import numpy as np

__all__ = ['Painter', 'display_matrix', 'turn']

# FFmpeg's numbers of what a stream may be tagged with, and its scaler's.
_BT601 = 5
#: BT.709, FCC, BT.601 twice, SMPTE 240M and BT.2020: what swscale knows.
_MATRICES = frozenset((1, 4, 5, 6, 7, 9))
_EIGHT_BITS = {'yuv420p': 'yuv420p', 'yuv422p': 'yuv422p',
               'yuv444p': 'yuv444p', 'yuv440p': 'yuv440p', 'gbrp': 'gbrp',
               'gray': 'gray', 'yuva420p': 'yuv420p', 'yuva422p': 'yuv422p',
               'yuva444p': 'yuv444p', 'gbrap': 'gbrp'}


class Painter:
    """Turn frames of one stream into RGB pictures of one size.

    Args:
        width (int): Pixels of a row as stored, before any rotation.
        height (int): Rows as stored. A frame of another size, in a stream
            that changes midway, is scaled to this one.
    """

    def __init__(self, width: int, height: int) -> None:
        from av.video.reformatter import VideoReformatter
        self._size = width, height
        self._reformatter = VideoReformatter()

    def paint(self, frame: Any) -> np.ndarray:
        """Make a picture of a frame.

        Args:
            frame (Any): Of PyAV.

        Returns:
            np.ndarray: ``(H, W, 3)`` uint8 RGB, upright, its own memory.
        """
        matrix = display_matrix(frame)
        space, span = frame.colorspace, frame.color_range
        if _depth(frame) > 8 and 'f' not in frame.format.name:  # no floats
            frame = _round(frame)
        if space not in _MATRICES and not frame.format.is_rgb:
            space = _BT601
        rgb = self._reformatter.reformat(
            frame, *self._size, format='rgb24', interpolation='BICUBIC',
            src_colorspace=space, src_color_range=span, threads=1)
        return np.ascontiguousarray(turn(rgb.to_ndarray(), matrix))


def _depth(frame: Any) -> int:
    """Bits of the deepest component."""
    return max(part.bits for part in frame.format.components)


def _round(frame: Any) -> Any:
    """The same frame with 8 bits a sample, rounded to the nearest value."""
    from av import VideoFrame
    name, depth = frame.format.name, _depth(frame)
    family = name.removesuffix('le').rstrip('0123456789')
    if family not in _EIGHT_BITS or not name.endswith('le'):
        # Another arrangement of the same samples, as in p010 or y210.
        chroma = ('gray' if len(frame.format.components) < 3 else
                  'gbrp' if frame.format.is_rgb else
                  f'yuv{_subsampling(frame.format)}p')
        family, depth = chroma, max(depth, 10)
        name = f'{chroma}{depth}le'
        frame = frame.reformat(format=name)
    target = VideoFrame(frame.width, frame.height, _EIGHT_BITS[family])
    shift = depth - 8
    # A plane of transparency, the last one, has no place in the target.
    for source, plane in zip(frame.planes, target.planes, strict=False):
        deep = np.frombuffer(source, np.uint16).reshape(
            -1, source.line_size // 2)[:source.height, :source.width]
        rows = np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)
        rows[:plane.height, :plane.width] = np.minimum(
            (deep.astype(np.uint32) + (1 << shift >> 1)) >> shift, 255)
    target.colorspace, target.color_range = (
        frame.colorspace, frame.color_range)
    return target


def _subsampling(layout: Any) -> str:
    """``'420'``, ``'422'`` or ``'444'``."""
    wide = layout.chroma_width(64) * layout.chroma_height(64)
    return {32 * 32: '420', 32 * 64: '422'}.get(wide, '444')


def display_matrix(frame: Any) -> tuple[int, int, int, int] | None:
    """Where the axes of a picture point on the display, if that is said.

    Args:
        frame (Any): Of PyAV.

    Returns:
        tuple[int, int, int, int] | None: ``a, b, c, d`` of ISO/IEC 14496-12,
        6.2.2: ``x' = a x + c y``, ``y' = b x + d y``, rows counted downwards.
    """
    data = frame.side_data.get('DISPLAYMATRIX')
    if data is None:
        return None
    a, b, _, c, d = struct.unpack('=5i', bytes(data)[:20])
    return a, b, c, d


def turn(picture: np.ndarray,
          matrix: tuple[int, int, int, int] | None) -> np.ndarray:
    """Rotate and mirror by the nearest multiple of a right angle.

    Args:
        picture (np.ndarray): ``(H, W, C)``.
        matrix (tuple[int, int, int, int] | None): What
            :func:`display_matrix` says.

    Returns:
        np.ndarray: A view.
    """
    if matrix is None:
        return picture
    a, b, c, d = matrix
    if abs(a) + abs(d) < abs(b) + abs(c):  # rows become columns
        picture = picture.transpose(1, 0, 2)
        a, d = c, b
    if a < 0:
        picture = picture[:, ::-1]
    return picture[::-1] if d < 0 else picture
