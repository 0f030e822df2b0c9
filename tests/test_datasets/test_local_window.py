"""Frames around each sampled frame, with every sampler and decoder."""

import time
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmaction.datasets.transforms import DecordDecode, DecordInit
from mmaction.registry import DATASETS, TRANSFORMS
from mmcv.transforms import Compose
from mmengine.dataset import DefaultSampler
from mmengine.registry import FUNCTIONS, init_default_scope
from torch.utils.data import DataLoader
from toy_videos import write_video

from mmvidadapt.datasets import guard_reading
from mmvidadapt.datasets.transforms import LocalWindow

DECODERS = ('Video', 'Decord', 'OpenCV', 'PyAV')


@pytest.fixture(autouse=True, scope='module')
def _scope() -> None:
    """Types without a prefix are MMAction2's."""
    init_default_scope('mmaction')


def widened(inds: list[int], total: int = 20, start_index: int = 0,
            **kwargs) -> list:
    """Windows around given frames, one list for each of them."""
    transform = LocalWindow(**kwargs)
    results = transform(dict(
        frame_inds=np.array(inds, dtype=np.int32), clip_len=len(inds),
        num_clips=1, total_frames=total, start_index=start_index))
    assert results['clip_len'] == len(inds) * transform.window
    assert results['frame_inds'].dtype == np.int32
    return results['frame_inds'].reshape(len(inds), -1).tolist()


def test_a_window_is_centred_and_in_the_order_of_time():
    assert widened([7, 12]) == [[5, 6, 7, 8, 9], [10, 11, 12, 13, 14]]
    assert widened([7, 12], window=3) == [[6, 7, 8], [11, 12, 13]]


def test_a_window_of_one_frame_changes_nothing():
    assert widened([0, 7, 19], window=1) == [[0], [7], [19]]


@pytest.mark.parametrize('start_index', [0, 1])
def test_both_ends_are_clamped(start_index):
    first, last = start_index, start_index + 19
    assert widened([first, last], start_index=start_index) == [
        [first, first, first, first + 1, first + 2],
        [last - 2, last - 1, last, last, last]]


@pytest.mark.parametrize('start_index', [0, 1])
def test_wrapping_counts_from_the_end_before_the_start_only(start_index):
    first, last = start_index, start_index + 19
    assert widened([first, last], start_index=start_index, ends='wrap') == [
        [last - 1, last, first, first + 1, first + 2],
        [last - 2, last - 1, last, last, last]]


@pytest.mark.parametrize('ends', LocalWindow.ENDS)
def test_a_video_shorter_than_the_window_is_repeated(ends):
    assert widened([0], total=1, ends=ends) == [[0] * 5]


@pytest.mark.parametrize('sampler', [
    dict(type='SampleFrames', clip_len=4, frame_interval=3, num_clips=2),
    dict(type='SampleFrames', clip_len=1, num_clips=8, test_mode=True),
    dict(type='DenseSampleFrames', clip_len=4, num_clips=2),
    dict(type='UniformSample', clip_len=8),
    dict(type='UniformSample', clip_len=4, num_clips=3, test_mode=True),
    dict(type='UniformSampleFrames', clip_len=8, num_clips=2),
    dict(type='SomethingSample', clip_len=4, num_clips=2),
    dict(type='KineticsSample', clip_len=4, num_clips=2, test_mode=True),
])
@pytest.mark.parametrize('start_index', [0, 1])
def test_it_follows_or_runs_any_sampler(sampler, start_index):
    info = dict(total_frames=90, start_index=start_index, avg_fps=25)
    np.random.seed(0)
    plain = TRANSFORMS.build(sampler)(dict(info))
    clip_len, centres = plain['clip_len'], plain['frame_inds'].copy()
    after = LocalWindow(5)(plain)
    np.random.seed(0)
    inside = LocalWindow(5, sampler=sampler)(dict(info))
    for found in (after, inside):
        # Position t * window + m, so that FormatShape makes a clip of it.
        windows = found['frame_inds'].reshape(-1, clip_len, 5)
        assert (windows[..., 2].reshape(-1) == centres).all()
        assert found['clip_len'] == 5 * clip_len
        assert windows.min() >= start_index
        assert windows.max() < start_index + 90


def frames_of(reader: str, path: Path, num_clips: int = 2) -> list:
    """Frames of the windows around 4 frames of each clip."""
    return Compose([
        dict(type=f'{reader}Init'),
        dict(type='SomethingSample', clip_len=4, num_clips=num_clips,
             test_mode=True),
        dict(type='LocalWindow', window=5),
        dict(type=f'{reader}Decode')])(
            dict(filename=str(path), start_index=0))['imgs']


@pytest.mark.parametrize('name', ['demo.mp4', 'test.mp4', 'test.avi'])
def test_all_decoders_and_files_of_frames_give_the_same(name, shared_data,
                                                        tmp_path):
    path = shared_data / 'videos' / name
    expected = np.stack(frames_of('Decord', path))
    assert expected.shape[0] == 40 and expected.dtype == np.uint8
    assert np.array_equal(np.stack(frames_of('Video', path)), expected)
    for reader in ('OpenCV', 'PyAV'):
        found = np.stack(frames_of(reader, path))
        difference = found.astype(int) - expected
        assert np.abs(difference).max() <= 4  # builds of FFmpeg may round
    reader = DecordInit()(dict(filename=str(path)))
    total = reader['total_frames']
    sampler = dict(type='SomethingSample', clip_len=4, num_clips=2,
                   test_mode=True)
    inds = LocalWindow(5, sampler=sampler)(
        dict(total_frames=total, start_index=1))['frame_inds']
    images = DecordDecode()(dict(
        reader, frame_inds=np.unique(inds) - 1))['imgs']
    for number, image in zip(np.unique(inds), images):
        cv2.imwrite(str(tmp_path / f'{number:05}.png'), image[..., ::-1])
    raw = Compose([
        dict(type='LocalWindow', window=5, sampler=sampler),
        dict(type='RawFrameDecode')])(dict(
            frame_dir=str(tmp_path), total_frames=total, start_index=1,
            filename_tmpl='{:05}.png', modality='RGB'))
    assert np.array_equal(np.stack(raw['imgs']), expected)


@pytest.mark.parametrize('reader', DECODERS)
def test_every_place_holds_an_array_of_its_own(reader, tmp_path):
    # MMAction2's Flip turns the frames in place, each as often as it occurs.
    imgs = frames_of(reader, write_video(tmp_path / 'a.mp4', 6))
    for place, image in enumerate(imgs):
        before = image.copy()
        for other in imgs[:place]:
            other[:] = 0
        assert np.array_equal(image, before)


def test_opencv_decodes_each_distinct_frame_once(tmp_path, monkeypatch):
    from mmcv.video import VideoReader
    asked = []
    old = VideoReader.get_frame
    monkeypatch.setattr(VideoReader, 'get_frame', lambda self, index: (
        asked.append(index), old(self, index))[1])
    path = write_video(tmp_path / 'a.mp4', 40)
    imgs = frames_of('OpenCV', path, num_clips=3)
    assert len(imgs) == 60
    assert len(asked) == len(set(asked)) < 40
    assert asked == sorted(asked)


def test_pyav_walks_through_the_video_once(tmp_path, monkeypatch):
    import av
    walks = []
    old = av.open

    class Container:
        """A container that counts how often its frames are asked for."""

        def __init__(self, file: object) -> None:
            self.container = old(file)
            self.streams = self.container.streams

        def decode(self, **kwargs) -> object:
            walks.append(kwargs)
            return self.container.decode(**kwargs)

    monkeypatch.setattr(av, 'open', Container)
    assert len(frames_of('PyAV', write_video(tmp_path / 'a.mp4', 40))) == 40
    assert walks == [dict(video=0)]


def test_decord_decodes_each_distinct_frame_once(shared_data):
    # Out of sight in its library: 60 seeks would take 20 times as long.
    path = str(shared_data / 'videos' / 'demo.mp4')

    def seconds(inds: list[int]) -> float:
        taken = []
        for _ in range(3):
            results = DecordInit()(dict(filename=path))
            start = time.perf_counter()
            DecordDecode()(dict(results, frame_inds=np.array(inds)))
            taken.append(time.perf_counter() - start)
        return min(taken)

    assert seconds([30, 200] * 30) < 5 * seconds([30, 200])


def test_raw_frames_are_read_once(tmp_path, monkeypatch):
    from mmengine.fileio import FileClient
    for number in range(1, 7):
        cv2.imwrite(str(tmp_path / f'{number:05}.png'),
                    np.full((8, 8, 3), number, dtype=np.uint8))
    read = []
    old = FileClient.get
    monkeypatch.setattr(FileClient, 'get', lambda self, path: (
        read.append(path), old(self, path))[1])
    results = Compose([
        dict(type='LocalWindow', sampler=dict(
            type='SomethingSample', clip_len=8, test_mode=True)),
        dict(type='RawFrameDecode')])(dict(
            frame_dir=str(tmp_path), total_frames=6, start_index=1,
            filename_tmpl='{:05}.png', modality='RGB'))
    assert len(results['imgs']) == 40
    assert len(read) == len(set(read)) == 6
    assert [img[0, 0, 0] for img in results['imgs'][:5]] == [1, 1, 1, 2, 3]


def test_a_clip_stays_in_bytes_until_it_is_a_tensor(tmp_path):
    packed = Compose([
        dict(type='DecordInit'),
        dict(type='LocalWindow', window=5, sampler=dict(
            type='SomethingSample', clip_len=2, num_clips=2,
            test_mode=True)),
        dict(type='DecordDecode'),
        dict(type='Resize', scale=(40, 32), keep_ratio=False),
        dict(type='WideThreeCrop', crop_size=24),
        dict(type='FormatShape', input_format='NCTHW'),
        dict(type='PackActionInputs')])(dict(
            filename=str(write_video(tmp_path / 'a.mp4', 30)), label=1,
            start_index=0, modality='RGB'))
    assert packed['inputs'].shape == (6, 3, 10, 24, 24)
    assert packed['inputs'].dtype == torch.uint8


@pytest.mark.parametrize('sample_once', [True, False])
@pytest.mark.parametrize('workers', [0, 2])
def test_mmactions_repeated_augmentation_takes_it_for_the_sampler(
        sample_once, workers, tmp_path):
    lines = [f'{write_video(tmp_path / f"{place}.mp4", 30)} {place}\n'
             for place in range(2)]
    (tmp_path / 'list.txt').write_text(''.join(lines))
    dataset = DATASETS.build(dict(
        type='RepeatAugDataset', num_repeats=2, sample_once=sample_once,
        ann_file=str(tmp_path / 'list.txt'), serialize_data=False,
        pipeline=[
            dict(type='DecordInit'),
            dict(type='LocalWindow', window=5, sampler=dict(
                type='SomethingSample', clip_len=4)),
            dict(type='DecordDecode'),
            dict(type='Resize', scale=(32, 32), keep_ratio=False),
            dict(type='FormatShape', input_format='NCTHW'),
            dict(type='PackActionInputs')]))
    guard_reading(dataset)
    batch, = DataLoader(
        dataset, batch_size=2, num_workers=workers,
        sampler=DefaultSampler(dataset, shuffle=False),
        collate_fn=FUNCTIONS.get('repeat_pseudo_collate'))
    assert [clip.shape for clip in batch['inputs']] == [
        (1, 3, 20, 32, 32)] * 4
    for first, second in (batch['inputs'][:2], batch['inputs'][2:]):
        assert torch.equal(first, second) == sample_once
        # The windows are whole: the five frames of one differ.
        steps = first[0].float().diff(dim=1).abs().mean(dim=(0, 2, 3))
        assert (steps[5:9] > 0).all()


@pytest.mark.parametrize('window', [0, -1, 2, 4, 5., '5'])
def test_an_even_or_empty_window_is_refused(window):
    with pytest.raises(ValueError,
                       match=f'window is {window!r}: give an odd'):
        LocalWindow(window)


def test_unknown_ends_and_a_missing_sampler_are_refused():
    with pytest.raises(ValueError, match="ends is 'loop': choose one of "
                       'clamp, wrap'):
        LocalWindow(ends='loop')
    with pytest.raises(ValueError, match='found no frame_inds to widen: put '
                       'it after a sampling transform'):
        LocalWindow()(dict(total_frames=9, start_index=0))


def test_it_shows_its_arguments_and_the_inferencer_leaves_it_alone():
    shown = repr(LocalWindow(3, sampler=dict(
        type='SomethingSample', clip_len=8)))
    assert shown.startswith("LocalWindow(window=3, ends='clamp', "
                            'sampler=SomethingSample(clip_len=8')
    # The words by which MMAction2's inferencer rewrites a pipeline.
    assert 'Decode' not in shown and 'Init' not in shown
