"""VideoInit and VideoDecode: the reader as transforms of MMAction2."""

import numpy as np
import pytest
from mmaction.registry import TRANSFORMS
from mmengine.registry import DefaultScope
from numbered_videos import number_of, write_numbered

from mmvidadapt.datasets import (
    BrokenVideoError,
    VideoDecode,
    VideoInit,
    guarded_pipeline,
)


def read(*steps: dict, **sample: object) -> dict:
    """Run a guarded pipeline on a sample."""
    with DefaultScope.overwrite_default_scope('mmaction'):
        return guarded_pipeline(steps)(dict(
            start_index=0, modality='RGB', **sample))


def numbers(results: dict) -> list[int]:
    """What the frames of a sample show."""
    return [number_of(picture) for picture in results['imgs']]


@pytest.mark.parametrize('options', [
    {}, dict(io_backend='local'), dict(num_threads=2, max_seconds=60)])
def test_frames_are_read_in_the_order_asked_for(options, tmp_path):
    path = write_numbered(tmp_path / 'a.mp4', 'libx264', 30, size=(64, 160))
    found = read(dict(type='VideoInit', **options), dict(type='VideoDecode'),
                 filename=str(path), frame_inds=np.array([[7, 3], [29, 7]]))
    assert numbers(found) == [7, 3, 29, 7]
    assert found['frame_inds'].tolist() == [7, 3, 29, 7]
    assert found['total_frames'] == 30 and found['avg_fps'] == 25
    assert found['img_shape'] == found['original_shape'] == (64, 160)
    assert found['video_reader'] is None


@pytest.mark.parametrize('sampler, expected', [
    (dict(type='UniformSample', clip_len=4, test_mode=True),
     [3, 10, 17, 25]),
    (dict(type='SampleFrames', clip_len=4, frame_interval=2, num_clips=1,
          test_mode=True), [11, 13, 15, 17]),
    (dict(type='DenseSampleFrames', clip_len=2, frame_interval=4,
          num_clips=1, sample_range=8, num_sample_positions=1,
          test_mode=True), [0, 4]),
    (dict(type='EqualSegmentSample', clip_len=3, test_mode=True),
     [5, 15, 25])])
def test_samplers_run_between_them(sampler, expected, tmp_path):
    path = write_numbered(tmp_path / 'a.webm', 'libvpx-vp9', 30, options={
        'deadline': 'realtime', 'cpu-used': '8'})
    found = read(dict(type='VideoInit'), sampler, dict(type='VideoDecode'),
                 filename=str(path))
    assert numbers(found) == found['frame_inds'].tolist() == expected


def test_a_target_rate_counts_on_the_rate_of_the_packets(tmp_path):
    # 30 frames in 6 s; the header of the stream promises 25 a second.
    path = write_numbered(tmp_path / 'a.mkv', 'libx264', 30,
                          times=list(range(0, 150, 5)))
    opened = read(dict(type='VideoInit'), filename=str(path))
    assert opened['avg_fps'] == pytest.approx(5, rel=.04)
    found = read(
        dict(type='VideoInit'),
        dict(type='SampleFrames', clip_len=3, target_fps=1, num_clips=1,
             test_mode=True),
        dict(type='VideoDecode'), filename=str(path))
    # MMAction2 spreads three frames over three seconds of 5 frames.
    assert np.diff(found['frame_inds']).tolist() == [7, 7]
    assert numbers(found) == found['frame_inds'].tolist()


def test_a_file_of_another_backend_is_named_if_it_is_broken(tmp_path):
    path = tmp_path / 'a.mp4'
    path.write_bytes(b'\x89PNG\r\n\x1a\n' + bytes(40))
    with pytest.raises(BrokenVideoError, match=f'{path} is no video but a '
                       'picture') as caught:
        read(dict(type='VideoInit', io_backend='local'), filename=str(path))
    assert caught.value.path == str(path)


@pytest.mark.parametrize('options, message', [
    (dict(max_seconds=0), 'max_seconds is 0: give the seconds that a file '
     'may take, above 0'),
    (dict(max_seconds=float('nan')), 'max_seconds is nan'),
    (dict(num_threads=-1), 'num_threads is -1: give 1 or more, or 0 to let')])
def test_numbers_that_make_no_sense_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        VideoInit(**options)


def test_they_are_registered_and_say_what_they_do():
    assert repr(VideoInit(num_threads=2, max_seconds=9.)) == (
        "VideoInit(io_backend='disk', num_threads=2, max_seconds=9.0)")
    assert isinstance(TRANSFORMS.build(dict(type='VideoDecode')), VideoDecode)
    assert repr(VideoDecode()) == 'VideoDecode()'
