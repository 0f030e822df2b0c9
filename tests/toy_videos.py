"""Small video files for tests, sound ones and broken ones."""

import struct
from pathlib import Path

import cv2
import numpy as np


def write_video(path: Path, num_frames: int = 20,
                size: tuple[int, int] = (64, 48)) -> Path:
    """Encode a moving gradient with OpenCV.

    Args:
        path (Path): File to write; ``.mp4`` or ``.avi``.
        num_frames (int): Number of frames.
        size (tuple[int, int]): Width and height.

    Returns:
        Path: ``path``.
    """
    code = 'mp4v' if path.suffix == '.mp4' else 'MJPG'
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*code), 25,
                             size)
    assert writer.isOpened()
    columns = np.arange(size[0])[None, :, None]
    for frame in range(num_frames):
        image = (columns * 3 + frame * 9 + np.arange(3) * 40) % 256
        image = np.broadcast_to(image, (size[1], size[0], 3))
        writer.write(np.ascontiguousarray(image, dtype=np.uint8))
    writer.release()
    return path


def cut(source: Path, target: Path, share: float,
        same_size: bool = False) -> Path:
    """Copy the first part of a file.

    Args:
        source (Path): A sound file.
        target (Path): The file to write.
        share (float): Part of the bytes to keep.
        same_size (bool): Fill up with zeros, so that the size no longer
            shows the damage.

    Returns:
        Path: ``target``.
    """
    data = source.read_bytes()
    kept = data[:int(share * len(data))]
    filling = b'\0' * (len(data) - len(kept)) if same_size else b''
    target.write_bytes(kept + filling)
    return target


def index_first(source: Path, target: Path) -> Path:
    """Move the index of an MP4 file (``moov``) before its data.

    Then a file that is cut short still opens, as after a broken download.

    Args:
        source (Path): An MP4 file with ``moov`` as its last box.
        target (Path): The file to write.

    Returns:
        Path: ``target``.
    """
    data = source.read_bytes()
    boxes, start = [], 0
    while start < len(data):
        length, kind = struct.unpack('>I4s', data[start:start + 8])
        boxes.append((kind, data[start:start + length]))
        start += length
    assert [boxes[0][0], boxes[-1][0]] == [b'ftyp', b'moov']
    index = bytearray(boxes[-1][1])
    place = index.find(b'stco')
    while place >= 0:  # the chunks lie further back by the index's length
        count = struct.unpack('>I', index[place + 8:place + 12])[0]
        for entry in range(place + 12, place + 12 + 4 * count, 4):
            offset = struct.unpack('>I', index[entry:entry + 4])[0]
            index[entry:entry + 4] = struct.pack('>I', offset + len(index))
        place = index.find(b'stco', place + 4)
    target.write_bytes(boxes[0][1] + bytes(index)
                       + b''.join(box for _, box in boxes[1:-1]))
    return target


def turned(source: Path, target: Path) -> Path:
    """Copy an MP4 file that says, as those of phones do, to turn its frames.

    Args:
        source (Path): A sound file.
        target (Path): The file to write: to be shown a quarter to the right.

    Returns:
        Path: ``target``.
    """
    data = bytearray(source.read_bytes())
    start = data.index(b'tkhd') + 44  # the matrix, of version 0
    assert not data[start - 40]
    data[start:start + 36] = struct.pack(
        '>9i', 0, 1 << 16, 0, -1 << 16, 0, 0, 0, 0, 1 << 30)
    target.write_bytes(data)
    return target
