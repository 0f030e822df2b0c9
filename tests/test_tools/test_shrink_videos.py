"""Videos encoded again: every frame is there, upright, and fast to reach."""

import os
import re
import runpy
import shutil
import signal
import subprocess
import sys
import time
from collections import namedtuple
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest

from mmvidadapt.datasets.video_reader import VideoReader
from tests.conftest import ROOT
from tests.numbered_videos import number_of, set_matrix, write_numbered
from tests.scripts import Finished, plain_tool
from tests.toy_videos import cut, index_first, write_video

SCRIPT = ROOT / 'tools' / 'data' / 'shrink_videos.py'
#: Height and width, twice those of a result with --short-side 32.
SIZE = 64, 160


def shrink(folder: Path, out: Path, *args: object,
           workers: int = 1) -> Finished:
    """Run the tool, to a short side of 32."""
    if '--short-side' not in args:
        args = ('--short-side', 32, *args)
    return plain_tool('data/shrink_videos.py', folder, out, '--workers',
                      workers, *args)


def files(folder: Path) -> list[str]:
    """Every file below a folder, hidden ones too, but for the record."""
    return sorted(path.relative_to(folder).as_posix()
                  for path in folder.rglob('*') if path.is_file()
                  and path.name != 'shrink_videos.json')


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / 'my: videos'
    (folder / 'a class').mkdir(parents=True)
    return folder


@pytest.fixture
def out(tmp_path):
    return tmp_path / 'out'


@pytest.fixture(scope='module')
def functions():
    return runpy.run_path(str(SCRIPT))


def test_every_frame_is_there_once_and_in_order(folder, tmp_path,
                                                monkeypatch):
    monkeypatch.chdir(tmp_path)
    out = Path('no:protocol')
    write_numbered(folder / 'a class' / '50% (v1.2).mkv', 'libx264', 61,
                   size=SIZE, bframes=2, gop=250)
    write_numbered(folder / 'old.avi', 'mpeg4', 21, size=SIZE, bframes=1)
    done = shrink(folder, out, workers=2)
    assert done.returncode == 0, done.stderr
    assert files(out) == ['a class/50% (v1.2).mp4', 'old.mp4']
    assert f'2 of 2 videos are in {out}' in done.stdout
    assert '2/2' in done.stderr
    for name, total in (('a class/50% (v1.2).mp4', 61), ('old.mp4', 21)):
        reader = VideoReader(out / name)
        pictures = reader.read(range(total))
        assert [number_of(picture) for picture in pictures] == [
            *range(total)]
        assert pictures[0].shape == (32, 80, 3)
        assert len(reader) == total
        # One alone is the same to the last bit.
        for number in (0, 5, 15, total - 1):
            alone, = reader.read([number])
            assert np.array_equal(alone, pictures[number])


def test_a_key_frame_every_eight_and_b_frames_that_nothing_needs(
        folder, out):
    write_numbered(folder / 'one.mp4', 'libx264', 40, size=SIZE, gop=250)
    shrink(folder, out)
    kinds = {}
    with av.open(out / 'one.mp4') as video:
        assert [stream.type for stream in video.streams] == ['video']
        for packet in video.demux(video=0):
            data, units = bytes(packet), set()
            while data:
                length = int.from_bytes(data[:4], 'big')
                kind = data[4] & 31
                if kind in (1, 5):  # a slice; two bits: is it referred to?
                    units.add('K' if kind == 5 else
                              'PB'[not data[4] >> 5 & 3])
                data = data[4 + length:]
            if units:
                kinds[packet.pts], = units
    assert ''.join(kinds[pts] for pts in sorted(kinds)) == 5 * 'KBBBPBBP'
    data = (out / 'one.mp4').read_bytes()
    assert data.index(b'moov') < data.index(b'mdat')


def test_the_same_video_gives_the_same_bytes(folder, functions):
    source = VideoReader(write_video(folder / 'one.mp4', 17, (340, 256)))
    results = []
    for name in ('a', 'b'):
        functions['encode'](source, folder / name,
                            functions['Options'](256, 19))
        results.append((folder / name).read_bytes())
    assert results[0] == results[1]
    # What differs with it on does so in some runs only.
    assert b' mbtree=0 ' in results[0]


@pytest.mark.parametrize('size, short_side, expected', [
    ((340, 256), 256, (340, 256)), ((1920, 1080), 256, (456, 256)),
    ((720, 1280), 256, (256, 456)), ((320, 240), 256, (320, 240)),
    ((171, 129), 256, (170, 128)), ((1, 9), 256, (2, 8)),
    ((500, 375), 128, (170, 128))])
def test_the_short_side_is_made_smaller_never_larger(functions, size,
                                                     short_side, expected):
    assert functions['fit'](*size, short_side) == expected


@pytest.mark.parametrize('matrix', [
    (0, 1, -1, 0), (-1, 0, 0, -1), (0, -1, 1, 0), (-1, 0, 0, 1),
    (0, 1, 1, 0)])
def test_what_the_file_says_to_turn_is_turned(folder, out, matrix):
    source = set_matrix(write_numbered(
        folder / 'phone.mp4', 'libx264', 20, size=SIZE), matrix)
    assert shrink(folder, out).returncode == 0
    before, after = VideoReader(source), VideoReader(out / 'phone.mp4')
    assert len(after) == 20
    for old, new in zip(before.read([0, 11]), after.read([0, 11])):
        assert (new.shape[0], new.shape[1]) == (old.shape[0] // 2,
                                                old.shape[1] // 2)
        assert np.abs(old[::2, ::2].astype(int) - new).mean() < 8
    with av.open(out / 'phone.mp4') as video:
        assert next(video.decode(video=0)).rotation == 0


def test_each_frame_keeps_its_time(folder, out):
    times = [0, 1, 2, 10, 11, 30, 31, 32, 33, 34, 60, 61, 62, 63, 64, 65, 100]
    write_numbered(folder / 'one.mkv', 'libx264', len(times), size=SIZE,
                   times=times, first=50, bframes=2)
    write_numbered(folder / 'two.avi', 'mpeg4', 12, size=SIZE, rate=24)
    assert shrink(folder, out).returncode == 0
    reader = VideoReader(out / 'one.mp4')
    assert np.allclose(reader.times, np.array(times) / 25, atol=1e-4)
    assert [number_of(picture) for picture in reader.read(
        range(len(times)))] == [*range(len(times))]
    assert VideoReader(out / 'two.mp4').avg_fps == pytest.approx(24)


@pytest.mark.parametrize('codec, suffix, pix_fmt, tags', [
    ('libx264', 'mp4', 'yuv420p', (1, 1)),
    ('libx264', 'mp4', 'yuv420p', (5, 2)),
    ('libx264', 'mp4', 'yuv444p10le', (9, 1)),
    ('mjpeg', 'avi', 'yuvj422p', (5, 2)),
    ('ffv1', 'mkv', 'bgr0', None), ('png', 'avi', 'rgb24', None),
    ('ffv1', 'mkv', 'gray', None)])
def test_colours_stay_what_they_are(folder, out, codec, suffix, pix_fmt,
                                    tags):
    source = write_coloured(folder / f'one.{suffix}', codec, pix_fmt, tags)
    assert shrink(folder, out, '--short-side', 64, '--crf', 1).returncode == 0
    with av.open(out / 'one.mp4') as video:
        frame = next(video.decode(video=0))
    assert frame.format.name in ('yuv420p', 'yuvj420p')
    if tags is not None:
        assert (frame.colorspace, frame.color_range) == tags
    old, = VideoReader(source).read([3])
    new, = VideoReader(out / 'one.mp4').read([3])
    # Within the blocks: 4:2:0 blurs their edges.
    difference = np.abs(old.astype(int) - new)[8::16, 8::16]
    assert difference.max() <= 4, difference.max(axis=(0, 1))


def write_coloured(path: Path, codec: str, pix_fmt: str,
                   tags: tuple[int, int] | None) -> Path:
    """Blocks of 16 pixels of different colours, which do not move."""
    levels = np.random.default_rng(0).integers(30, 226, (4, 10, 3))
    picture = np.kron(levels, np.ones((16, 16, 1))).astype(np.uint8)
    with av.open(str(path), 'w') as file:
        stream = file.add_stream(codec, rate=25)
        stream.height, stream.width = picture.shape[:2]
        stream.pix_fmt = pix_fmt
        space, span = tags or (2, 0)
        if tags is not None:
            stream.codec_context.colorspace = space
            stream.codec_context.color_range = span
        for number in range(5):
            frame = av.VideoFrame.from_ndarray(picture).reformat(
                format=pix_fmt, dst_colorspace=None if tags is None else
                space, dst_color_range=span)
            frame.pts = number
            if tags is not None:
                frame.colorspace, frame.color_range = tags
            file.mux(stream.encode(frame))
        file.mux(stream.encode(None))
    return path


def test_a_second_run_does_only_what_is_missing(folder, out):
    for name in ('one', 'two', 'three'):
        write_video(folder / f'{name}.mp4', 9)
    assert shrink(folder, out).returncode == 0
    kept = {name: (out / name).stat().st_mtime_ns for name in files(out)}
    done = shrink(folder, out)
    assert done.returncode == 0
    assert f'Nothing to do: 3 of 3 videos are in {out}.' in done.stdout
    (out / 'two.mp4').unlink()
    (out / 'three.mp4').write_bytes(b'')  # as a power cut leaves it
    done = shrink(folder, out)
    assert '2 videos of' in done.stdout and '3 of 3 videos' in done.stdout
    assert len(VideoReader(out / 'three.mp4')) == 9
    now = {name: (out / name).stat().st_mtime_ns for name in files(out)}
    assert now.keys() == kept.keys()
    assert [name for name in now if now[name] == kept[name]] == ['one.mp4']


def test_results_of_other_options_or_other_tools_are_not_mixed(folder, out):
    write_video(folder / 'one.mp4', 9)
    assert shrink(folder, out).returncode == 0
    assert shrink(folder, out, '--crf', 30).error == (
        f'the videos in {out} were made with --short-side 32 --crf 19: give '
        'the same options, or another folder.')
    (out / 'shrink_videos.json').unlink()
    assert shrink(folder, out).error == (
        f'{out} holds 1 videos of these names, and no shrink_videos.json '
        'that says how they were made: give an empty folder.')


def test_an_interrupted_run_leaves_nothing_half_written(folder, out,
                                                       monkeypatch):
    write_video(folder / 'a class' / 'one.mp4', 9)
    write_video(folder / 'two.mp4', 9)
    read, calls = VideoReader.read, []

    def interrupted(reader, indices):
        calls.append(reader)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return read(reader, indices)

    with monkeypatch.context() as patch:
        patch.setattr(VideoReader, 'read', interrupted)
        done = shrink(folder, out)
    assert done.returncode == 130
    assert done.stderr.endswith(
        f'stopped: 1 of 2 videos are in {out}; the same command goes on from '
        'there.\n')
    assert files(out) == ['a class/one.mp4']
    assert '2 of 2 videos' in shrink(folder, out).stdout
    assert files(out) == ['a class/one.mp4', 'two.mp4']


def test_workers_stop_within_a_frame(folder, out, functions):
    write_video(folder / 'one.mp4', 9)
    answers = iter([False, False, True])
    with pytest.raises(functions['Stopped']):
        functions['shrink'](
            functions['Job'](folder / 'one.mp4', out / 'one.mp4'),
            functions['Options'](32, 20), lambda: next(answers))
    assert files(out) == [] and next(answers, None) is None


def test_what_a_killed_worker_leaves_is_no_video_and_goes_later(
        folder, out, monkeypatch):
    for name in ('one', 'two'):
        write_video(folder / f'{name}.mp4', 9)
    with monkeypatch.context() as patch:
        patch.setattr(VideoReader, 'read', lambda *_: os._exit(9))
        done = shrink(folder, out, workers=2)
    assert done.error == (
        'a worker was ended from outside, most likely because the memory was '
        'full: start again with fewer --workers.')
    left = files(out)
    assert left and all(name.startswith('.') for name in left)
    for name in left:
        os.utime(out / name, (0, 0))
    assert shrink(folder, out).returncode == 0
    assert files(out) == ['one.mp4', 'two.mp4']


@pytest.mark.parametrize('kind', [
    pytest.param(signal.SIGKILL, marks=pytest.mark.slow), signal.SIGTERM])
def test_workers_end_with_the_run_however_it_ends(kind, folder, out):
    source = write_numbered(folder / 'a.mp4', 'libx264', 120, size=(96, 160))
    for number in range(150):  # more than are done before it is ended
        shutil.copy(source, folder / f'{number}.mp4')
    run = subprocess.Popen(
        [sys.executable, '-W', 'ignore', SCRIPT, folder, out, '--workers', '2',
         '--short-side', '32'], stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE, text=True)
    try:
        workers = wait_for(lambda: children(run.pid), 2)
        wait_for(lambda: list(out.glob('*.mp4')), 1)
        run.send_signal(kind)
        said = run.communicate(timeout=60)[1]
    finally:
        run.kill()
    assert run.returncode == (130 if kind == signal.SIGTERM else -9)
    assert ('the same command goes on' in said) == (kind == signal.SIGTERM)
    wait_for(lambda: [None] * (not any(map(alive, workers))), 1)


def children(process: int) -> list[int]:
    """Processes that another one has forked."""
    path = Path(f'/proc/{process}/task/{process}/children')
    return [int(child) for child in path.read_text().split()]


def alive(process: int) -> bool:
    """Whether a process runs; one that nobody waits for does not."""
    try:
        state = Path(f'/proc/{process}/stat').read_text()
    except FileNotFoundError:
        return False
    return state.rpartition(')')[2].split()[0] != 'Z'


def wait_for(find: Callable[[], list], number: int) -> list:
    """What is found once there are so many; fails after a minute."""
    for _ in range(600):
        found = find()
        if len(found) >= number:
            return found
        time.sleep(.1)
    raise AssertionError(f'{len(found)} in place of {number}')


@pytest.mark.parametrize('text', ['', '[1]', 'no JSON'])
def test_a_record_that_says_nothing_is_named(text, folder, out):
    write_video(folder / 'one.mp4', 9)
    out.mkdir()
    (out / 'shrink_videos.json').write_text(text)
    assert shrink(folder, out).error == (
        f'{out}/shrink_videos.json does not say how the videos beside it were '
        'made: delete the folder and start again, or give another one.')


def test_a_link_that_leads_nowhere_is_listed(folder, out):
    write_video(folder / 'one.mp4', 9)
    (folder / 'gone.mp4').symlink_to(folder / 'nowhere.mp4')
    done = shrink(folder, out)
    assert done.returncode == 1 and files(out) == ['one.mp4']
    assert f'{folder}/gone.mp4 is a link to a file that does not exist' in (
        done.stdout)


def test_broken_videos_are_listed_and_the_others_done(folder, out):
    sound = write_numbered(folder / 'sound.mp4', 'libx264', 30, size=SIZE)
    cut(sound, folder / 'a class' / 'half.mp4', 0.5)
    (folder / 'page.mp4').write_text('<html>gone</html>')
    cut(index_first(sound, folder / 'cut.mov'), folder / 'zeros.mp4', 0.6,
        same_size=True)
    (folder / 'cut.mov').unlink()
    (folder / 'notes.txt').write_text('no video')
    done = shrink(folder, out, workers=2)
    assert done.returncode == 1 and 'Traceback' not in done.stderr
    assert f'1 of 4 videos are in {out}' in done.stdout
    told = [line for line in done.stdout.splitlines()
            if line.startswith('Left out: ')]
    assert len(told) == 3
    assert f'Left out: {folder}/a class/half.mp4 is truncated' in told[0]
    assert f'{folder}/page.mp4 is no video but a web page' in told[1]
    assert re.search(rf'frame \d+ of {folder}/zeros\.mp4 cannot be decoded',
                     told[2])
    assert files(out) == ['sound.mp4']


def test_a_result_that_is_not_like_its_source_is_not_kept(folder, out,
                                                         monkeypatch):
    write_video(folder / 'one.mp4', 9)
    read = VideoReader.read
    with monkeypatch.context() as patch:
        patch.setattr(VideoReader, 'read', lambda *args: [
            picture[::-1, ::-1] for picture in read(*args)])
        done = shrink(folder, out)
    assert done.returncode == 1
    assert (f'Left out: the result of {folder}/one.mp4 differs in frame 0 '
            'by') in done.stdout
    assert files(out) == []


def test_frames_that_are_missing_or_late_are_seen(folder, functions):
    sources = [VideoReader(write_numbered(
        folder / f'{n}.mp4', 'libx264', total, times=times))
        for n, (total, times) in enumerate((
            (10, None), (9, None), (10, [*range(9), 12])))]
    target, options = folder / 'result.mp4', functions['Options'](32, 20)
    pictures = functions['encode'](sources[0], target, options)
    assert sorted(pictures) == [0, 5, 9]
    for source, wrong in zip(sources, (
            None, 'has 10 frames in place of 9',
            'shows a frame 0.120 s off its time')):
        assert functions['verify'](target, source, pictures) == wrong


def test_space_is_told_before_it_starts(folder, out, monkeypatch):
    for number in range(3):
        write_numbered(folder / f'{number}.mp4', 'libx264',
                       30 + 50 * number, size=SIZE)
    usage = namedtuple('usage', 'total used free')
    with monkeypatch.context() as patch:
        patch.setattr(shutil, 'disk_usage', lambda _: usage(9, 0, 5000))
        done = shrink(folder, out)
        assert done.error.startswith('about ')
        assert ('are needed and 5.0 kB are free on the disk of '
                f'{out}: free some') in done.error
        assert not out.exists()
        done = shrink(folder, out, '--force')
    assert done.returncode == 0
    told = float(done.stdout.split('will take about ')[1].split(' kB')[0])
    size = sum((out / name).stat().st_size for name in files(out)) / 1000
    assert told == pytest.approx(size, rel=.3)


def test_videos_that_cannot_be_estimated_are_tried_anyway(folder, out):
    (folder / 'one.mp4').write_text('x')
    done = shrink(folder, out)
    assert done.returncode == 1
    assert 'is not known, because none that was tried' in done.stdout
    assert '0 of 1 videos are in' in done.stdout


def test_two_videos_of_one_name_are_refused(folder, out):
    write_video(folder / 'a class' / 'one.avi', 3)
    write_video(folder / 'a class' / 'one.mp4', 3)
    assert shrink(folder, out).error == (
        f'{folder}/a class/one.avi and {folder}/a class/one.mp4 would both '
        f'become {out}/a class/one.mp4: rename one of them, or move it to '
        'another folder.')
    assert not out.exists()


@pytest.mark.parametrize('option, words', [
    (('--short-side', 8), '--short-side is 8: give at least 16.'),
    (('--short-side', 33), '--short-side is 33: give an even number.'),
    (('--crf', 0), '--crf is 0: give a number from 1 to 51.'),
    (('--workers', 0), '--workers is 0: give at least 1.')])
def test_numbers_out_of_range_are_refused(folder, out, option, words):
    write_video(folder / 'one.mp4', 3)
    assert shrink(folder, out, *option).error == words


def test_folders_that_do_not_fit_are_refused(folder, out, tmp_path):
    assert f'{out} is not a folder' in shrink(out, out).error
    assert f'{folder} holds no videos (.3gp, ' in shrink(folder, out).error
    write_video(folder / 'one.mp4', 3)
    for other in (folder, folder / 'a class', folder / 'new', tmp_path):
        assert 'give a folder of its own' in shrink(folder, other).error
    (tmp_path / 'file').write_text('x')
    assert 'is a file' in shrink(folder, tmp_path / 'file').error
    assert files(folder) == ['one.mp4']
