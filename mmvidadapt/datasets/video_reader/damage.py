"""Say what is wrong with a video file, and whose fault it is."""

import errno
import io
import os
import re
import struct
from typing import BinaryIO

__all__ = ['BrokenVideoError', 'REMEDY', 'Source', 'TAIL_BYTES',
           'find_damage', 'first_line', 'is_system_fault']

#: What a video is read from: a path, its bytes, or an open binary file.
Source = str | os.PathLike | bytes | BinaryIO

# Writers disagree on whether the padding of the last chunk is counted.
TAIL_BYTES = 8

REMEDY = ('fetch or encode the file again, or take it out of the list of '
          'videos')

# What a sound file answers on a machine in trouble. FFmpeg gives two of them
# for damaged files, too.
_SYSTEM_ERRNOS = {errno.EMFILE, errno.ENFILE, errno.EACCES, errno.ESTALE,
                  errno.EIO, errno.ENOMEM}
_FFMPEG_DAMAGE = {errno.EIO, errno.ENOMEM}
_SYSTEM_WORDS = ('cuda', 'out of memory', "can't allocate memory",
                 "can't start new thread", 'too many open files')

# The boxes of an MP4 or QuickTime file without which no frame is found.
_MP4_STARTS = (b'ftyp', b'moov', b'mdat', b'wide', b'free', b'skip', b'pnot')
_EBML_MAGIC = b'\x1aE\xdf\xa3'
_MATROSKA_SEGMENT = b'\x18S\x80g'

#: First bytes of what downloads leave behind in place of videos.
_STRANGERS = (
    ((b'\xff\xd8\xff', b'\x89PNG\r\n\x1a\n', b'BM'), 'a picture'),
    ((b'PK\x03\x04', b'\x1f\x8b', b'Rar!\x1a\x07', b'7z\xbc\xaf\x27\x1c',
      b'BZh', b'\xfd7zXZ\x00'), 'an archive, to be unpacked'),
    ((b'#EXTM3U', b'ffconcat'), 'a playlist, which only names videos'),
    ((b'%PDF-', ), 'a PDF document'),
    ((b'version https://git-lfs', ),
     'a pointer of Git LFS, which git lfs pull replaces by the file'),
)
_RIFF_STRANGERS = {b'WEBP': 'a picture', b'WAVE': 'sound'}
#: Videos that begin as texts do: raw frames, and NUT.
_TEXT_STARTS = (b'YUV4MPEG2', b'nut/multimedia')
_TEXT = re.compile(rb'[\t\n\r -~]+')
_PAGE = re.compile(rb'\s*(<!doctype html|<html|<\?xml|<head|<body)', re.I)


class BrokenVideoError(RuntimeError):
    """A video file that cannot be read; the message names it and why.

    Args:
        message (str): What is wrong and what to do. A data loader's worker
            hands an error over by this argument alone.
        path (str): The file. Defaults to ''.
    """

    def __init__(self, message: str, path: str = '') -> None:
        super().__init__(message)
        self.path = path


def find_damage(source: Source) -> str | None:
    """Say what is wrong with a video file, judged by its own header.

    Reads a few bytes and decodes nothing. MP4/MOV, AVI and Matroska/WebM
    announce their length; of other containers only existence and size are
    checked. Web pages, pictures and archives are told by their first bytes.

    Args:
        source (Source): Path of a file on the local disk, its bytes, or an
            open binary file, which is rewound.

    Returns:
        str or None: What is wrong, without the file's name; ``None`` where
        nothing is seen to be wrong.

    Raises:
        OSError: If the system cannot say, for example for want of
            permission.
    """
    if isinstance(source, bytes):
        source = io.BytesIO(source)
    elif isinstance(source, (str, os.PathLike)):
        if os.path.islink(source) and not os.path.exists(source):
            return ('is a link to a file that does not exist: '
                    f'{os.path.realpath(source)}')
        try:
            os.stat(source)
        except (FileNotFoundError, NotADirectoryError):
            return 'does not exist'
        if not os.path.isfile(source):
            return 'is not a file'
        with open(source, 'rb') as file:
            return find_damage(file)
    size = source.seek(0, os.SEEK_END)
    source.seek(0)
    if size == 0:
        return 'is empty (zero bytes)'
    try:
        return _find_damage(source, size)
    finally:
        source.seek(0)


def _find_damage(file: BinaryIO, size: int) -> str | None:
    """What a file of some size says of itself."""
    head = file.read(512)
    for starts, kind in _STRANGERS:
        if head.startswith(starts):
            return f'is no video but {kind}'
    if head[:4] == b'RIFF' and head[8:12] in _RIFF_STRANGERS:
        return f'is no video but {_RIFF_STRANGERS[head[8:12]]}'
    if _PAGE.match(head):
        return ('is no video but a web page: its address needs a login, or '
                'the video is gone')
    if _TEXT.fullmatch(head) and not head.startswith(_TEXT_STARTS):
        start = ' '.join(head.decode('ascii').split())[:40]
        return f'is no video but a text ({start!r} ...)'
    announced, missing = None, None
    if head[:4] == b'RIFF' and len(head) >= 12:
        announced = struct.unpack('<I', head[4:8])[0] + 8
    elif head[:4] == _EBML_MAGIC:
        announced = _matroska_size(file)
    elif head[4:8] in _MP4_STARTS:
        announced, missing = _mp4_size(file, size)
    if announced is not None and announced > size + TAIL_BYTES:
        return (f'is truncated: its header announces {announced} bytes, the '
                f'file has {size}')
    return missing


def _mp4_size(file: BinaryIO, size: int) -> tuple[int | None, str | None]:
    """End of the last top-level box, and whether the index is missing."""
    start, kinds = 0, set()
    while start + 8 <= size:
        file.seek(start)
        length, kind = struct.unpack('>I4s', file.read(8))
        if not all(32 <= letter < 127 for letter in kind):
            return None, None  # not a box: trailing bytes of some writers
        kinds.add(kind)
        if length == 0:
            start = size  # the box runs to the end of the file
            break
        if length == 1:
            extended = file.read(8)
            if len(extended) < 8:
                return start + 16, None
            length = struct.unpack('>Q', extended)[0]
        if length < 8:
            return None, None
        start += length
    if b'moov' in kinds or b'moof' in kinds:
        return start, None
    return start, ('has no index of its frames (no moov box): its recording '
                   'or download ended too early')


def _matroska_size(file: BinaryIO) -> int | None:
    """End of the segment that follows the EBML head."""
    file.seek(4)
    length = _ebml_number(file)
    if length is None:
        return None
    file.seek(length, os.SEEK_CUR)
    if file.read(4) != _MATROSKA_SEGMENT:
        return None
    length = _ebml_number(file)
    return None if length is None else file.tell() + length


def _ebml_number(file: BinaryIO) -> int | None:
    """Read a variable-length number; ``None`` for "unknown" or at the end."""
    first = file.read(1)
    if not first or first[0] == 0:
        return None
    width = 9 - first[0].bit_length()
    rest = file.read(width - 1)
    if len(rest) < width - 1:
        return None
    value = int.from_bytes(first + rest, 'big') & ((1 << 7 * width) - 1)
    return None if value == (1 << 7 * width) - 1 else value


def is_system_fault(error: BaseException) -> bool:
    """Whether an error is about the machine rather than about the file."""
    if isinstance(error, OSError):
        by_ffmpeg = type(error).__module__.partition('.')[0] == 'av'
        return error.errno in (_SYSTEM_ERRNOS - _FFMPEG_DAMAGE if by_ffmpeg
                               else _SYSTEM_ERRNOS)
    text = str(error).lower()
    return any(words in text for words in _SYSTEM_WORDS)


def first_line(error: BaseException) -> str:
    """The error's message, cut to one line of bearable length.

    Decord puts the time and a line of its source before what it says.
    """
    text = str(error).strip() or type(error).__name__
    return re.sub(r'\[[\d:]+\] \S+:\d+: ', '', text.splitlines()[0])[:160]


