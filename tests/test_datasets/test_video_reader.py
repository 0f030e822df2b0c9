"""The frame that was asked for, from any file.

Most files are made here; each frame carries its number.
"""

import contextlib
import errno
import io
import os
import random
import re
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import av
import cv2
import numpy as np
import pytest
from av.stream import Disposition
from numbered_videos import (
    ffmpeg,
    number_of,
    numbered_frame,
    set_matrix,
    write_numbered,
)

from mmvidadapt.datasets import BrokenVideoError, VideoReader
from mmvidadapt.datasets.video_reader import packets as packets_module
from mmvidadapt.datasets.video_reader import pictures, reader
from mmvidadapt.datasets.video_reader.packets import (
    Packet,
    find_order,
    find_starts,
)

ROOT = Path(__file__).resolve().parents[2]
TOTAL = 60
GROUP = 15
LARGE = (192, 320)

os.environ['SVT_LOG'] = '0'  # the encoder of AV1 speaks to the console


def x264(extra: str = '') -> dict:
    """Options of an H.264 file with B-frames and several groups."""
    return dict(options={'x264-params': (
        f'keyint={GROUP}:min-keyint={GROUP}:scenecut=0:bframes=3:'
        f'b-pyramid=2{extra}')})


def x265(open_groups: bool) -> dict:
    """Options of an HEVC file; open groups are the encoder's default."""
    return dict(options={'x265-params': (
        f'keyint={GROUP}:min-keyint={GROUP}:bframes=4:log-level=none:'
        f'open-gop={int(open_groups)}:pools=none:frame-threads=1')})


CLOSED, OPEN = x264(), x264(':open-gop=1')
MPEG = dict(gop=GROUP, bframes=2, options={'sc_threshold': '0'})
VPX = dict(options={'g': str(GROUP), 'deadline': 'realtime', 'cpu-used': '8'})
#: With frames that are stored for reference only and never shown.
HIDDEN = dict(options={'g': str(GROUP), 'auto-alt-ref': '1',
                       'lag-in-frames': '12', 'cpu-used': '8'})
AV1 = dict(options={'preset': '10', 'crf': '15', 'svtav1-params': (
    f'keyint={GROUP}:enable-tf=0')})

FORMATS = {
    'closed': ('libx264', CLOSED, 'mp4 mov mkv ts flv avi'),
    'open': ('libx264', OPEN, 'mp4 mov mkv ts avi'),
    'refresh': ('libx264', x264(':intra-refresh=1'), 'mp4 ts'),
    'interlaced': ('libx264', x264(':tff=1'), 'mp4 mkv ts'),
    'hevc': ('libx265', x265(False), 'mp4 mkv ts'),
    'hevc open': ('libx265', x265(True), 'mp4 mov mkv ts'),
    'hevc layers': ('libx265', dict(options={'x265-params': (
        'keyint=20:temporal-layers=3:bframes=4:b-adapt=0:log-level=none')}),
        'mp4'),
    'av1': ('libsvtav1', AV1, 'mp4 mkv webm'),
    'vp9': ('libvpx-vp9', VPX, 'mp4 mkv webm'),
    'vp9 hidden': ('libvpx-vp9', HIDDEN, 'webm'),
    'vp8': ('libvpx', VPX, 'mkv webm'),
    'vp8 hidden': ('libvpx', HIDDEN, 'webm'),
    'mpeg1': ('mpeg1video', MPEG, 'mpg ts mkv avi'),
    'mpeg2': ('mpeg2video', MPEG, 'mpg ts mkv avi mp4 mov'),
    'mpeg2 interlaced': ('mpeg2video', dict(MPEG, options={
        'flags': '+ildct+ilme'}), 'mpg'),
    'mpeg4': ('mpeg4', dict(MPEG, size=LARGE), 'mp4 mov mkv avi ts'),
    # So small that packets might hold nothing to show.
    'mpeg4 small': ('mpeg4', MPEG, 'mp4 avi'),
    'wmv2': ('wmv2', dict(gop=GROUP), 'avi wmv'),
    'msmpeg4': ('msmpeg4', dict(gop=GROUP), 'avi mkv wmv'),
    'mjpeg': ('mjpeg', dict(pix_fmt='yuvj420p'), 'avi mkv mov mp4'),
    'prores': ('prores_ks', dict(pix_fmt='yuv422p10le'), 'mov mkv'),
    'h264 10 bits': ('libx264', dict(CLOSED, pix_fmt='yuv420p10le'), 'mp4'),
}
CASES = [(name, suffix) for name, (_, _, suffixes) in FORMATS.items()
         for suffix in suffixes.split()]


def check(source: object, expected: list[int],
          upright: Callable[[np.ndarray], np.ndarray] = lambda x: x,
          at_once: bool = True) -> None:
    """All frames in order, and any frames in any order, with repeats."""
    video = VideoReader(source)
    if at_once:
        video._come_out = at_first_go(video._come_out)
    assert len(video) == video.total_frames == len(video.times)
    assert [number_of(upright(picture)) for picture in video] == expected
    draw = random.Random(0)
    for _ in range(5):
        indices = [draw.randrange(len(expected)) for _ in range(4)]
        indices += [0, len(expected) - 1, indices[0]]
        found = video.read(indices)
        assert [number_of(upright(picture)) for picture in found] == [
            expected[index] for index in indices]
    assert (np.diff(video.times) > 0).all() and video.times[0] == 0


def at_first_go(frames: Callable) -> Callable:
    """Decode what was planned; nothing is to be looked for from the start."""
    def first_go(wanted: list[int], from_start: bool = False):
        assert not from_start
        return frames(wanted)
    return first_go


@pytest.mark.parametrize('name, suffix', CASES)
def test_frames_are_those_asked_for_in_every_format(name, suffix, tmp_path):
    codec, options, _ = FORMATS[name]
    path = write_numbered(tmp_path / f'a.{suffix}', codec, TOTAL, **options)
    # With intra refresh no frame is a key frame; files call some so.
    check(path, list(range(TOTAL)), at_once=name != 'refresh')
    assert VideoReader(path).avg_fps == pytest.approx(25)


# -- what containers say of time and place ---------------------------------


@pytest.fixture(scope='module')
def files(tmp_path_factory) -> dict[str, Path]:
    """Files that others are made of."""
    folder = tmp_path_factory.mktemp('files')
    return {name: write_numbered(folder / f'{name}.{suffix}', codec, TOTAL,
                                 **options)
            for name, suffix, codec, options in (
                ('closed', 'mp4', 'libx264', CLOSED),
                ('open', 'mp4', 'libx264', OPEN),
                ('stream', 'ts', 'libx264', CLOSED),
                ('open_stream', 'ts', 'libx264', OPEN),
                ('program', 'mpg', 'mpeg2video', dict(MPEG, size=LARGE)),
                ('mpeg4', 'avi', 'mpeg4', dict(MPEG, size=LARGE)))}


@pytest.mark.parametrize('name, start, first', [
    ('closed', '0.3', 8), ('closed', '1.3', 33), ('open', '1.3', 33)])
@pytest.mark.parametrize('suffix', ['mp4', 'mov'])
def test_an_edit_list_hides_frames(name, start, first, suffix, files,
                                   tmp_path):
    path = tmp_path / f'trimmed.{suffix}'
    ffmpeg('-ss', start, '-i', files[name], '-c', 'copy', path)
    check(path, list(range(first, TOTAL)))
    assert len(VideoReader(path)._packets) > TOTAL - first


def test_a_fragmented_file_is_read(files, tmp_path):
    path = tmp_path / 'fragments.mp4'
    ffmpeg('-i', files['closed'], '-c', 'copy', '-movflags',
           'frag_keyframe+empty_moov', path)
    check(path, list(range(TOTAL)))


@pytest.mark.parametrize('suffix', ['mp4', 'mkv', 'ts', 'flv'])
def test_a_video_that_starts_late_starts_at_frame_0(suffix, tmp_path):
    path = write_numbered(tmp_path / f'late.{suffix}', 'libx264', TOTAL,
                          first=1000, **CLOSED)
    check(path, list(range(TOTAL)))
    assert VideoReader(path).avg_fps == pytest.approx(25)


TICKS = np.cumsum([0] + [1 + k % 3 for k in range(TOTAL - 1)]).tolist()


@pytest.mark.parametrize('suffix, codec, options', [
    ('mp4', 'libx264', CLOSED), ('mkv', 'libx264', OPEN),
    ('ts', 'libx264', CLOSED),
    ('avi', 'mjpeg', dict(pix_fmt='yuvj420p')),  # by skipped frames
    ('avi', 'mpeg4', dict(gop=GROUP, bframes=0, size=LARGE))])
def test_times_are_those_of_a_variable_rate(suffix, codec, options, tmp_path):
    path = write_numbered(tmp_path / f'a.{suffix}', codec, TOTAL,
                          times=TICKS, **options)
    check(path, list(range(TOTAL)))
    video = VideoReader(path)
    assert video.times == pytest.approx(np.array(TICKS) / 25, abs=2e-3)
    # The last frame lasts as long as it says, or as long as the others.
    least, most = TOTAL / (TICKS[-1] + 4), TOTAL / (TICKS[-1] + 1)
    assert 25 * least - .01 <= video.avg_fps <= 25 * most + .01


def test_a_trimmed_interlaced_file_is_no_file_of_fields(tmp_path):
    path = write_numbered(tmp_path / 'a.mp4', 'libx264', TOTAL,
                          **x264(':tff=1'))
    ffmpeg('-ss', '0.3', '-i', path, '-c', 'copy', tmp_path / 'trimmed.mp4')
    check(tmp_path / 'trimmed.mp4', list(range(8, TOTAL)))
    assert VideoReader(tmp_path / 'trimmed.mp4').avg_fps == 25


def test_lost_packets_are_concealed_alike_whatever_is_asked_for(tmp_path):
    whole = tmp_path / 'whole.ts'
    ffmpeg('-f', 'lavfi', '-i', 'testsrc2=s=160x96:r=25:d=2', '-c:v',
           'libx264', '-g', 25, '-bf', 3, whole)
    data = whole.read_bytes()
    blocks = [data[start:start + 188] for start in range(0, len(data), 188)]
    del blocks[len(blocks) // 3:len(blocks) // 3 + 8]
    path = tmp_path / 'lossy.ts'
    path.write_bytes(b''.join(blocks))
    together = list(VideoReader(path))
    assert len(together) > 40
    for index, picture in enumerate(together):
        assert np.array_equal(VideoReader(path).read([index])[0], picture)


@pytest.mark.parametrize('name', ['stream', 'program'])
def test_joined_streams_are_read_on(name, files, tmp_path):
    path = tmp_path / f'joined{files[name].suffix}'
    path.write_bytes(2 * files[name].read_bytes())
    check(path, 2 * list(range(TOTAL)))


@pytest.mark.parametrize('name', ['stream', 'open_stream', 'program'])
@pytest.mark.parametrize('part', ['middle', 'start'])
def test_a_part_of_a_stream_shows_what_a_player_shows(name, part, files,
                                                      tmp_path):
    data = files[name].read_bytes()
    block = 188 if files[name].suffix == '.ts' else 2048
    place = -(-len(data) // block // 3) * block
    path = tmp_path / f'part{files[name].suffix}'
    path.write_bytes(data[place:] if part == 'middle' else
                     data[:2 * place + block // 4])
    shown = played(path)
    assert 10 < len(shown) < TOTAL
    check(path, shown)


def played(path: Path) -> list[int]:
    """Numbers of the frames that come out of the decoder in order."""
    shown = []
    with av.open(str(path)) as container:
        for packet in container.demux(video=0):
            with contextlib.suppress(av.error.InvalidDataError):
                shown += [number_of(frame.to_ndarray(format='rgb24'))
                          for frame in packet.decode()]
    return shown


def test_packed_pictures_of_xvid_are_told_apart(tmp_path):
    path = tmp_path / 'packed.avi'
    ffmpeg('-f', 'lavfi', '-i', 'testsrc2=s=96x64:r=25:d=2,noise=c0s=8:'
           'c0f=t', '-c:v', 'libxvid', '-q:v', 4, '-bf', 2, '-g', 20, path)
    video = VideoReader(path)
    assert {len(packet.kind) for packet in video._packets} == {1, 2}
    with av.open(str(path)) as container:
        shown = [frame.to_ndarray(format='rgb24', interpolation='BICUBIC')
                 for frame in container.decode(video=0)]
    assert len(video) == len(shown) > 40
    for index, expected in enumerate(shown):
        assert np.array_equal(VideoReader(path).read([index])[0], expected)


@pytest.mark.parametrize('suffix', ['mp4', 'mkv'])
def test_timestamps_in_the_order_of_the_file_are_not_believed(suffix,
                                                              tmp_path):
    source = write_numbered(tmp_path / 'a.avi', 'libx264', TOTAL, **CLOSED)
    path = tmp_path / f'remuxed.{suffix}'
    # What comes of AVI, which has no others, by one command.
    ffmpeg('-i', source, '-c', 'copy', '-bsf:v', 'setts=ts=N*512', path)
    check(path, list(range(TOTAL)))


@pytest.mark.parametrize('name, start', [('open', '1.21'), ('open', '0.7'),
                                         ('closed', '0.7')])
def test_matroska_cut_inside_a_group_shows_what_a_player_shows(
        name, start, files, tmp_path):
    path = tmp_path / 'cut.mkv'
    ffmpeg('-ss', start, '-i', files[name], '-c', 'copy', path)
    check(path, played(path))


@pytest.mark.parametrize('suffix', ['mp4', 'avi'])
def test_interlaced_mpeg4_is_decoded_from_its_first_packet(suffix, tmp_path):
    path = write_numbered(tmp_path / f'a.{suffix}', 'mpeg4', TOTAL, gop=GROUP,
                          bframes=2, size=LARGE,
                          options={'flags': '+ildct+ilme'})
    check(path, list(range(TOTAL)))
    assert [number_of(picture) for picture in VideoReader(path).read(
        [44, 20])] == [44, 20]
    for one, other in zip(VideoReader(path), VideoReader(path, num_threads=2),
                          strict=True):
        assert np.array_equal(one, other)


def test_hidden_frames_of_vp8_are_no_frames(tmp_path):
    source = write_numbered(tmp_path / 'a.mp4', 'libx264', TOTAL, size=LARGE,
                            **CLOSED)
    for number in (1, 2):
        ffmpeg('-i', source, '-c:v', 'libvpx', '-g', 30, '-b:v', '400k',
               '-auto-alt-ref', 1, '-lag-in-frames', 16, '-pass', number,
               '-passlogfile', tmp_path / 'log', tmp_path / 'a.webm')
    path = tmp_path / 'a.webm'
    assert len(VideoReader(path)._packets) > TOTAL
    check(path, list(range(TOTAL)))


# -- which stream, which way up --------------------------------------------

TURNS = {
    (0, 1, -1, 0): lambda x: np.rot90(x),
    (0, -1, 1, 0): lambda x: np.rot90(x, -1),
    (-1, 0, 0, -1): lambda x: np.rot90(x, 2),
    (-1, 0, 0, 1): lambda x: x[:, ::-1],
    (1, 0, 0, -1): lambda x: x[::-1],
    (0, 1, 1, 0): lambda x: x.transpose(1, 0, 2),
    (0, -1, -1, 0): lambda x: np.rot90(x.transpose(1, 0, 2), 2),
}


@pytest.mark.parametrize('matrix', TURNS)
@pytest.mark.parametrize('suffix', ['mp4', 'mkv'])
def test_pictures_are_turned_and_mirrored_as_the_file_says(
        matrix, suffix, files, tmp_path):
    path = set_matrix(Path(shutil.copy(files['closed'],
                                       tmp_path / 'turned.mp4')), matrix)
    if suffix == 'mkv':
        ffmpeg('-i', path, '-c', 'copy', tmp_path / 'turned.mkv')
        path = tmp_path / 'turned.mkv'
    check(path, list(range(TOTAL)), TURNS[matrix])
    # FFmpeg's own program turns alike.
    ffmpeg('-i', path, '-frames:v', '1', '-pix_fmt', 'rgb24',
           '-f', 'rawvideo', tmp_path / 'upright.rgb')
    picture = VideoReader(path).read([0])[0]
    upright = np.fromfile(tmp_path / 'upright.rgb', np.uint8)
    assert np.abs(upright.reshape(picture.shape).astype(int)
                  - picture).mean() < 3


def test_a_cover_is_no_video_and_the_best_stream_is_taken(files, tmp_path):
    cover, song = tmp_path / 'cover.png', tmp_path / 'song.mp4'
    cv2.imwrite(str(cover), np.zeros((600, 800, 3), np.uint8))
    small = write_numbered(tmp_path / 'small.mp4', 'libx264', 20, **CLOSED)
    large = write_numbered(tmp_path / 'large.mp4', 'libx264', TOTAL,
                           size=LARGE, **CLOSED)
    attached = ('-c', 'copy', '-disposition:v:0', 'attached_pic')
    for name in ('covered.mp4', 'covered.mkv'):
        ffmpeg('-i', cover, '-i', files['closed'], '-map', 0, '-map', 1,
               *attached, tmp_path / name)
        check(tmp_path / name, list(range(TOTAL)))
    ffmpeg('-i', small, '-i', large, '-map', 0, '-map', 1, '-c', 'copy',
           '-disposition:v:0', 0, '-disposition:v:1', 'default',
           tmp_path / 'two.mkv')
    check(tmp_path / 'two.mkv', list(range(TOTAL)))
    ffmpeg('-f', 'lavfi', '-i', 'sine=d=0.2', '-i', cover, '-map', 0,
           '-map', 1, *attached, song)
    with pytest.raises(BrokenVideoError, match='song.mp4 has no video to see'
                       r', only audio and video \(a cover picture\); take'):
        VideoReader(song)


@pytest.mark.parametrize('suffix', ['ts', 'h264'])
def test_a_size_that_changes_midway_is_scaled_to_the_first(suffix, tmp_path):
    small = write_numbered(tmp_path / f'a.{suffix}', 'libx264', 30, **CLOSED)
    large = write_numbered(tmp_path / f'b.{suffix}', 'libx264', 30,
                           size=(64, 160), **CLOSED)
    path = tmp_path / f'both.{suffix}'
    path.write_bytes(small.read_bytes() + large.read_bytes())
    check(path, 2 * list(range(30)))
    assert {picture.shape for picture in VideoReader(path)} == {(32, 80, 3)}


# -- colours ---------------------------------------------------------------


def test_real_videos_equal_decord_to_the_bit(shared_data):
    decord = pytest.importorskip('decord')
    for name in ('demo.mp4', 'test.mp4', 'test.avi'):
        path = str(shared_data / 'videos' / name)
        theirs = decord.VideoReader(path)
        ours = VideoReader(path)
        assert len(ours) == len(theirs)
        assert ours.avg_fps == pytest.approx(theirs.get_avg_fps())
        indices = np.linspace(0, len(ours) - 1, 23).astype(int)
        for one, other in zip(ours.read(indices),
                              theirs.get_batch(indices).asnumpy(),
                              strict=True):
            assert np.array_equal(one, other)


def matrix_of(red: float, blue: float) -> np.ndarray:
    """From limited Y'CbCr to RGB, of 8 bits (ITU-R BT.601, BT.709)."""
    green = 1 - red - blue
    return np.array([
        [1, 0, 2 - 2 * red],
        [1, -(2 - 2 * blue) * blue / green, -(2 - 2 * red) * red / green],
        [1, 2 - 2 * blue, 0]])


BT601, BT709 = (.299, .114), (.2126, .0722)
# FFmpeg's numbers of matrix and range.
TAGS = {None: (BT601, False), (5, 1): (BT601, False), (6, 1): (BT601, False),
        (1, 1): (BT709, False), (1, 2): (BT709, True), (6, 2): (BT601, True)}


@pytest.mark.parametrize('tags', TAGS)
@pytest.mark.parametrize('pix_fmt', ['yuv420p', 'yuv420p10le'])
def test_tags_decide_matrix_and_range_and_without_it_is_bt601(
        tags, pix_fmt, tmp_path):
    path = write_numbered(
        tmp_path / 'a.mp4', 'libx264', 2, pix_fmt=pix_fmt, tags=tags,
        options={'qp': '0' if pix_fmt == 'yuv420p' else '4'})
    with av.open(str(path)) as container:
        frame = next(container.decode(video=0))
        luma, *chroma = (
            np.frombuffer(plane, np.uint8 if pix_fmt == 'yuv420p' else
                          np.uint16).reshape(plane.height, -1)
            [:, :plane.width].astype(float) for plane in frame.planes)
    if pix_fmt != 'yuv420p':
        luma, *chroma = ((plane + 2) // 4 for plane in (luma, *chroma))
    (red_blue, full) = TAGS[tags]
    chroma = [plane.repeat(2, 0).repeat(2, 1) - 128 for plane in chroma]
    if not full:
        luma = (luma - 16) * 255 / 219
        chroma = [plane * 255 / 224 for plane in chroma]
    expected = np.stack([luma, *chroma], -1) @ matrix_of(*red_blue).T
    found = VideoReader(path).read([0])[0]
    assert np.abs(expected.clip(0, 255) - found).max() <= 2


@pytest.mark.parametrize('matrix', [8, 10, 14])  # YCgCo, BT.2020 CL, ICtCp
def test_a_matrix_that_swscale_does_not_know_counts_as_no_tag(matrix):
    frame = av.VideoFrame.from_ndarray(numbered_frame(5)).reformat(
        format='yuv420p')
    painter = pictures.Painter(frame.width, frame.height)
    frame.colorspace = 2  # unspecified
    expected = painter.paint(frame)
    frame.colorspace = matrix
    assert np.array_equal(painter.paint(frame), expected)


def test_a_frame_that_cannot_be_converted_is_named(files, monkeypatch):
    def fails(*_: object) -> None:
        raise av.error.OSError(errno.EOPNOTSUPP, 'Operation not supported')

    monkeypatch.setattr(pictures.Painter, 'paint', fails)
    with pytest.raises(BrokenVideoError, match='cannot be read as a video '
                       r'\(Operation not supported\)'):
        VideoReader(files['closed']).read([0])


def test_deep_samples_are_rounded_to_the_nearest():
    frame = av.VideoFrame(64, 64, 'yuv420p10le')
    for plane in frame.planes:
        plane.update(np.full(plane.buffer_size // 2, 514, np.uint16))
    plane = frame.planes[0]
    values = np.tile(np.arange(64, dtype=np.uint16) * 16 + 15, (64, 1))
    rows = np.zeros((64, plane.line_size // 2), np.uint16)
    rows[:, :64] = values
    plane.update(rows)
    rounded = pictures._round(frame)
    assert rounded.format.name == 'yuv420p'
    luma = np.frombuffer(rounded.planes[0], np.uint8).reshape(
        64, -1)[:, :64]
    # 15 is 3.75, 1023 more than 255: the nearest, and never beyond.
    assert luma[0].tolist() == [
        min(255, (int(value) + 2) // 4) for value in values[0]]
    chroma = np.frombuffer(rounded.planes[1], np.uint8)[:32]
    assert (chroma == 129).all()  # 128.5 goes up


@pytest.mark.parametrize('name, plain', [
    ('p010le', 'yuv420p10le'), ('p210le', 'yuv422p10le'),
    ('p410le', 'yuv444p10le')])
def test_other_arrangements_of_the_same_samples_give_the_same(name, plain):
    noise = np.random.RandomState(0).randint(0, 255, (32, 64, 3), np.uint8)
    frame = av.VideoFrame.from_ndarray(noise).reformat(format=plain)
    painter = pictures.Painter(frame.width, frame.height)
    assert np.array_equal(painter.paint(frame.reformat(format=name)),
                          painter.paint(frame))


def test_another_size_is_scaled_by_bicubic_interpolation():
    noise = np.random.RandomState(0).randint(0, 255, (64, 160, 3), np.uint8)
    frame = av.VideoFrame.from_ndarray(noise).reformat(format='yuv420p')
    frame.colorspace = 5
    assert np.array_equal(
        pictures.Painter(80, 32).paint(frame),
        frame.to_ndarray(width=80, height=32, format='rgb24',
                         interpolation='BICUBIC'))


@pytest.mark.parametrize('name', ['grayf32le', 'gbrpf32le'])
def test_samples_that_are_no_integers_are_read(name):
    frame = av.VideoFrame.from_ndarray(numbered_frame(0b1011001110)).reformat(
        format=name)
    picture = pictures.Painter(frame.width, frame.height).paint(frame)
    assert number_of(picture) == 0b1011001110


@pytest.mark.parametrize('name', ['p010le', 'yuv422p12le', 'yuv444p10be',
                                  'gbrp10le', 'gray12le'])
def test_every_arrangement_of_deep_samples_is_read(name):
    frame = av.VideoFrame.from_ndarray(numbered_frame(0b1011001110)).reformat(
        format=name)
    frame.colorspace = 5
    picture = pictures.Painter(frame.width, frame.height).paint(frame)
    assert number_of(picture) == 0b1011001110


def test_threads_and_sources_change_nothing(files):
    path = files['open']
    expected = VideoReader(path).read(range(TOTAL))
    with path.open('rb') as file:
        for source, options in (
                (str(path), dict(num_threads=2)),
                (path, dict(num_threads=0)), (path.read_bytes(), {}),
                (io.BytesIO(path.read_bytes()), {}), (file, {})):
            video = VideoReader(source, **options)
            for one, other in zip(video.read(range(TOTAL)), expected,
                                  strict=True):
                assert np.array_equal(one, other)


# -- what is decoded, and what is kept -------------------------------------


def decoded(video: VideoReader, indices: list[int]) -> list[int]:
    """Numbers of the packets that the decoder gave frames of."""
    found: list[int] = []
    plain = video._decode

    def spy(*args, **kwargs):
        for number, frame in plain(*args, **kwargs):
            found.append(number)
            yield number, frame

    video._decode = spy
    video.read(indices)
    return found


def test_only_what_wanted_frames_need_is_decoded(tmp_path):
    path = write_numbered(tmp_path / 'a.mp4', 'libx264', TOTAL, options={
        'x264-params': 'keyint=12:min-keyint=12:scenecut=0:bframes=3:'
                       'b-pyramid=0:b-adapt=0'})
    video = VideoReader(path)
    # Of the group from frame 36 on: the key frame, one frame in four that
    # others refer to, and the wanted one, which none refers to.
    found = decoded(video, [42])
    assert sorted(video._shown.index(number) for number in found) == [
        36, 40, 42, 44]
    # What lies between two groups is passed over.
    found = decoded(video, [1, 50])
    assert not {video._shown.index(number) for number in found} & set(
        range(8, 48))


def test_an_open_group_is_decoded_from_the_group_before(files):
    video = VideoReader(files['open'])
    keys = [n for n, packet in enumerate(video._packets) if packet.key]
    leading = [n for n, start in enumerate(video._starts)
               if start < max(key for key in keys if key <= n)]
    assert leading  # frames behind a key frame that are shown before it
    assert all(video._starts[n] in keys for n in leading)


def test_a_key_frame_that_is_none_does_not_give_another_picture(files):
    video = VideoReader(files['closed'])
    expected = VideoReader(files['closed']).read([23])[0]
    # As in a file that calls a predicted frame a key frame.
    number = video._shown[23]
    video._starts = [number if n == number else start
                     for n, start in enumerate(video._starts)]
    assert np.array_equal(video.read([23])[0], expected)


def test_packets_that_are_no_frames_are_counted_by_decoding(files):
    video = VideoReader(files['closed'])
    # As if two packets made a frame: some promised frames never come.
    video._packets.append(video._packets[-1])
    video._shown.append(len(video._packets) - 1)
    video._starts.append(video._starts[-1])
    video.total_frames += 1
    with pytest.raises(BrokenVideoError, match='frame 60 .*cannot be decoded'
                       '; fetch'):
        video.read([3, 60])
    assert video.total_frames == TOTAL
    assert number_of(video.read([59])[0]) == 59


def test_a_frame_that_comes_out_damaged_is_decoded_from_the_start(files):
    video = VideoReader(files['closed'])
    plain, starts = video._decode, []

    def damaged(first, last, wanted=None):
        starts.append(first)
        for number, frame in plain(first, last, wanted):
            yield number, frame if first == 0 else SimpleNamespace(
                is_corrupt=True)

    video._decode = damaged
    assert number_of(video.read([50])[0]) == 50
    assert starts[0] > 0 and starts[-1] == 0


def test_a_file_without_true_key_frames_is_looked_through_once(tmp_path):
    video = VideoReader(write_numbered(tmp_path / 'a.mp4', 'libx264', TOTAL,
                                       **x264(':intra-refresh=1')))
    for go in (False, True):
        if go:
            video._come_out = at_first_go(video._come_out)
        assert [number_of(picture) for picture in video.read([17, 35])] == [
            17, 35]


def test_packets_that_are_fields_are_noticed(tmp_path):
    video = VideoReader(write_numbered(tmp_path / 'a.mp4', 'libx264', TOTAL,
                                       **x264(':tff=1')))
    assert not video._holds_fields()
    # As in PAFF, where two packets make a frame; no encoder here writes it.
    video._decode = lambda first, last: (
        (number, None) for number in range(first, last + 1, 2))
    assert video._holds_fields()


def test_a_header_that_changes_midway_is_not_jumped_over(tmp_path):
    parts = [write_numbered(tmp_path / f'{size[0]}.flv', 'libx264', 30,
                            size=size, first=first, **CLOSED).read_bytes()
             for size, first in (((32, 80), 0), ((64, 160), 40))]
    path = tmp_path / 'both.flv'
    path.write_bytes(parts[0] + parts[1][13:])  # without its file header
    check(path, 2 * list(range(30)))
    assert not VideoReader(path)._jumps
    assert VideoReader(tmp_path / '32.flv')._jumps


def test_packets_that_were_not_received_whole_are_counted_by_decoding(
        files, tmp_path):
    data = bytearray(files['stream'].read_bytes())
    for start in range(len(data) // 188 // 3 * 188, len(data) // 2, 188):
        data[start + 1] |= 0x80  # transport_error_indicator
    path = tmp_path / 'errors.ts'
    path.write_bytes(data)
    assert VideoReader(path)._shown is None
    check(path, played(path))


def test_a_slow_reader_of_a_stream_is_no_slow_file(files, monkeypatch):
    now = [0.]
    monkeypatch.setattr(reader.time, 'monotonic', lambda: now[0])
    video = VideoReader(files['closed'])
    for frames in (video, video.frames()):
        for _ in frames:
            now[0] += 200


def test_of_other_streams_the_default_and_the_larger_is_taken():
    def stream(width: int, disposition: int) -> SimpleNamespace:
        return SimpleNamespace(
            type='video', disposition=Disposition(disposition),
            codec_context=SimpleNamespace(width=width, height=9))

    cover = stream(900, Disposition.attached_pic)
    small, large = stream(10, 0), stream(20, 0)
    chosen = stream(5, Disposition.default)
    video = object.__new__(VideoReader)
    for streams, expected in (([cover, small, large], large),
                              ([cover, large, chosen], chosen),
                              ([small, large], small)):
        video._container = SimpleNamespace(streams=SimpleNamespace(
            video=streams, best=lambda kind, first=streams[0]: first))
        assert video._choose_stream() is expected


def test_each_picture_is_made_once_and_lies_apart(files, monkeypatch):
    made: list[int] = []
    plain = pictures.Painter.paint
    monkeypatch.setattr(pictures.Painter, 'paint', lambda self, frame: (
        made.append(frame.pts), plain(self, frame))[1])
    found = VideoReader(files['closed']).read([7, 3, 7, 7])
    assert len(made) == 2
    assert [number_of(picture) for picture in found] == [7, 3, 7, 7]
    found[0][:] = 0
    assert number_of(found[2]) == number_of(found[3]) == 7
    assert all(picture.flags.writeable and picture.flags.c_contiguous
               for picture in found)


@pytest.mark.parametrize('jump', [0, 1 << 40], ids=['seeks', 'in order'])
@pytest.mark.parametrize('name', ['closed', 'open', 'stream', 'open_stream',
                                  'program', 'mpeg4'])
def test_a_large_file_is_read_again_and_not_kept(name, jump, files,
                                                 monkeypatch):
    monkeypatch.setattr(reader, '_KEPT', 0)
    monkeypatch.setattr(reader, '_JUMP', jump)
    assert VideoReader(files[name])._kept is None
    check(files[name], list(range(TOTAL)))
    check(files[name].read_bytes(), list(range(TOTAL)))


def test_a_stream_reads_a_large_file_once(files, monkeypatch):
    monkeypatch.setattr(reader, '_KEPT', 0)
    video = VideoReader(files['closed'])
    opened: list[int] = []
    plain = video._open
    video._open = lambda: (opened.append(1), plain())
    assert [number_of(picture) for _, picture in video.stream(
        range(0, TOTAL, GROUP))] == list(range(0, TOTAL, GROUP))
    assert len(opened) == 1


def test_a_file_that_changes_meanwhile_is_named(files, tmp_path, monkeypatch):
    monkeypatch.setattr(reader, '_KEPT', 0)
    path = Path(shutil.copy(files['closed'], tmp_path / 'a.mp4'))
    video = VideoReader(path)
    write_numbered(path, 'libx264', 20, size=LARGE, **OPEN)
    with pytest.raises(BrokenVideoError, match='a.mp4 has changed since it '
                       'was opened; read it when it is whole'):
        video.read([0])


def test_the_file_is_closed_as_soon_as_it_is_known(files, tmp_path):
    path = Path(shutil.copy(files['closed'], tmp_path / 'a.mp4'))
    kept = [VideoReader(path) for _ in range(3)]
    open_files = [os.path.realpath(link)
                  for link in Path('/proc/self/fd').iterdir()]
    assert str(path) not in open_files
    with kept[0] as video:
        video.read([3])
    assert video._kept == []


def test_a_stream_of_frames_holds_none_of_them(files):
    video = VideoReader(files['closed'])
    assert [(index, number_of(picture)) for index, picture in video.stream(
        [3, 4, 30, 59])] == [(3, 3), (4, 4), (30, 30), (59, 59)]
    with pytest.raises(ValueError, match='do not ascend: sort them'):
        next(video.stream([4, 3]))
    assert [number_of(picture) for picture in video] == list(range(TOTAL))


def test_a_reader_does_one_thing_at_a_time(files):
    video = VideoReader(files['closed'])
    stream = video.stream(range(TOTAL))
    next(stream)
    video.read([40])
    with pytest.raises(RuntimeError, match='was read otherwise in the middle '
                       'of a stream: end the stream first, or open a second'):
        list(stream)
    assert number_of(video.read([7])[0]) == 7
    video.close()
    with pytest.raises(ValueError, match='is closed: open it again'):
        video.read([7])


@pytest.mark.parametrize('index', [-1, TOTAL])
def test_a_frame_outside_is_an_error_of_the_sampler(index, files):
    with pytest.raises(IndexError, match=f'has the frames 0 to 59, and '
                       f'{index} is asked for: sample below total_frames'):
        VideoReader(files['closed']).read([0, index])


def test_a_name_with_a_colon_is_no_protocol(files, tmp_path):
    path = Path(shutil.copy(files['closed'], tmp_path / 'clip:1.mp4'))
    assert number_of(VideoReader(path).read([5])[0]) == 5


# -- the order of presentation, from packets alone -------------------------


def packet(kind: str = '', size: int = 100, pts: int | None = None,
           dts: int | None = None, key: bool = False) -> Packet:
    """A packet that is shown."""
    return Packet(pts, 1, key, True, kind, (None, dts, size))


def order(kinds: str, codec: str = 'mpeg4') -> list[int] | None:
    """Order of pictures of some kinds; ``n`` is one that holds nothing."""
    return find_order([packet(kind if kind != 'n' else 'P',
                              7 if kind == 'n' else 100)
                       for kind in kinds.split()], codec, 'avi')


def test_a_picture_is_held_until_the_next_that_is_no_b_picture():
    assert order('I P B B P B') == [0, 2, 3, 1, 5, 4]
    assert order('I B B P', 'mpeg2video') == [1, 2, 0, 3]


def test_packed_pictures_come_out_one_packet_late():
    # I, then P with the first B, the second B, and a packet of nothing.
    assert order('I PB B n PB n') == [0, 2, 3, 1, 5, 4]


def test_the_last_packed_picture_never_comes_out():
    assert order('I PB B') == [0, 2, 1]


@pytest.mark.parametrize('kinds', ['I n P', 'I PBB B', 'I D'])
def test_what_shows_nothing_is_left_to_the_decoder(kinds):
    assert order(kinds) is None


@pytest.mark.parametrize('size, known', [(19, False), (20, True)])
def test_a_packet_of_19_bytes_may_show_nothing(size, known):
    stream = [packet('I'), packet('P', size)]
    assert (find_order(stream, 'mpeg4', 'avi') is not None) == known


def test_decoding_starts_at_no_packet_for_which_another_waits():
    stream = [packet(kind, 7 if kind == 'n' else 100, key=True)
              for kind in 'I PB n I PB I n'.split()]
    find_order(stream, 'mpeg4', 'avi')
    assert [one.key for one in stream] == [
        True, False, False, True, False, False, False]


def test_timestamps_count_where_they_are_true_and_whole():
    stream = [packet(pts=pts, dts=dts) for dts, pts in enumerate(
        [0, 4, 2, 3, 8])]
    assert find_order(stream, 'h264', 'mpegts') == [0, 2, 3, 1, 4]
    assert find_order(stream, 'h264', 'avi') is None
    for codec in ('mjpeg', 'theora', 'vp6f', 'av1', 'wmv2'):
        assert find_order(stream, codec, 'avi') == [0, 1, 2, 3, 4]
    # In the order of decoding, though the stream reorders its frames.
    plain = [packet(pts=number, dts=number) for number in range(5)]
    assert find_order(plain, 'h264', 'mpegts') == [0, 1, 2, 3, 4]
    assert find_order(plain, 'h264', 'mpegts', reorders=True) is None
    for wrong in (packet(pts=None, dts=5), packet(pts=8, dts=5),
                  packet(pts=9, dts=1)):
        assert find_order([*stream, wrong], 'h264', 'mpegts') is None


def test_a_frame_starts_at_a_key_frame_that_is_shown_before_it():
    stream = [packet(key=True), packet(), packet(key=True), packet(),
              packet()]
    # Packet 3 is shown before the key frame 2: an open group.
    assert find_starts(stream, [0, 1, 3, 2, 4]) == [0, 0, 2, 0, 2]


def test_pictures_say_of_which_kind_they_are():
    kind = packets_module._picture_kind
    assert kind(b'\0\0\1\xb6\x10....', 'mpeg4') == 'I'
    assert kind(b'\0\0\1\xb6\x50....\0\0\1\xb6\x90....', 'mpeg4') == 'PB'
    assert kind(b'\0\0\1\x00\x00\x18....', 'mpeg2video') == 'B'
    assert kind(b'no picture', 'mpeg1video') == ''


# -- broken and hostile files ----------------------------------------------


def broken(path: Path, data: bytes) -> str:
    """What is said of a file with some content."""
    path.write_bytes(data)
    with pytest.raises(BrokenVideoError) as caught:
        VideoReader(path).read([0, 30])
    assert caught.value.path == str(path)
    return str(caught.value)


STRANGERS = {
    b'': r'is empty \(zero bytes\)',
    b'\n<!DOCTYPE html><p>gone': 'is no video but a web page',
    b'{"error": "not found"}': r"but a text \('{\"error\": \"not found\"}' ",
    b'\xff\xd8\xff\xe0' + bytes(40): 'is no video but a picture',
    b'RIFF\x20\0\0\0WEBPVP8 ' + bytes(40): 'is no video but a picture',
    b'RIFF\x20\0\0\0WAVEfmt ' + bytes(40): 'is no video but sound',
    b'PK\x03\x04' + bytes(40): 'is no video but an archive, to be unpacked',
    b'#EXTM3U\nhttp://127.0.0.1/a.ts': 'but a playlist, which only names',
    b'version https://git-lfs.github.com/spec/v1': 'git lfs pull replaces',
    bytes(range(256)) * 8: 'cannot be read as a video',
}


@pytest.mark.parametrize('data', STRANGERS)
def test_what_is_no_video_is_called_what_it_is(data, tmp_path, capfd):
    said = broken(tmp_path / 'a.mp4', data)
    assert said.startswith(f'{tmp_path}/a.mp4 ')
    assert re.search(STRANGERS[data], said), said
    assert said.endswith('fetch or encode the file again, or take it out of '
                         'the list of videos.')
    assert capfd.readouterr() == ('', '')


def test_paths_that_lead_nowhere_are_named(tmp_path):
    link = tmp_path / 'link.mp4'
    link.symlink_to(tmp_path / 'gone.mp4')
    for path, fault in (
            (link, f'is a link to a file that does not exist: {tmp_path}'),
            (tmp_path / 'gone.mp4', 'does not exist'),
            (tmp_path, 'is not a file')):
        with pytest.raises(BrokenVideoError, match=fault):
            VideoReader(path)


def test_sound_without_pictures_is_named(tmp_path, capfd):
    for name in ('a.mp4', 'a.mkv', 'a.mp3'):
        ffmpeg('-f', 'lavfi', '-i', 'sine=d=0.2', tmp_path / name)
        with pytest.raises(BrokenVideoError, match='has no video to see, '
                           'only audio|none of the formats that hold video'):
            VideoReader(tmp_path / name)
    assert capfd.readouterr() == ('', '')


def test_truncated_is_said_where_data_are_missing(files, tmp_path):
    ffmpeg('-i', files['closed'], '-c', 'copy', '-movflags', 'faststart',
           tmp_path / 'index_first.mp4')
    ffmpeg('-i', files['closed'], '-c', 'copy', tmp_path / 'a.mkv')
    for path in (tmp_path / 'index_first.mp4', files['closed'],
                 tmp_path / 'a.mkv', files['mpeg4']):
        data = path.read_bytes()
        for place in (20, len(data) // 2, len(data) - 100):
            said = broken(tmp_path / f'cut{path.suffix}', data[:place])
            assert 'is truncated: its header announces' in said or (
                place == 20 and 'cannot be read as a video' in said), said
    data = files['closed'].read_bytes()
    index = data.index(b'moov') - 4
    assert 'no index of its frames (no moov box)' in broken(
        tmp_path / 'unfinished.mp4', data[:index])


def test_data_that_cannot_be_decoded_are_named(files, tmp_path, capfd):
    ffmpeg('-i', files['closed'], '-c', 'copy', '-movflags', 'faststart',
           tmp_path / 'a.mp4')
    data = (tmp_path / 'a.mp4').read_bytes()
    half = len(data) // 2
    said = broken(tmp_path / 'zeros.mp4', data[:half] + bytes(half))
    assert re.match(
        r'frame \d+ of .*zeros\.mp4 cannot be decoded \(Invalid data', said)
    assert capfd.readouterr() == ('', '')


def test_missing_data_are_not_taken_for_a_shorter_video(tmp_path):
    # Without its pictures, MPEG-4 does not tell its order either.
    path = write_numbered(tmp_path / 'a.mp4', 'mpeg4', TOTAL, size=LARGE)
    ffmpeg('-i', path, '-c', 'copy', '-movflags', 'faststart',
           tmp_path / 'index_first.mp4')
    data = (tmp_path / 'index_first.mp4').read_bytes()
    half = len(data) // 2
    said = broken(tmp_path / 'zeros.mp4', data[:half] + bytes(half))
    assert 'zeros.mp4 has packets that cannot be decoded (Invalid' in said


def replaced(data: bytes, after: bytes, offset: int, value: bytes) -> bytes:
    """Data with some bytes behind a name replaced."""
    place = data.index(after) + offset
    return data[:place] + value + data[place + len(value):]


MILLION = 10 ** 6


def test_a_header_that_counts_wrong_is_not_believed(files, tmp_path):
    frames = write_numbered(tmp_path / 'a.avi', 'mjpeg', TOTAL,
                            pix_fmt='yuvj420p').read_bytes()
    for after, offset in ((b'avih', 24), (b'strh', 40)):
        frames = replaced(frames, after, offset,
                          MILLION.to_bytes(4, 'little'))
    (tmp_path / 'many.avi').write_bytes(frames)
    check(tmp_path / 'many.avi', list(range(TOTAL)))
    times = replaced(files['closed'].read_bytes(), b'stts', 12,
                     MILLION.to_bytes(4, 'big'))
    (tmp_path / 'many.mp4').write_bytes(times)
    check(tmp_path / 'many.mp4', list(range(TOTAL)))
    sizes = replaced(files['closed'].read_bytes(), b'stsz', 12,
                     MILLION.to_bytes(4, 'big'))
    assert 'holds no frames' in broken(tmp_path / 'sizes.mp4', sizes)


def test_a_duration_of_zero_does_not_matter(files, tmp_path):
    data = files['closed'].read_bytes()
    for name, offset in ((b'mdhd', 20), (b'mvhd', 20), (b'tkhd', 24)):
        data = replaced(data, name, offset, bytes(4))
    (tmp_path / 'zero.mp4').write_bytes(data)
    check(tmp_path / 'zero.mp4', list(range(TOTAL)))


@pytest.mark.parametrize('step', ['open', 'read'])
def test_a_file_without_end_is_broken_after_a_while(step, files):
    with pytest.raises(BrokenVideoError, match='takes longer than 1e-06 s to '
                       'read; raise max_seconds if it is meant to'):
        video = VideoReader(files['closed'], max_seconds=(
            1e-6 if step == 'open' else 300))
        video._max_seconds = 1e-6
        video.read([30])


@pytest.mark.parametrize('seconds', [0, -1, float('nan')])
def test_a_limit_that_makes_no_sense_is_refused(seconds, files):
    with pytest.raises(ValueError, match=f'max_seconds is {seconds}: give'):
        VideoReader(files['closed'], max_seconds=seconds)


def test_a_server_that_never_answers_is_left_after_a_while():
    with socket.create_server(('127.0.0.1', 0)) as server:
        held: list = []
        threading.Thread(target=lambda: held.append(server.accept()),
                         daemon=True).start()
        address = f'http://127.0.0.1:{server.getsockname()[1]}/a.mp4'
        with pytest.raises(BrokenVideoError, match='takes longer than 0.3 s'):
            VideoReader(address, max_seconds=.3)


@pytest.mark.parametrize('number', [errno.EMFILE, errno.EACCES])
def test_a_fault_of_the_machine_is_no_fault_of_the_file(number, files,
                                                        monkeypatch):
    fault = av.error.classes.get(number, av.error.OSError)(
        number, os.strerror(number))

    def fails(*_: object, **__: object) -> None:
        raise fault

    monkeypatch.setattr(av, 'open', fails)
    with pytest.raises(OSError) as caught:
        VideoReader(files['closed'])
    assert caught.value is fault


def test_damaged_files_end_in_frames_or_a_sentence():
    done = subprocess.run(
        [sys.executable, '-W', 'ignore', str(ROOT / 'tests/fuzz_videos.py'),
         '--rounds', '200'], capture_output=True, text=True)
    assert done.stdout.endswith('no fault\n'), done.stdout + done.stderr
    assert re.match(r'200 files: \d+ frames, \d+ sentence', done.stdout)
