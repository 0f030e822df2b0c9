"""A broken video is one named error, whatever decodes it."""

import errno
import logging
import os
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from mmaction.registry import DATASETS, TRANSFORMS
from mmengine.logging import MMLogger
from mmengine.registry import init_default_scope
from numbered_videos import write_numbered
from toy_videos import cut, index_first, write_video

from mmvidadapt.datasets import (
    BrokenVideoError,
    broken_video,
    find_damage,
    guard_reading,
)
from mmvidadapt.datasets.broken_video import ReadGuard

DECODERS = ('Video', 'Decord', 'OpenCV', 'PyAV')


@pytest.fixture(autouse=True, scope='module')
def _scope() -> None:
    """Types without a prefix are MMAction2's."""
    init_default_scope('mmaction')


def dataset(tmp_path: Path, *files: Path, decoder: str = 'Decord',
            sampler: dict | None = None, **kwargs) -> object:
    """A guarded data set of MMAction2 that reads ``files``."""
    if decoder == 'PyAV':
        pytest.importorskip('av')
    list_file = tmp_path / 'list.txt'
    list_file.write_text(''.join(f'{file},0\n' for file in files))
    sampler = sampler or dict(type='UniformSample', clip_len=8,
                              test_mode=True)
    built = DATASETS.build(dict(
        type='VideoDataset', ann_file=str(list_file), delimiter=',',
        test_mode=True,
        pipeline=[dict(type=f'{decoder}Init'), sampler,
                  dict(type=f'{decoder}Decode')], **kwargs))
    assert guard_reading(built) == 2
    return built


@pytest.fixture(scope='module')
def damaged(tmp_path_factory, shared_data) -> dict[str, Path]:
    """The same two real videos, broken in every way that we know of."""
    folder = tmp_path_factory.mktemp('damaged')
    mp4 = shared_data / 'videos' / 'demo.mp4'
    avi = shared_data / 'videos' / 'test.avi'
    first = index_first(mp4, folder / 'index first.mp4')
    empty = folder / 'empty.mp4'
    empty.touch()
    page = folder / 'page.mp4'
    page.write_text('<!DOCTYPE html><html>404</html>')
    return dict(
        sound=mp4, sound_avi=avi, sound_index_first=first,
        missing=folder / 'missing.mp4', empty=empty, page=page,
        index_lost=cut(mp4, folder / 'index lost.mp4', .5),
        half=cut(first, folder / 'half.mp4', .5),
        half_avi=cut(avi, folder / 'half.avi', .5),
        zeros=cut(first, folder / 'zeros.mp4', .5, same_size=True))


@pytest.mark.parametrize('decoder', DECODERS)
@pytest.mark.parametrize('name',
                         ['sound', 'sound_avi', 'sound_index_first'])
def test_a_sound_video_is_read_as_without_the_guard(decoder, name, damaged,
                                                    tmp_path):
    guarded = dataset(tmp_path, damaged[name], decoder=decoder)
    sample = guarded[0]
    transforms = guarded.pipeline.transforms
    transforms[:] = [getattr(transform, 'transform', transform)
                     if isinstance(transform, ReadGuard) else transform
                     for transform in transforms]
    plain = guarded[0]
    assert len(sample['imgs']) == 8
    assert sample['total_frames'] == plain['total_frames'] > 100
    for ours, theirs in zip(sample['imgs'], plain['imgs']):
        assert np.array_equal(ours, theirs)


@pytest.mark.parametrize('decoder', DECODERS)
@pytest.mark.parametrize('name, what', [
    ('missing', 'does not exist'),
    ('empty', r'is empty \(zero bytes\)'),
    ('page', 'is no video but a web page'),
    ('index_lost', 'is truncated: its header announces 631615 bytes, the '
     'file has 317769'),
    ('half', 'is truncated: its header announces 635539 bytes, the file has '
     '317769'),
    ('half_avi', 'is truncated: its header announces 294566 bytes, the file '
     'has 147283'),
    ('zeros', r'frame \d+ of .* cannot be decoded'),
])
def test_a_broken_video_is_named_with_what_is_wrong_and_the_remedy(
        decoder, name, what, damaged, tmp_path):
    broken = dataset(tmp_path, damaged[name], decoder=decoder)
    with pytest.raises(BrokenVideoError, match=what) as caught:
        broken[0]
    assert str(damaged[name]) in str(caught.value)
    assert caught.value.path == str(damaged[name])
    assert 'fetch or encode the file again' in str(caught.value)
    assert '.cc:' not in str(caught.value)  # lines of decord's own source


def test_opencv_does_not_walk_back_through_a_truncated_file(damaged,
                                                            tmp_path):
    broken = dataset(tmp_path, damaged['zeros'], decoder='OpenCV')
    with pytest.raises(BrokenVideoError, match=r'cannot be decoded') as caught:
        broken[0]
    assert caught.value.__cause__ is None


@pytest.mark.parametrize('decoder', DECODERS)
def test_a_missing_last_frame_is_not_a_truncation(decoder, tmp_path,
                                                  monkeypatch):
    path = write_video(tmp_path / 'clip.mp4', 20)
    sound = dataset(tmp_path, path, decoder=decoder)
    init = sound.pipeline.transforms[0].transform
    plain = type(init).transform

    def announces_one_more(self, results):
        results = plain(self, results)
        results['total_frames'] += 1
        return results

    monkeypatch.setattr(type(init), 'transform', announces_one_more)
    sampler = sound.pipeline.transforms[1]
    monkeypatch.setattr(
        sampler, 'transform',
        lambda results: dict(results, frame_inds=np.arange(8)))
    assert len(sound[0]['imgs']) == 8


def test_pyav_that_counts_more_frames_than_there_are_is_told_from_ours(
        tmp_path):
    av = pytest.importorskip('av')
    path = write_video(tmp_path / 'clip.mp4', 20)
    container = av.open(str(path))
    guard = ReadGuard(TRANSFORMS.build(dict(type='PyAVDecode')))
    opened = dict(filename=str(path), video_reader=container,
                  total_frames=30, frame_inds=np.arange(0, 30, 3),
                  clip_len=10)
    guard._check_opened(opened, str(path))
    with pytest.raises(BrokenVideoError, match=r'PyAVDecode \(it counts 30 '
                       r'frames, of which 20 could be decoded\), though it is '
                       'sound: read it with VideoInit and VideoDecode'):
        guard(opened)


@pytest.mark.parametrize('decoder, codec, name, fault', [
    ('Decord', 'mpeg2video', 'a.ts', 'mpeg2video in mpegts, where DecordInit '
     'loses the first frames'),
    ('Decord', 'mpeg4', 'a.avi', 'mpeg4 in avi, where DecordInit gives other '
     'frames than those asked for'),
    ('OpenCV', 'libx264', 'a.mkv', 'h264 in matroska,webm, where OpenCVInit '
     'counts frames by a guess')])
def test_a_reader_that_gets_a_file_wrong_is_named_once(
        decoder, codec, name, fault, tmp_path, monkeypatch):
    said: list[str] = []
    monkeypatch.setattr(broken_video, 'print_log',
                        lambda line, **_: said.append(line))
    path = write_numbered(tmp_path / name, codec, 30, size=(64, 160))
    opens = ReadGuard(TRANSFORMS.build(dict(type=f'{decoder}Init')))
    for _ in range(2):
        opens(dict(filename=str(path)))
    assert said == [f'{path} is {fault}: read it with VideoInit and '
                    'VideoDecode.']


def test_a_sound_file_is_not_called_broken_for_its_reader(tmp_path):
    path = write_numbered(tmp_path / 'a.mkv', 'libx264', 30)
    opens = ReadGuard(TRANSFORMS.build(dict(type='PyAVInit')))
    with pytest.raises(BrokenVideoError, match=r'a\.mkv cannot be read by '
                       r'PyAVInit \(it counts 0 frames\), though it is sound: '
                       'read it with VideoInit and VideoDecode'):
        opens(dict(filename=str(path)))


def test_av1_is_refused_before_opencv_looks_for_it(tmp_path):
    path = write_numbered(tmp_path / 'a.mp4', 'libsvtav1', 5,
                          options={'preset': '10'})
    opens = ReadGuard(TRANSFORMS.build(dict(type='OpenCVInit')))
    with pytest.raises(BrokenVideoError, match='OpenCVInit .*AV1.*though it '
                       'is sound: read it with VideoInit'):
        opens(dict(filename=str(path)))
    opens = ReadGuard(TRANSFORMS.build(dict(type='DecordInit')))
    with pytest.raises(BrokenVideoError, match='DecordInit .*though it is'):
        opens(dict(filename=str(path)))


def test_a_pipeline_bug_is_not_taken_for_a_broken_video(tmp_path):
    path = write_video(tmp_path / 'clip.mp4')
    wrong = dataset(tmp_path, path)
    del wrong.pipeline.transforms[1]  # nobody samples frames
    with pytest.raises(KeyError, match='frame_inds'):
        wrong[0]


SYSTEM_FAULTS = [
    *(OSError(number, os.strerror(number)) for number in (
        errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EIO, errno.ESTALE,
        errno.EACCES)),
    MemoryError('4 GB'), torch.OutOfMemoryError('CUDA out of memory.'),
    RuntimeError('CUDA error: device-side assert triggered'),
    RuntimeError("can't start new thread")]


@pytest.mark.parametrize('fault', SYSTEM_FAULTS, ids=repr)
@pytest.mark.parametrize('place', [0, 2], ids=['opening', 'decoding'])
def test_a_fault_of_the_system_is_not_taken_for_a_broken_video(
        fault, place, tmp_path, monkeypatch):
    sound = dataset(tmp_path, write_video(tmp_path / 'clip.mp4'))
    reader = type(sound.pipeline.transforms[place].transform)

    def fails(self, results):
        raise fault

    monkeypatch.setattr(reader, 'transform', fails)
    with pytest.raises(type(fault)) as caught:
        sound[0]
    assert caught.value is fault


def test_a_fault_while_looking_for_the_file_is_not_its_absence(
        tmp_path, monkeypatch):
    path = write_video(tmp_path / 'clip.mp4')
    sound = dataset(tmp_path, path)
    plain = os.stat

    def stale(name, *args, **kwargs):
        if str(name) == str(path):
            raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))
        return plain(name, *args, **kwargs)

    monkeypatch.setattr(os, 'stat', stale)
    with pytest.raises(OSError, match='Stale file handle'):
        sound[0]


@pytest.mark.parametrize('error', [
    OSError(errno.EINVAL, 'Invalid argument'), RuntimeError('no stream')])
def test_other_errors_of_a_decoder_are_about_the_file(error, tmp_path,
                                                      monkeypatch):
    bad = dataset(tmp_path, write_video(tmp_path / 'clip.mp4'))
    reader = type(bad.pipeline.transforms[0].transform)

    def fails(self, results):
        raise error

    monkeypatch.setattr(reader, 'transform', fails)
    with pytest.raises(BrokenVideoError, match='cannot be read by'):
        bad[0]


@pytest.mark.parametrize('number, broken', [
    (errno.EIO, True), (errno.ENOMEM, True), (errno.EACCES, False)])
def test_ffmpegs_own_input_error_is_about_the_file(
        number, broken, tmp_path, monkeypatch):
    av = pytest.importorskip('av')
    opened = dataset(tmp_path, write_video(tmp_path / 'clip.mp4'),
                     decoder='PyAV')
    kind = av.error.PermissionError if not broken else av.error.OSError
    reader = type(opened.pipeline.transforms[0].transform)

    def fails(self, results):
        raise kind(number, os.strerror(number))

    monkeypatch.setattr(reader, 'transform', fails)
    with pytest.raises(BrokenVideoError if broken else PermissionError):
        opened[0]


def test_an_index_beyond_the_video_is_not_taken_for_a_broken_video(tmp_path):
    path = write_video(tmp_path / 'clip.mp4')
    wrong = dataset(tmp_path, path, start_index=10)
    with pytest.raises(IndexError):
        wrong[0]


@pytest.mark.parametrize('decoder', DECODERS)
def test_a_short_video_repeats_frames_and_says_so_once(decoder, tmp_path):
    path = write_video(tmp_path / 'short.mp4', 3)
    short = dataset(tmp_path, path, decoder=decoder,
                    sampler=dict(type='SampleFrames', clip_len=16,
                                 test_mode=True))
    records = []
    handler = logging.Handler()
    handler.emit = records.append
    logger = MMLogger.get_current_instance()
    logger.addHandler(handler)
    try:
        assert len(short[0]['imgs']) == 16
        short[0]
    finally:
        logger.removeHandler(handler)
    messages = [record.getMessage() for record in records
                if 'frames are repeated' in record.getMessage()]
    assert len(messages) == 1
    assert 'short.mp4 has 3 frames, fewer than the 16 asked for' \
        in messages[0]
    assert 'ask for fewer frames' in messages[0]


def test_every_data_set_inside_wrappers_is_guarded(tmp_path):
    path = write_video(tmp_path / 'clip.mp4')
    list_file = tmp_path / 'list.txt'
    list_file.write_text(f'{path} 0\n')
    one = dict(type='VideoDataset', ann_file=str(list_file),
               pipeline=[dict(type='DecordInit')])
    nested = DATASETS.build(dict(
        type='RepeatDataset', times=2, dataset=DATASETS.build(one)))
    assert guard_reading(nested) == 1
    both = DATASETS.build(dict(type='ConcatDataset', datasets=[one, one]))
    assert guard_reading(both) == 2
    assert guard_reading(both) == 2
    guards = [inner.pipeline.transforms[0] for inner in both.datasets]
    assert not any(isinstance(guard.transform, ReadGuard)
                   for guard in guards)


def test_the_error_survives_the_way_out_of_a_worker():
    error = pickle.loads(pickle.dumps(BrokenVideoError('a.mp4 is empty')))
    assert str(error) == 'a.mp4 is empty'


def ebml(number: int) -> bytes:
    """An eight-byte length as Matroska writes it."""
    return (1 << 56 | number).to_bytes(8, 'big')


@pytest.mark.parametrize('written, damage', [
    (100, None), (99, None),
    (50, 'is truncated: its header announces 121 bytes, the file has 71')])
def test_a_matroska_file_shorter_than_its_segment_is_truncated(
        written, damage, tmp_path):
    path = tmp_path / 'clip.mkv'
    path.write_bytes(b'\x1aE\xdf\xa3\x84head' + b'\x18S\x80g' + ebml(100)
                     + b'x' * written)
    assert find_damage(str(path)) == damage


def test_a_segment_of_unknown_length_says_nothing(tmp_path):
    path = tmp_path / 'live.webm'
    path.write_bytes(b'\x1aE\xdf\xa3\x84head\x18S\x80g\x01' + b'\xff' * 7)
    assert find_damage(str(path)) is None


@pytest.mark.parametrize('tail', [b'', b'\0' * 40])
def test_an_mp4_with_a_long_box_is_measured_in_eight_bytes(tail, tmp_path):
    path = tmp_path / 'clip.mp4'
    head = b'\0\0\0\x08ftyp\0\0\0\x08moov' + b'\0\0\0\x01mdat'
    path.write_bytes(head + (116).to_bytes(8, 'big') + b'x' * 100 + tail)
    assert find_damage(str(path)) is None
    path.write_bytes(head + (216).to_bytes(8, 'big') + b'x' * 100)
    assert 'announces 232 bytes, the file has 132' in find_damage(str(path))
