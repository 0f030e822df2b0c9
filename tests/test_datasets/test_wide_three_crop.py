"""Three views of frames that are larger than the crop both ways."""

import numpy as np
import pytest
from mmaction.datasets.transforms import ThreeCrop
from mmaction.registry import TRANSFORMS

from mmvidadapt.datasets.transforms import WideThreeCrop


def sample(height: int, width: int) -> dict:
    """Two frames whose pixels hold row, column and number."""
    rows, columns = np.mgrid[:height, :width]
    return dict(imgs=[np.stack([rows, columns, rows * 0 + number], axis=-1)
                      for number in range(2)], img_shape=(height, width))


def corners(results: dict) -> list:
    """Left and top of every view, checked in both frames."""
    views = results['imgs']
    assert len(views) == 6
    found = []
    for place, view in enumerate(views):
        assert view.shape[:2] == results['img_shape']
        top, left, number = view[0, 0].tolist()
        assert number == place % 2  # both frames of one view, then the next
        box = [left, top, left + view.shape[1], top + view.shape[0]]
        assert results['crop_bbox'][place].tolist() == box
        found.append((left, top))
    assert found[::2] == found[1::2]
    return found[::2]


@pytest.mark.parametrize('height, width, expected', [
    (256, 320, [(0, 16), (96, 16), (48, 16)]),  # Something-Something
    (256, 340, [(0, 16), (116, 16), (58, 16)]),  # Kinetics
    (256, 455, [(0, 16), (228, 16), (114, 16)]),  # 231 // 4 is 57
    (340, 256, [(0, 58), (32, 58), (16, 58)]),
])
def test_views_are_left_right_and_centre_of_the_middle_rows(height, width,
                                                            expected):
    results = WideThreeCrop(224)(sample(height, width))
    assert results['img_shape'] == (224, 224)
    assert corners(results) == expected


@pytest.mark.parametrize('height, width', [
    (24, 24), (24, 31), (24, 33), (24, 40), (40, 24), (33, 24)])
def test_where_mmactions_three_crop_is_allowed_views_are_its_own(height,
                                                                 width):
    ours = WideThreeCrop(24)(sample(height, width))
    theirs = ThreeCrop(24)(sample(height, width))
    assert corners(ours) == corners(theirs)


def test_a_crop_may_be_wider_than_high():
    results = TRANSFORMS.build(dict(
        type='WideThreeCrop', crop_size=(32, 16)))(sample(24, 48))
    assert corners(results) == [(0, 4), (16, 4), (8, 4)]
    assert results['img_shape'] == (16, 32)


@pytest.mark.parametrize('height, width', [(20, 40), (40, 20)])
def test_frames_smaller_than_the_crop_are_refused(height, width):
    with pytest.raises(ValueError, match=f'frames of {height} x {width} '
                       'pixels are smaller than the crop of 24 x 24'):
        WideThreeCrop(24)(sample(height, width))


def test_it_shows_its_arguments():
    assert repr(WideThreeCrop(24)) == 'WideThreeCrop(crop_size=(24, 24))'
