"""Videos whose frames carry their number, in any codec and container."""

import struct
import subprocess
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

#: Pixels of a block of the pattern; ten of them are the bits of a number.
BLOCK = 16
COLUMNS, ROWS = 5, 2


def numbered_frame(number: int, height: int = ROWS * BLOCK,
                   width: int = COLUMNS * BLOCK) -> np.ndarray:
    """A picture of ten blocks, light for the bits of a number that are set.

    A few grey levels drift from frame to frame, so that predictions from
    other frames are worth something.
    """
    bits = (number >> np.arange(COLUMNS * ROWS)) & 1
    blocks = np.where(bits, 210, 40).reshape(ROWS, COLUMNS)
    picture = np.kron(blocks, np.ones((height // ROWS, width // COLUMNS)))
    drift = (np.arange(picture.shape[1]) + 3 * number) % 20
    return np.repeat((picture + drift).astype(np.uint8)[..., None], 3, 2)


def number_of(picture: np.ndarray) -> int:
    """The number that a picture carries, from the middle of each block."""
    height, width = picture.shape[0] // ROWS, picture.shape[1] // COLUMNS
    level = picture[height // 2::height, width // 2::width].mean(axis=2)
    return int(((level.reshape(-1) > 130) << np.arange(COLUMNS * ROWS)).sum())


def write_numbered(path: Path, codec: str, total: int = 60, *,
                   options: dict[str, str] | None = None, rate: int = 25,
                   times: Sequence[int] | None = None, first: int = 0,
                   pix_fmt: str = 'yuv420p', container: str | None = None,
                   gop: int | None = None, bframes: int | None = None,
                   size: tuple[int, int] = (ROWS * BLOCK, COLUMNS * BLOCK),
                   tags: tuple[int, int] | None = None) -> Path:
    """Encode frames 0 to ``total - 1``.

    Args:
        path (Path): The suffix chooses the container, if none is named.
        codec (str): FFmpeg's name of the encoder.
        total (int): Number of frames.
        options (dict[str, str] | None): Of the encoder.
        rate (int): Frames per second.
        times (Sequence[int] | None): Time of each frame in 1/``rate`` s, for
            variable frame rates; one after the other if None.
        first (int): Time of the first frame, in the same unit.
        pix_fmt (str): Pixel format.
        container (str | None): FFmpeg's name of the muxer.
        gop (int | None): Frames from a key frame to the next.
        bframes (int | None): B-frames in a row.
        size (tuple[int, int]): Height and width.
        tags (tuple[int, int] | None): Matrix and range of the colours.
    """
    with av.open(str(path), 'w', format=container) as out:
        stream = out.add_stream(codec, rate=rate, options=options or {})
        stream.height, stream.width = size
        stream.pix_fmt = pix_fmt
        stream.time_base = stream.codec_context.time_base = Fraction(1, rate)
        stream.codec_context.thread_count = 1
        if gop is not None:
            stream.codec_context.gop_size = gop
        if bframes is not None:
            stream.codec_context.max_b_frames = bframes
        if tags is not None:
            stream.codec_context.colorspace = tags[0]
            stream.codec_context.color_range = tags[1]
        for number in range(total):
            frame = av.VideoFrame.from_ndarray(
                numbered_frame(number, *size)).reformat(format=pix_fmt)
            frame.pts = first + (number if times is None else times[number])
            frame.time_base = Fraction(1, rate)
            if tags is not None:
                frame.colorspace, frame.color_range = tags
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    return path


def ffmpeg(*arguments: object) -> None:
    """Run the ffmpeg of imageio-ffmpeg."""
    import imageio_ffmpeg
    subprocess.run(
        [imageio_ffmpeg.get_ffmpeg_exe(), '-nostdin', '-v', 'error', '-y',
         *map(str, arguments)], check=True, capture_output=True)


def set_matrix(path: Path, matrix: Sequence[int]) -> Path:
    """Write the display matrix (a, b, c, d) of an MP4's video track."""
    data = bytearray(path.read_bytes())
    start = data.index(b'tkhd') + 4 + 4 + 20 + 16
    a, b, c, d = (value << 16 for value in matrix)
    data[start:start + 36] = struct.pack(
        '>9i', a, b, 0, c, d, 0, 0, 0, 1 << 30)
    path.write_bytes(data)
    return path
