"""Frames that are asked for twice: decoded once, handed out apart."""

import inspect
from pathlib import Path

import numpy as np
import pytest
from mmaction.datasets.transforms import Flip, loading
from toy_videos import turned, write_video

from mmvidadapt.compat import decoders

READERS = ('Decord', 'OpenCV', 'PyAV')
INDS = [3, 5, 3, 17, 0, 17]


def decoded(reader: str, path: Path, inds: list[int],
            **options: object) -> dict:
    """What a decoder of MMAction2 makes of some frame numbers."""
    results = getattr(loading, f'{reader}Init')()(dict(filename=str(path)))
    results['frame_inds'] = np.array(inds)
    return getattr(loading, f'{reader}Decode')(**options)(results)


@pytest.mark.parametrize('reader', READERS)
def test_frames_come_in_the_order_asked_for(reader, tmp_path):
    path = write_video(tmp_path / 'a.mp4')
    results = decoded(reader, path, INDS)
    assert results['frame_inds'].tolist() == INDS
    assert results['video_reader'] is None
    assert results['original_shape'] == results['img_shape'] == (48, 64)
    for ind, img in zip(INDS, results['imgs']):
        alone, = decoded(reader, path, [ind])['imgs']
        assert np.array_equal(img, alone)


@pytest.mark.parametrize('reader', READERS)
def test_a_repeated_frame_is_flipped_like_the_others(reader, tmp_path):
    path = write_video(tmp_path / 'a.mp4')
    results = dict(decoded(reader, path, INDS), modality='RGB')
    results['imgs'] = [np.asarray(img, order='C') for img in results['imgs']]
    plain = [img.copy() for img in results['imgs']]
    turned = Flip(flip_ratio=1.0)(results)['imgs']
    for new, old in zip(turned, plain):
        assert np.array_equal(new, old[:, ::-1])


@pytest.mark.parametrize('reader, options', [
    ('Decord', {}), ('OpenCV', {}), ('PyAV', {}),
    ('PyAV', dict(mode='efficient'))])
def test_a_video_of_a_phone_is_upright_with_any_decoder(
        reader, options, tmp_path, shared_data):
    lying = shared_data / 'videos' / 'test.mp4'
    path = turned(lying, tmp_path / 'a.mp4')
    found = decoded(reader, path, [31, 2, 7], **options)
    assert found['img_shape'] == found['original_shape'] == (340, 256)
    expected = decoded(reader, lying, [31, 2, 7], **options)['imgs']
    for one, other in zip(found['imgs'], expected, strict=True):
        assert np.array_equal(one, np.rot90(other, -1))


def test_pyav_makes_pictures_of_the_frames_that_are_asked_for(tmp_path):
    import av
    path = str(write_video(tmp_path / 'a.mp4', 60))
    made: list[int] = []

    class Frame:
        """A frame that notes when it is made a picture."""

        def __init__(self, number: int, frame: av.VideoFrame) -> None:
            self.number, self.frame = number, frame

        def to_rgb(self) -> av.VideoFrame:
            made.append(self.number)
            return self.frame.to_rgb()

    class Container:
        """A container of such frames."""

        def decode(self, video: int) -> list[Frame]:
            return [Frame(*one) for one in enumerate(
                av.open(path).decode(video=video))]

    found = loading.PyAVDecode()(dict(
        video_reader=Container(), frame_inds=np.array([50, 20, 50])))
    assert made == [0, 20, 50]
    expected = decoded('Decord', Path(path), [50, 20, 50, 0])['imgs']
    assert np.array_equal(found['imgs'], expected[:3])
    # The first frame stands in for missing ones, each with its own array.
    found = loading.PyAVDecode()(dict(
        video_reader=Container(), frame_inds=np.array([70, 75])))
    assert np.array_equal(found['imgs'], expected[3:] * 2)
    assert not np.shares_memory(*found['imgs'])


def test_the_mends_are_needed_where_a_decoder_repeats_and_not_after():
    assert not decoders.pyav_needed()
    assert not decoders.opencv_needed()


@pytest.mark.parametrize('needed, name', [
    (decoders.pyav_needed, 'PyAVDecode'),
    (decoders.opencv_needed, 'OpenCVDecode')])
def test_a_decoder_that_repeats_is_recognised(needed, name, monkeypatch):
    cls = getattr(loading, name)
    if not hasattr(cls.transform, '__wrapped__'):
        pytest.skip(f'this {name} needed no mend')
    monkeypatch.setattr(cls, 'transform', inspect.unwrap(cls.transform))
    assert needed()


def test_a_failed_read_leaves_the_frame_numbers_as_they_were():
    class Broken:
        """A reader without a frame."""

        def __getitem__(self, index: int) -> None:
            raise IndexError(index)

    results = dict(video_reader=Broken(), frame_inds=np.array([7, 2, 7]))
    with pytest.raises(IndexError):
        loading.OpenCVDecode()(results)
    assert results['frame_inds'].tolist() == [7, 2, 7]
