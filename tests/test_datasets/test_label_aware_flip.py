"""A flip that knows left from right, per version of the data set."""

import numpy as np
import pytest
import torch
from mmaction.registry import TRANSFORMS

from mmvidadapt.datasets import class_names
from mmvidadapt.datasets.transforms import LabelAwareFlip
from mmvidadapt.datasets.transforms.label_aware_flip import mirrored_classes


def sample(label: object) -> dict:
    """Two frames that are not symmetric."""
    imgs = [np.arange(24, dtype=np.uint8).reshape(2, 4, 3) + number
            for number in range(2)]
    return dict(imgs=imgs, img_shape=(2, 4), modality='RGB', label=label)


def flipped(results: dict) -> bool:
    """Whether all frames were flipped, or none."""
    plain = sample(0)['imgs']
    states = {(np.array_equal(img, old), np.array_equal(img, old[:, ::-1]))
              for img, old in zip(results['imgs'], plain)}
    assert len(states) == 1
    assert states <= {(True, False), (False, True)}
    return (False, True) in states


@pytest.mark.parametrize('classes, swaps', [
    ('sthv1', {2: 4, 30: 41, 52: 66}),
    ('sthv2', {86: 87, 93: 94, 166: 167}),
    ('k400', {}), ('ucf101', {}),
])
def test_every_class_of_a_list_goes_where_its_mirror_image_is(classes, swaps):
    there_and_back = swaps | {new: old for old, new in swaps.items()}
    flip = LabelAwareFlip(classes, flip_ratio=1.0)
    names = class_names(classes)
    for label, name in enumerate(names):
        results = flip(sample(label))
        assert flipped(results) and results['flip'] is True
        assert results['label'] == there_and_back.get(label, label), name
    for old, new in swaps.items():
        assert {'left', 'right'} & set(names[old].lower().split())
        assert names[old] != names[new]


def test_sides_are_whole_words_that_tell_a_direction():
    assert mirrored_classes([
        'Turning the camera left', 'turning_the camera'.title(),
        'Turning the Camera RIGHT', 'Putting something upright',
        'Pulling it right out as you remove your hand', 'Leaving leftovers',
    ]) == [2, 1, 0, 3, 4, 5]


def test_a_class_without_a_mirrored_partner_is_never_flipped():
    names = ['Waving with the left hand', 'Waving']
    assert mirrored_classes(names) == [None, 1]
    flip = LabelAwareFlip(names, flip_ratio=1.0)
    results = flip(sample(0))
    assert not flipped(results)
    assert (results['flip'], results['label']) == (False, 0)
    assert flipped(flip(sample(1)))


def test_what_is_not_flipped_keeps_its_label():
    flip = LabelAwareFlip('sthv2', flip_ratio=0.5)
    np.random.seed(0)
    seen = []
    for _ in range(200):
        results = flip(sample(86))
        assert results['label'] == (87 if flipped(results) else 86)
        assert results['flip'] == flipped(results)
        seen.append(results['label'])
    assert 70 < seen.count(87) < 130


def test_several_labels_are_exchanged_each():
    names = ['from left to right', 'run', 'from right to left',
             'only left', 'jump']
    flip = LabelAwareFlip(names, flip_ratio=1.0)
    label = torch.tensor([1., 1., 0., 0., 0.])
    results = flip(sample(label))
    assert flipped(results)
    assert results['label'].tolist() == [0, 1, 1, 0, 0]
    assert label.tolist() == [1, 1, 0, 0, 0]  # the data set's own
    both = flip(sample(torch.tensor([1., 0., 1., 0., 0.])))
    assert both['label'].tolist() == [1, 0, 1, 0, 0]
    stays = flip(sample(torch.tensor([1., 0., 0., 1., 0.])))
    assert not flipped(stays)
    assert stays['label'].tolist() == [1, 0, 0, 1, 0]


def test_a_video_without_a_label_is_flipped_and_stays_without():
    results = LabelAwareFlip('sthv2', flip_ratio=1.0)(sample(-1))
    assert flipped(results) and results['label'] == -1


def test_names_may_be_a_file(tmp_path):
    path = tmp_path / 'classes.txt'
    path.write_text('go left\ngo right\n')
    flip = TRANSFORMS.build(dict(
        type='LabelAwareFlip', classes=str(path), flip_ratio=1.0))
    assert flip(sample(0))['label'] == 1
    assert repr(flip) == (f'LabelAwareFlip(classes={str(path)!r}, '
                          'flip_ratio=1.0)')


@pytest.mark.parametrize('label, message', [
    (174, 'label 174 is outside the 174 classes of LabelAwareFlip'),
    (-2, 'label -2 is outside the 174 classes'),
    (torch.zeros(10), r'label of shape \(10,\) does not fit the 174'),
])
def test_labels_of_other_classes_are_refused(label, message):
    with pytest.raises(ValueError, match=message):
        LabelAwareFlip('sthv2')(sample(label))


def test_senseless_arguments_are_refused():
    with pytest.raises(ValueError, match='flip_ratio is 1.5: give a prob'):
        LabelAwareFlip('sthv2', flip_ratio=1.5)
    with pytest.raises(ValueError, match="no list of classes 'sthv3'"):
        LabelAwareFlip('sthv3')
