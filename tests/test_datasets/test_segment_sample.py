"""Which frames a clip has, integer by integer as published."""

import re
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from mmaction.registry import TRANSFORMS

from mmvidadapt.datasets.transforms import (
    EqualSegmentSample,
    KineticsSample,
    LocalWindow,
    SomethingSample,
)

RULES = dict(something=SomethingSample, kinetics=KineticsSample)


@pytest.fixture(scope='module')
def published(goldens: Path) -> list[tuple]:
    """Rule, frames of the video, frames of a clip, and the integers."""
    content = torch.load(goldens / 'frame_sampling.pt', weights_only=True)
    entries = []
    for name, cls in RULES.items():
        for key, entry in content[name].items():
            total, length = map(int, re.findall(r'\d+', key))
            entries.append((cls, total, length, {
                kind: value.numpy() for kind, value in entry.items()}))
    assert len(entries) == 24
    return entries


def sample(transform: object, total: int, start_index: int = 1) -> np.ndarray:
    """Frame numbers of a video, one clip after another."""
    return transform(dict(
        total_frames=total, start_index=start_index))['frame_inds']


def test_validation_frames_are_the_published_ones(published):
    for cls, total, length, entry in published:
        found = sample(cls(length, test_mode=True), total)
        assert found.tolist() == entry['val'].tolist(), (cls, total, length)


@pytest.mark.parametrize('dense', [False, True])
def test_test_clips_are_the_published_ones(published, dense):
    compared = 0
    prefix = 'test_dense_clips=' if dense else 'test_clips='
    for cls, total, length, entry in published:
        for kind in entry:
            if not kind.startswith(prefix):
                continue
            clips = int(kind.removeprefix(prefix))
            found = sample(cls(length, num_clips=clips, test_mode=True,
                               dense=dense), total)
            assert found.tolist() == entry[kind].reshape(-1).tolist(), (
                cls, total, length, clips)
            compared += 1
    assert compared == (72 if dense else 92)


def test_training_frames_are_drawn_from_the_published_ranges(published):
    np.random.seed(0)
    compared = 0
    for cls, total, length, entry in published:
        if 'train_min' not in entry:
            continue
        transform = cls(length)
        drawn = np.stack([sample(transform, total) for _ in range(500)])
        assert (drawn.min(axis=0) == entry['train_min']).all()
        assert (drawn.max(axis=0) == entry['train_max']).all()
        compared += 1
    assert compared == 23


@pytest.mark.parametrize('ends, kind, start_index', [
    ('clamp', 'window_rgb', 1), ('wrap', 'window_video', 0)])
def test_windows_around_them_are_the_published_ones(published, ends, kind,
                                                    start_index):
    for cls, total, length, entry in published:
        window = LocalWindow(window=5, ends=ends, sampler=dict(
            type=cls.__name__, clip_len=length, test_mode=True))
        found = sample(window, total, start_index)
        assert found.tolist() == entry[kind].reshape(-1).tolist(), (
            cls, total, length)


@pytest.mark.parametrize('total', [1, 5, 7])
def test_a_short_something_video_gives_all_frames_and_random_repeats(total):
    np.random.seed(0)
    seen = set()
    for _ in range(50):
        inds = sample(SomethingSample(8), total)
        assert len(inds) == 8
        assert set(inds.tolist()) == set(range(1, total + 1))
        assert (np.diff(inds) >= 0).all()
        seen.add(tuple(inds.tolist()))
    assert len(seen) >= total
    assert sample(SomethingSample(8), 8).tolist() == list(range(1, 9))


@pytest.mark.parametrize('cls', RULES.values())
def test_numbers_start_where_the_data_set_counts_from(cls):
    for start_index in (0, 1):
        np.random.seed(0)
        found = cls(8)(dict(total_frames=40, start_index=start_index))
        np.random.seed(0)
        plain = sample(cls(8), 40, 0)
        assert (found['frame_inds'] == plain + start_index).all()
        assert found['frame_inds'].dtype == np.int32
        assert (found['clip_len'], found['num_clips']) == (8, 1)


@pytest.mark.parametrize('cls', RULES.values())
def test_training_can_take_several_clips_each_drawn_anew(cls):
    np.random.seed(0)
    results = cls(8, num_clips=3)(dict(total_frames=300, start_index=0))
    clips = results['frame_inds'].reshape(results['num_clips'], 8)
    assert len({tuple(clip) for clip in clips.tolist()}) == 3


@pytest.mark.parametrize('cls', RULES.values())
@pytest.mark.parametrize('total', [1, 2, 7, 127, 129])
def test_every_frame_lies_in_the_video(cls, total):
    for kwargs in (dict(), dict(test_mode=True, num_clips=3),
                   dict(test_mode=True, num_clips=2, dense=True)):
        inds = sample(cls(16, **kwargs), total, start_index=0)
        assert inds.min() >= 0 and inds.max() < total


@pytest.mark.parametrize('cls', RULES.values())
def test_what_has_no_rule_is_refused(cls):
    with pytest.raises(ValueError, match='0 clips of 8 frames cannot be'):
        cls(8, num_clips=0)
    for kwargs in (dict(), dict(test_mode=True),
                   dict(num_clips=2, test_mode=True, clip_len=129)):
        with pytest.raises(ValueError, match='dense clips are for testing, '
                           'at least two, of at most 128 frames'):
            cls(**dict(dict(clip_len=8, dense=True), **kwargs))
    with pytest.raises(ValueError, match='a video of 0 frames has none'):
        sample(cls(8), 0)


@pytest.mark.parametrize('cls', RULES.values())
def test_configs_build_them_and_they_show_their_arguments(cls):
    built = TRANSFORMS.build(dict(
        type=cls.__name__, clip_len=8, num_clips=2, test_mode=True))
    assert repr(built) == (f'{cls.__name__}(clip_len=8, num_clips=2, '
                           'test_mode=True, dense=False)')


# Equal segments -------------------------------------------------------------


@pytest.mark.parametrize('total', [3, 8, 9, 64, 100, 301])
def test_the_middle_of_each_segment_is_that_of_clips_of_one_frame(total):
    stock = TRANSFORMS.build(dict(
        type='mmaction.SampleFrames', clip_len=1, num_clips=8,
        test_mode=True))
    found = sample(EqualSegmentSample(8, test_mode=True), total)
    assert found.tolist() == sample(stock, total).tolist()


@pytest.mark.parametrize('total', [9, 100, 301])
@pytest.mark.parametrize('clips', [2, 3, 10])
def test_clips_divide_each_segment_evenly(total, clips):
    found = sample(EqualSegmentSample(8, clips, test_mode=True), total,
                   start_index=0).reshape(clips, 8)
    for clip, frames in enumerate(found):
        for place, frame in enumerate(frames):
            begin = Fraction(total, 8) * (
                place + Fraction(clip + 1, clips + 1))
            assert frame == int(begin)
    # From the first segment to the last, and never after the end.
    assert found.min() >= 0 and found.max() < total


def test_drawn_clips_of_a_test_are_independent_and_in_their_segments():
    np.random.seed(0)
    found = sample(EqualSegmentSample(8, 10), 100, start_index=0)
    found = found.reshape(10, 8)
    assert len({tuple(clip) for clip in found.tolist()}) == 10
    edges = np.arange(9) * 100 // 8
    assert (found >= edges[:-1]).all() and (found < edges[1:]).all()
