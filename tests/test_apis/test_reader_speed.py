"""Readers of videos against each other: CPU time, frames and cores."""

import gc
import json
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from mmengine.config import Config

from mmvidadapt.apis import reader_speed
from mmvidadapt.apis.reader_speed import (
    FileSpeed,
    ReaderSpeed,
    Timing,
    cores_for,
    encode_video,
    make_videos,
    measure_readers,
    nonref_share,
    toy_frames,
)
from mmvidadapt.datasets import BrokenVideoError
from mmvidadapt.datasets.transforms.video_decode import VideoDecode
from tests.conftest import ROOT
from tests.numbered_videos import ffmpeg, set_matrix, write_numbered
from tests.scripts import plain_tool, video_config, write_videos

TASKS = ['open', '8 frames', '16 frames', 'all']
OURS = (dict(type='VideoInit'), dict(type='VideoDecode'))


class LateDecode(VideoDecode):
    """Gives the frame behind the one that was asked for, from 10 on."""

    def transform(self, results: dict) -> dict:
        last = results['total_frames'] - 1
        inds = results['frame_inds']
        results['frame_inds'] = np.where(
            inds < 10, inds, np.minimum(inds + 1, last))
        return super().transform(results)


class TornDecode(VideoDecode):
    """Cannot decode."""

    def transform(self, results: dict) -> dict:
        raise RuntimeError('no such codec\nat line 3')


@pytest.fixture(scope='module')
def video(tmp_path_factory) -> Path:
    """Two groups of eight frames: I, three B, P, two B, P."""
    return encode_video(
        tmp_path_factory.mktemp('videos') / 'toy.mp4',
        toy_frames(16, 64, 48), 'libx264', {
            'x264-params': 'bframes=3:b-pyramid=none:b-adapt=0:keyint=8:'
                           'min-keyint=8:scenecut=0'})


@pytest.fixture
def readers(monkeypatch: pytest.MonkeyPatch) -> dict:
    """Readers to measure, ours twice; a test may add others."""
    found = {'VideoDecode': OURS, 'DecordDecode': OURS}
    monkeypatch.setattr(reader_speed, 'READERS', found)
    monkeypatch.setattr(reader_speed, '_missing', lambda name: '')
    return found


def test_b_frames_that_no_other_refers_to_are_counted(video):
    assert nonref_share(video) == 10 / 16


def test_intra_frames_are_all_for_themselves(tmp_path):
    path = encode_video(tmp_path / 'intra.avi', toy_frames(4, 64, 48),
                        'mjpeg')
    assert nonref_share(path) == 0


def test_every_reader_does_everything(video, readers):
    found, = measure_readers([video], repeats=2)
    assert (found.name, found.codec, found.frames) == ('toy.mp4', 'h264', 16)
    assert (found.width, found.height) == (64, 48)
    assert [reader.name for reader in found.readers] == [*readers]
    for reader in found.readers:
        assert list(reader.timings) == TASKS
        assert (reader.frames, reader.wrong, reader.problem) == (16, 0, '')
        assert reader.read == 8 + 16 + 16
        assert reader.remark(16) == ''
    ours, decord = (reader.timings for reader in found.readers)
    for task in TASKS:
        assert decord[task].ratio == 1
        assert ours[task].ratio == ours[task].seconds / decord[task].seconds
        assert 0 < ours[task].least <= ours[task].seconds


def test_other_frames_are_told_and_not_compared(video, readers):
    readers['Late'] = OURS[0], dict(type=LateDecode)
    found, = measure_readers([video], repeats=2)
    late = found.readers[2]
    # Of 10 ... 15 the last one is right; 8 frames are 1, 3, ... 15.
    assert late.wrong == 2 + 5 + 5
    assert late.remark(16) == 'wrong frames: 12 of 40'
    assert {timing.ratio for timing in late.timings.values()} == {None}
    assert 'wrong frames: 12 of 40' in str(found)


def test_colours_of_its_own_are_no_other_frame():
    rng = np.random.default_rng(0)
    still = rng.integers(50, 200, (48, 64), dtype=np.uint8)
    seen = [still, still.copy(), still.copy()]
    seen[1][0, :32] += 40  # 0.4 levels on average
    seen[2][1, :32] += 40
    assert not reader_speed._is_other(seen[1], 1, seen)
    assert reader_speed._is_other(seen[0], 1, seen)
    rounded = seen[1].copy()
    rounded[::2] += 1
    assert not reader_speed._is_other(rounded, 1, seen)
    assert not reader_speed._is_other(seen[1] + 2, 1, seen)  # 10 bits
    assert reader_speed._is_other(seen[1] + 5, 1, seen)


def test_a_reader_that_fails_is_marked_with_what_it_says(video, readers):
    readers['Torn'] = OURS[0], dict(type=TornDecode)
    found, = measure_readers([video], repeats=2)
    assert found.readers[2].problem == 'no such codec'
    assert found.readers[2].timings == {}
    assert str(found).splitlines()[-1].split() == [
        'Torn', *10 * '-', 'no', 'such', 'codec']


def test_a_reader_that_is_missing_is_left_out(video, readers, monkeypatch):
    monkeypatch.setattr(reader_speed, '_missing',
                        lambda name: 'x' * (name == 'DecordDecode'))
    found, = measure_readers([video], repeats=2)
    ours, = found.readers
    assert {timing.ratio for timing in ours.timings.values()} == {None}


def test_all_frames_and_slow_readers_take_fewer_turns(monkeypatch):
    clock = [0.]
    monkeypatch.setattr(time, 'process_time', lambda: clock[0])
    monkeypatch.setattr(gc, 'collect', lambda: 0)  # takes a second

    def reading(seconds: float) -> SimpleNamespace:
        def task() -> None:
            clock[0] += seconds
        return SimpleNamespace(tasks={'8 frames': task, 'all': task})

    fast, near, slow = reader_speed._in_turns(
        [reading(1.), reading(2.), reading(4.)], 12)
    assert fast == {'8 frames': [1.] * 12, 'all': [1.] * 4}
    assert near == {'8 frames': [2.] * 12, 'all': [2.] * 4}
    assert slow == {'8 frames': [4.] * 4, 'all': [4.] * 4}


@pytest.mark.parametrize('rate, seconds, cores', [
    (400, .1, 40), (400, .1001, 41), (400, .0001, 1), (10, .25, 3),
    (3, 1 / 3, 1)])
def test_cores_keep_up_with_the_rate(rate, seconds, cores):
    assert cores_for(rate, seconds) == cores


def test_the_table_says_what_was_measured():
    found = FileSpeed('a.mp4', 'h264', 'mp4', 340, 256, 300, .473, 400, [
        ReaderSpeed('VideoDecode', 300, 0, 324, '', {
            'open': Timing(.006, .005, .0001, 1.5),
            '8 frames': Timing(.09, .08, .0012, .5)}),
        ReaderSpeed('PyAVDecode', 0, 3, 324, '', {
            'open': Timing(.002, .002, 0.),
            '8 frames': Timing(.2, .19, .01)})])
    assert str(found).splitlines() == [
        'a.mp4: h264, 340 x 256, 300 frames, 47% of them non-reference',
        'reader         open ms  ratio   8 frames ms  ratio  cores',
        'VideoDecode  6.0 (0.1)  1.500    90.0 (1.2)  0.500     36',
        'PyAVDecode   2.0 (0.0)      -  200.0 (10.0)      -     80  '
        'wrong frames: 3 of 324, counts 0 frames']
    first, second = json.loads(json.dumps(found.as_dict()))['readers']
    assert first['timings']['8 frames'] == dict(
        seconds=.09, least=.08, spread=.0012, ratio=.5, cores=36)
    assert 'cores' not in second['timings']['open']


def test_the_pipeline_is_that_of_training_with_the_reader_replaced(
        video, readers, tmp_path):
    path = video_config('inti/vitb_k400.py', tmp_path,
                        write_videos(tmp_path, 1), tmp_path)
    cfg = Config.fromfile(path)
    steps = reader_speed._train_pipeline(cfg)
    given = list(cfg.train_dataloader.dataset.pipeline)
    readers['Late'] = dict(type='VideoInit', num_threads=2), dict(
        type=LateDecode)
    changed = reader_speed._with_reader(steps, 'Late')
    assert (changed[0], changed[2]) == readers.pop('Late')
    assert [changed[1], *changed[3:]] == [given[1], *given[3:]]
    found, = measure_readers([video], repeats=2, pipeline=cfg)
    for reader in found.readers:
        assert reader.problem == ''
        assert list(reader.timings) == [*TASKS, 'pipeline']
    assert 'cores' in found.as_dict()['readers'][0]['timings']['pipeline']


def test_a_set_of_ten_codecs_is_made(tmp_path):
    paths = make_videos(tmp_path, frames=6, shrink=4)
    found = {path.name: reader_speed._reference(path)[0] for path in paths}
    assert {name: one.codec for name, one in found.items()} == {
        'x264.mp4': 'h264', 'x264_720p.mp4': 'h264',
        'x264_open_gop.mp4': 'h264', 'x265.mp4': 'hevc',
        'av1.mp4': 'libdav1d', 'vp9.webm': 'vp9',
        'mpeg4_b_frames.avi': 'mpeg4', 'mpeg2.ts': 'mpeg2video',
        'mjpeg.avi': 'mjpeg', 'prores.mov': 'prores'}
    assert {one.frames for one in found.values()} == {6}
    assert {(one.width, one.height) for one in found.values()} == {
        (84, 64), (320, 180)}


def test_the_tool_measures_files_and_what_they_are_encoded_to(
        video, tmp_path, monkeypatch):
    monkeypatch.setattr(reader_speed, 'SIZES', ((32, 24), (96, 64)))
    done = plain_tool(
        'benchmark.py', '--readers', video.parent, '--re-encode', '--repeats',
        2, '--rate', 10, '--out', tmp_path / 'speed')
    assert done.returncode == 0, done.stderr
    written = json.loads((tmp_path / 'speed.json').read_text())
    assert (written['rate'], written['repeats']) == (10, 2)
    assert written['environment']['clock'] == 'cpu'
    assert [(one['name'], one['width'], one['frames'])
            for one in written['files']] == [
        ('toy.mp4', 64, 16), ('toy_x264_32x24.mp4', 32, 16),
        ('toy_x264_96x64.mp4', 96, 16)]
    for one in written['files']:
        names = [reader['name'] for reader in one['readers']]
        assert names[:2] == ['VideoDecode', 'DecordDecode']
        assert all(reader['wrong'] == 0 for reader in one['readers'])
        assert f'{one["name"]}: h264' in done.stdout
    assert f'wrote {tmp_path / "speed.json"}' in done.stdout


def test_without_files_the_tool_measures_the_set(
        readers, video, tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(reader_speed, 'make_videos',
                        lambda folder: asked.append(folder) or [video])
    done = plain_tool('benchmark.py', '--readers', '--repeats', 2, '--out',
                      tmp_path / 'speed')
    assert done.returncode == 0, done.stderr
    assert 'toy.mp4: h264' in done.stdout
    assert not asked[0].exists()  # it goes when it has been measured


@pytest.mark.parametrize('args, message', [
    (['--readers', 'gone.mp4'], 'gone.mp4 does not exist'),
    (['--readers', 'VIDEO', '--repeats', 1], '--repeats 1 gives no median'),
    (['--readers', 'VIDEO', '--rate', 0],
     '--rate 0 is no number of clips a second: give one above 0'),
    (['--readers', '--re-encode'], 'give files behind it'),
    (['--readers', str(ROOT / 'configs')], 'holds neither videos'),
    (['--readers', 'VIDEO', '--pipeline', str(
        ROOT / 'configs/tds_clip/vitb_ssv1.py')],
     'the pipeline does not open and decode videos by one of VideoDecode'),
    (['--readers', 'VIDEO', '--pipeline', str(
        ROOT / 'configs/mote/vitb_zeroshot_ucf101.py')],
     'the config has no train_dataloader')])
def test_wrong_options_are_one_sentence(args, message, video, tmp_path):
    args = [video if one == 'VIDEO' else one for one in args]
    assert message in plain_tool(
        'benchmark.py', *args, '--out', tmp_path / 'speed').error
    assert not list(tmp_path.iterdir())


def test_a_file_that_is_no_video_is_an_error(tmp_path):
    sound = tmp_path / 'sound.mp4'
    ffmpeg('-f', 'lavfi', '-i', 'sine=d=0.2', sound)
    with pytest.raises(ValueError, match='sound.mp4 holds no video: take it'):
        next(measure_readers([sound]))


def test_what_only_our_reader_gets_right_is_not_called_wrong(tmp_path):
    mirrored = set_matrix(write_numbered(
        tmp_path / 'mirrored.mp4', 'libx264', 12), (-1, 0, 0, 1))
    deep = write_numbered(tmp_path / 'deep.mp4', 'libx264', 12,
                          pix_fmt='yuv420p10le')
    for path, differs in ((mirrored, True), (deep, False)):
        found, = measure_readers([path], repeats=2,
                                 readers=['VideoDecode', 'PyAVDecode'])
        ours, theirs = found.readers
        assert (ours.wrong, ours.problem) == (0, '')
        assert (theirs.wrong > 30) == differs
        assert bool(theirs.wrong) == differs


def test_a_reader_that_would_not_come_back_is_not_waited_for(tmp_path):
    path = write_numbered(tmp_path / 'a.mp4', 'libsvtav1', 5,
                          options={'preset': '10'})
    found, = measure_readers([path], repeats=2, readers=['OpenCVDecode'])
    assert 'it cannot decode AV1' in found.readers[0].problem


@pytest.mark.parametrize('data, fault', [
    (b'<html>gone</html>', 'is no video but a web page'),
    (bytes(range(256)) * 9, 'cannot be decoded from its start to its end')])
def test_a_broken_file_is_named(data, fault, tmp_path):
    path = tmp_path / 'a.mp4'
    path.write_bytes(data)
    with pytest.raises(BrokenVideoError, match=f'{path} {fault}'):
        next(measure_readers([path], repeats=2))
