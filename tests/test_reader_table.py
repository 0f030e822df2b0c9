"""What each reader makes of which file: the table of docs/predict.md."""

import contextlib
import importlib.util
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from mmaction.registry import TRANSFORMS
from mmengine.registry import DefaultScope
from numbered_videos import ffmpeg, number_of, set_matrix, write_numbered

DOCUMENT = Path(__file__).resolve().parents[1] / 'docs' / 'predict.md'
READERS = ('Video', 'Decord', 'OpenCV', 'PyAV')
TOTAL, HIDDEN = 60, 8
#: With frames right before a key frame: what open groups go wrong with.
ORDER = [43, 3, 56, 18, 28, 11, 48, 14, 0, 59]
SIZE = (192, 320)

GROUPS = 'keyint=15:min-keyint=15:scenecut=0:bframes=3'
MPEG = dict(gop=15, bframes=2, options={'sc_threshold': '0'})


def trimmed(path: Path) -> list[int]:
    """An MP4 that was cut without encoding it again."""
    whole = write_numbered(path.with_name('whole.mp4'), 'libx264', TOTAL,
                           size=SIZE, options={'x264-params': GROUPS})
    ffmpeg('-ss', HIDDEN / 25 - .02, '-i', whole, '-c', 'copy', path)
    return list(range(HIDDEN, TOTAL))


def covered(path: Path) -> list[int]:
    """A cover picture in front of the video."""
    cover = path.with_name('cover.png')
    cv2.imwrite(str(cover), np.zeros((600, 800, 3), np.uint8))
    whole = write_numbered(path.with_name('whole.mp4'), 'libx264', TOTAL,
                           size=SIZE, options={'x264-params': GROUPS})
    ffmpeg('-i', cover, '-i', whole, '-map', 0, '-map', 1, '-c', 'copy',
           '-disposition:v:0', 'attached_pic', path)
    return list(range(TOTAL))


def two_streams(path: Path) -> list[int]:
    """A small video, and behind it the one that players show."""
    parts = [write_numbered(path.with_name(f'{number}.mp4'), 'libx264',
                            total, size=size,
                            options={'x264-params': GROUPS})
             for number, (total, size) in enumerate((
                 (20, (64, 160)), (TOTAL, SIZE)))]
    ffmpeg('-i', parts[0], '-i', parts[1], '-map', 0, '-map', 1, '-c', 'copy',
           '-disposition:v:0', 0, '-disposition:v:1', 'default', path)
    return list(range(TOTAL))


def mirrored(path: Path) -> list[int]:
    """A display matrix that exchanges left and right."""
    write_numbered(path, 'libx264', TOTAL, size=SIZE,
                   options={'x264-params': GROUPS})
    set_matrix(path, (-1, 0, 0, 1))
    return list(range(TOTAL))


def turned(path: Path) -> list[int]:
    """A quarter turn in Matroska."""
    upright = write_numbered(path.with_name('upright.mp4'), 'libx264', TOTAL,
                             size=SIZE, options={'x264-params': GROUPS})
    ffmpeg('-i', set_matrix(upright, (0, 1, -1, 0)), '-c', 'copy', path)
    return list(range(TOTAL))


def encoded(codec: str, **options: object) -> Callable[[Path], list[int]]:
    """A file of one encoder."""
    def make(path: Path) -> list[int]:
        write_numbered(path, codec, TOTAL, size=SIZE, **options)
        return list(range(TOTAL))
    return make


#: What the table calls a file, its name, and how it is made.
FILES: dict[str, tuple[str, Callable[[Path], list[int]]]] = {
    'H.264 in MP4, closed groups': ('a.mp4', encoded(
        'libx264', options={'x264-params': GROUPS})),
    'H.264 in MP4, open groups': ('a.mp4', encoded(
        'libx264', options={'x264-params': GROUPS + ':open-gop=1'})),
    'H.264, interlaced': ('a.mp4', encoded(
        'libx264', options={'x264-params': GROUPS + ':tff=1'})),
    'MP4 trimmed without encoding': ('a.mp4', trimmed),
    'H.264 in MKV': ('a.mkv', encoded(
        'libx264', options={'x264-params': GROUPS})),
    'HEVC in MP4, open groups': ('a.mp4', encoded(
        'libx265', options={'x265-params': 'keyint=15:min-keyint=15:'
                            'scenecut=0:b-adapt=0:bframes=4:log-level=none:pools=none:frame-threads=1'})),
    'AV1 in MP4': ('a.mp4', encoded('libsvtav1', options={
        'preset': '8', 'crf': '5', 'svtav1-params': 'keyint=15:enable-tf=0'})),
    'VP9 in WebM': ('a.webm', encoded('libvpx-vp9', options={
        'g': '15', 'deadline': 'realtime', 'cpu-used': '8'})),
    'MPEG-4 in AVI with B-frames': ('a.avi', encoded('mpeg4', **MPEG)),
    'MPEG-4 in MP4 with B-frames': ('a.mp4', encoded('mpeg4', **MPEG)),
    'MPEG-2 in a transport stream': ('a.ts', encoded('mpeg2video', **MPEG)),
    'MPEG-1 in a program stream': ('a.mpg', encoded('mpeg1video', **MPEG)),
    'AVI with skipped frames': ('a.avi', encoded(
        'mjpeg', pix_fmt='yuvj420p',
        times=[number + number // 6 for number in range(TOTAL)])),
    '10 bits, HEVC in MP4': ('a.mp4', encoded(
        'libx265', pix_fmt='yuv420p10le', options={
            'x265-params': 'keyint=15:min-keyint=15:open-gop=0:'
                           'log-level=none:pools=none:frame-threads=1'})),
    'two streams, the second the default': ('a.mkv', two_streams),
    'a cover picture first, MKV': ('a.mkv', covered),
    'mirrored by its display matrix': ('a.mp4', mirrored),
    'a quarter turn in MKV': ('a.mkv', turned),
}
#: What is not tried, and what is known of it.
UNTRIED = {('AV1 in MP4', 'OpenCV'): 'refused by us'}
UPRIGHT: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    'mirrored by its display matrix': lambda picture: picture[:, ::-1],
    'a quarter turn in MKV': np.rot90}


def seen(reader: str, path: Path, expected: list[int],
         upright: Callable[[np.ndarray], np.ndarray]) -> str:
    """What a reader makes of a file, in a word or two.

    How many frames are wrong is not said: OpenCV hands out what happens to
    lie in memory.
    """
    with DefaultScope.overwrite_default_scope('mmaction'):
        opens, decodes = (TRANSFORMS.build(dict(type=f'{reader}{step}'))
                          for step in ('Init', 'Decode'))
    places = [place for place in ORDER if place < len(expected)]
    try:
        results = opens.transform(dict(filename=str(path)))
        total = results['total_frames']
        if total <= 0:
            return 'refused'
        pictures = decodes.transform(dict(
            results, frame_inds=np.array(places)))['imgs']
    except Exception:
        return 'refused'
    numbers = [number_of(upright(picture)) for picture in pictures]
    wrong = sum(number != expected[place]
                for number, place in zip(numbers, places, strict=True))
    if wrong:
        return 'wrong'
    return 'right' if total == len(expected) else f'counts {total}'


@contextlib.contextmanager
def quiet() -> None:
    """Nothing on the console; libraries write there by themselves."""
    kept = [os.dup(number) for number in (1, 2)]
    with open(os.devnull, 'w') as nowhere:
        for number in (1, 2):
            os.dup2(nowhere.fileno(), number)
        try:
            yield
        finally:
            for number, old in zip((1, 2), kept, strict=True):
                os.dup2(old, number)
                os.close(old)


def table(folder: Path, readers: tuple[str, ...]) -> dict[str, list[str]]:
    """A row of words for each file."""
    rows = {}
    for place, (title, (name, make)) in enumerate(FILES.items()):
        path = folder / str(place) / name
        path.parent.mkdir()
        with quiet():
            expected = make(path)
            rows[title] = [
                UNTRIED.get((title, reader)) or seen(
                    reader, path, expected, UPRIGHT.get(title, np.asarray))
                for reader in readers]
        shutil.rmtree(path.parent)
    return rows


def documented() -> dict[str, list[str]]:
    """The table of the document."""
    lines = DOCUMENT.read_text(encoding='utf-8').split(
        '| file | VideoInit |')[1].split('\n\n')[0].splitlines()[2:]
    cells = [[cell.strip() for cell in line.strip('|').split('|')]
             for line in lines]
    return {title: row for title, *row in cells}


def test_the_table_of_readers_is_what_they_do(tmp_path):
    readers = READERS
    if importlib.util.find_spec('decord') is None:
        pytest.skip('decord has no wheel for this machine')
    found = table(tmp_path, readers)
    assert documented() == found, '\n'.join(
        f'| {title} | {" | ".join(row)} |' for title, row in found.items())
    assert {row[0] for row in found.values()} == {'right'}
