"""One draw for all frames, on the conventions of MMAction2."""

import random
import re

import numpy as np
import pytest
from mmaction.registry import TRANSFORMS
from mmcv.transforms import Compose
from mmengine.registry import init_default_scope
from PIL import Image, ImageEnhance

from mmvidadapt.datasets.transforms import (
    ClipColorJitter,
    ClipGrayscale,
    ClipRandAugment,
)
from mmvidadapt.datasets.transforms.clip_color import (
    adjust_brightness,
    adjust_contrast,
    adjust_hue,
    adjust_saturation,
)

TRANSFORM_CLASSES = (ClipColorJitter, ClipGrayscale, ClipRandAugment)


def frame(seed: int = 0) -> np.ndarray:
    """A smooth picture with every hue, and some noise."""
    rows, columns = np.mgrid[:48, :64]
    image = np.stack([columns * 4, rows * 5, 255 - columns * 3], axis=-1)
    noise = np.random.RandomState(seed).randint(-5, 6, image.shape)
    return np.clip(image + noise, 0, 255).astype(np.uint8)


def sample(same: bool = True, num_frames: int = 4) -> dict:
    """A clip of equal or of different frames."""
    imgs = [frame(0 if same else number) for number in range(num_frames)]
    return dict(imgs=imgs, img_shape=(48, 64), clip_len=num_frames,
                num_clips=1)


def always(cls: type, **kwargs) -> object:
    """A transform that changes every clip."""
    if cls is ClipRandAugment:
        return cls(config='rand-m9-n4-p1-mstd0.5-inc1', **kwargs)
    return cls(prob=1.0, **kwargs)


@pytest.mark.parametrize('cls', TRANSFORM_CLASSES)
def test_all_frames_of_a_clip_get_the_same_change(cls):
    for seed in range(20):
        np.random.seed(seed)
        imgs = always(cls)(sample())['imgs']
        for other in imgs[1:]:
            assert np.array_equal(imgs[0], other)
        assert not np.array_equal(imgs[0], frame())


def test_colours_are_drawn_for_each_frame_if_asked_for():
    np.random.seed(0)
    imgs = ClipColorJitter(prob=1.0, per_frame=True)(sample())['imgs']
    # Of equal frames; the coin is still thrown once for all of them.
    assert len({img.tobytes() for img in imgs}) == len(imgs)
    np.random.seed(1)
    transform = ClipColorJitter(prob=0.5, per_frame=True)
    for _ in range(20):
        clip = sample()
        old = clip['imgs']
        kept = [new is one for new, one in zip(transform(clip)['imgs'], old)]
        assert all(kept) or not any(kept)


@pytest.mark.parametrize('cls', [ClipColorJitter, ClipRandAugment])
def test_two_clips_get_different_changes(cls):
    np.random.seed(0)
    transform = always(cls)
    results = [transform(sample())['imgs'][0] for _ in range(8)]
    different = sum(not np.array_equal(results[0], other)
                    for other in results[1:])
    assert different >= 6


@pytest.mark.parametrize('cls', TRANSFORM_CLASSES)
def test_frames_stay_bytes_of_their_shape_and_the_input_is_not_touched(cls):
    clip = sample(same=False)
    before = [img.copy() for img in clip['imgs']]
    kept = clip['imgs']
    after = always(cls)(clip)['imgs']
    assert isinstance(after, list)
    for old, new, copy in zip(kept, after, before):
        assert new.dtype == np.uint8 and new.shape == old.shape
        assert new.flags.writeable  # MMAction2 flips frames in place
        assert np.array_equal(old, copy)


@pytest.mark.parametrize('cls', TRANSFORM_CLASSES)
def test_a_stacked_clip_stays_stacked_and_gets_the_same(cls):
    clip = sample(same=False)
    stacked = dict(clip, imgs=np.stack(clip['imgs'])[..., ::-1][..., ::-1])
    transform = always(cls)
    random.seed(3)
    np.random.seed(3)
    listed = transform(clip)['imgs']
    random.seed(3)
    np.random.seed(3)
    array = transform(stacked)['imgs']
    assert isinstance(array, np.ndarray)
    assert np.array_equal(array, np.stack(listed))


@pytest.mark.parametrize('cls', [ClipColorJitter, ClipGrayscale])
@pytest.mark.parametrize('prob', [0.0, 0.2, 0.8])
def test_the_coin_is_thrown_once_per_clip(cls, prob):
    np.random.seed(1)
    transform = cls(prob=prob)
    changed = 0
    for _ in range(200):
        clip = sample(num_frames=2)
        old = clip['imgs']
        new = transform(clip)['imgs']
        assert (new[0] is old[0]) == (new[1] is old[1])
        changed += new[0] is not old[0]
    assert abs(changed / 200 - prob) < 0.1
    assert (changed == 0) == (prob == 0)


@pytest.mark.parametrize('factor', [0.0, 0.6, 1.0, 1.4])
@pytest.mark.parametrize('ours, theirs', [
    (adjust_brightness, ImageEnhance.Brightness),
    (adjust_contrast, ImageEnhance.Contrast),
    (adjust_saturation, ImageEnhance.Color)])
def test_factors_mean_what_they_mean_in_pil(ours, theirs, factor):
    expected = np.asarray(
        theirs(Image.fromarray(frame())).enhance(factor)).astype(int)
    assert np.abs(ours(frame(), factor) - expected).max() <= 2


@pytest.mark.parametrize('shift', [-0.5, -0.1, 0.0, 0.1, 0.5])
def test_a_hue_shift_turns_the_colour_circle_as_in_pil(shift):
    hue, saturation, value = Image.fromarray(frame()).convert('HSV').split()
    turned = (np.asarray(hue).astype(int) + round(shift * 256)) % 256
    merged = Image.merge('HSV', (Image.fromarray(turned.astype(np.uint8)),
                                 saturation, value)).convert('RGB')
    difference = np.abs(adjust_hue(frame(), shift).astype(int)
                        - np.asarray(merged))
    assert difference.mean() < 2
    assert difference.max() <= 14  # both round hue and saturation to bytes
    if shift == 0.5:
        red = np.full((2, 2, 3), (255, 0, 0), dtype=np.uint8)
        assert np.abs(adjust_hue(red, shift)
                      - np.array([0, 255, 255])).max() <= 6


def test_nothing_overflows_at_the_edges_of_the_range():
    white = np.full((8, 8, 3), 255, dtype=np.uint8)
    black = np.zeros((8, 8, 3), dtype=np.uint8)
    for adjust in (adjust_brightness, adjust_contrast, adjust_saturation):
        assert (adjust(white, 1.4) == 255).all()
        assert (adjust(black, 1.4) == 0).all()


def test_grey_has_three_equal_channels_of_pils_luminance():
    grey = ClipGrayscale(prob=1.0)(sample())['imgs'][0]
    assert (grey == grey[..., :1]).all()
    expected = np.asarray(Image.fromarray(frame()).convert('L')).astype(int)
    assert np.abs(grey[..., 0] - expected).max() <= 1


def test_rand_augment_is_timms_on_a_single_frame():
    from timm.data.auto_augment import rand_augment_transform
    plain = rand_augment_transform(
        'rand-m7-n4-mstd0.5-inc1',
        dict(translate_pct=0.45, img_mean=(128, 128, 128),
             interpolation=Image.Resampling.BICUBIC))
    ours = ClipRandAugment()
    for seed in range(10):
        random.seed(seed)
        np.random.seed(seed)
        expected = np.asarray(plain(Image.fromarray(frame())))
        random.seed(seed)
        np.random.seed(seed)
        assert np.array_equal(ours(sample())['imgs'][0], expected)


def test_rand_augment_moves_on_after_a_clip():
    random.seed(0)
    np.random.seed(0)
    before = random.getstate(), np.random.get_state()[2]
    ClipRandAugment()(sample())
    assert random.getstate() != before[0]
    assert np.random.get_state()[2] != before[1]


def test_the_fill_colour_comes_in_from_outside():
    np.random.seed(0)
    # At full strength, where timm's posterizing alone fails with Pillow 13.
    transform = ClipRandAugment(config='rand-m10-n8-p1-inc1',
                                interpolation='nearest', fill=(255, 0, 255))
    black = dict(imgs=[np.full((32, 32, 3), 7, dtype=np.uint8)])
    seen = set()
    for _ in range(30):
        out = transform(dict(black))['imgs'][0].reshape(-1, 3)
        seen |= {tuple(pixel) for pixel in np.unique(out, axis=0).tolist()}
    assert (255, 0, 255) in seen
    assert (128, 128, 128) not in seen


@pytest.mark.parametrize('cls, kwargs, message', [
    (ClipColorJitter, dict(prob=1.2), 'prob is 1.2: give a probability'),
    (ClipGrayscale, dict(prob=-1), 'prob is -1: give a probability'),
    (ClipColorJitter, dict(brightness=-1), 'brightness is -1: give a number'),
    (ClipColorJitter, dict(contrast=(2, 1)), r'contrast is \(2, 1\): give'),
    (ClipColorJitter, dict(hue=0.7), 'between -0.5 and 0.5'),
    (ClipRandAugment, dict(config='auto-m7'), "config is 'auto-m7', which"),
    (ClipRandAugment, dict(interpolation='cubic'), 'choose one of bicubic'),
])
def test_senseless_arguments_are_refused_with_the_remedy(cls, kwargs,
                                                         message):
    with pytest.raises(ValueError, match=message):
        cls(**kwargs)


@pytest.mark.parametrize('cls', TRANSFORM_CLASSES)
def test_configs_build_them_and_the_inferencer_leaves_them_alone(cls):
    built = TRANSFORMS.build(dict(type=cls.__name__))
    assert repr(built).startswith(cls.__name__)
    # The words by which MMAction2's inferencer rewrites a pipeline.
    assert not re.search('Decode|Init', cls.__name__)


@pytest.mark.parametrize('crop', [
    [dict(type='MultiScaleCrop', input_size=24,
          scales=(1, 0.875, 0.75, 0.66), random_crop=False,
          max_wh_scale_gap=1)],
    [dict(type='RandomResizedCrop', area_range=(0.08, 1.0))],
    [dict(type='CenterCrop', crop_size=24)],
    [dict(type='ThreeCrop', crop_size=24)],
])
def test_they_run_in_pipelines_of_mmaction2_on_this_stack(crop):
    init_default_scope('mmaction')
    pipeline = Compose([
        dict(type='Resize', scale=(-1, 24)), *crop,
        dict(type='Resize', scale=(24, 24), keep_ratio=False),
        dict(type='Flip', flip_ratio=0.5),
        dict(type='ClipRandAugment'), dict(type='ClipColorJitter'),
        dict(type='ClipGrayscale'),
        dict(type='FormatShape', input_format='NCTHW'),
        dict(type='PackActionInputs', meta_keys=('img_shape', ))])
    for seed in range(3):
        np.random.seed(seed)
        out = pipeline(dict(sample(), label=1, modality='RGB'))
        views = 3 if crop[0]['type'] == 'ThreeCrop' else 1
        assert out['inputs'].shape == (views, 3, 4, 24, 24)
        assert out['data_samples'].gt_label.item() == 1
