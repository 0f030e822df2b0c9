"""Reading with TorchCodec: an extra, in place of MMAction2's decoders."""

import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
import torch
from mmaction.datasets.transforms import DecordDecode, DecordInit
from mmaction.registry import TRANSFORMS
from mmengine.registry import DefaultScope

from mmvidadapt.datasets import (
    BrokenVideoError,
    TorchCodecInit,
    guarded_pipeline,
)
from tests.toy_videos import write_video

INDS = [3, 5, 3, 17, 0, 17]


def usable() -> bool:
    """Whether TorchCodec and FFmpeg's libraries are there."""
    try:
        import torchcodec.decoders  # noqa: F401
    except (ImportError, OSError, RuntimeError):
        return False
    return True


@pytest.fixture(params=['real', 'stand-in'])
def torchcodec(request, monkeypatch) -> None:
    """TorchCodec itself, and what it answers, told by decord.

    The stand-in has the part of ``VideoDecoder`` that is used, as of 0.13.
    """
    if request.param == 'real':
        if not usable():
            pytest.skip('TorchCodec or FFmpeg is not here')
        return

    class VideoDecoder:
        """Frames by number, as a tensor with more around it."""

        def __init__(self, source, *, dimension_order: str,
                     num_ffmpeg_threads: int, seek_mode: str) -> None:
            import io

            import decord
            assert dimension_order == 'NHWC' and num_ffmpeg_threads >= 0
            assert seek_mode in ('exact', 'approximate')
            opened = io.BytesIO(source) if isinstance(
                source, bytes) else source
            try:
                self.reader = decord.VideoReader(opened)
            except decord.DECORDError as error:
                raise RuntimeError(f'Could not open: {error}') from error
            self.metadata = SimpleNamespace(
                average_fps=self.reader.get_avg_fps())

        def __len__(self) -> int:
            return len(self.reader)

        def get_frames_at(self, indices: list[int]) -> SimpleNamespace:
            assert all(type(place) is int for place in indices)
            return SimpleNamespace(data=torch.from_numpy(
                self.reader.get_batch(indices).asnumpy()))

    package, module = (ModuleType(name) for name in (
        'torchcodec', 'torchcodec.decoders'))
    module.VideoDecoder = VideoDecoder
    monkeypatch.setitem(sys.modules, 'torchcodec', package)
    monkeypatch.setitem(sys.modules, 'torchcodec.decoders', module)


def read(path: Path, inds: list[int], **options: object) -> dict:
    """Some frames of a file."""
    with DefaultScope.overwrite_default_scope('mmaction'):
        pipeline = guarded_pipeline([dict(type='TorchCodecInit', **options),
                                     dict(type='TorchCodecDecode')])
    return pipeline(dict(filename=str(path), frame_inds=np.array(inds)))


@pytest.mark.parametrize('options', [
    {}, dict(num_threads=2, seek_mode='approximate'),
    dict(io_backend='local')])
def test_frames_are_those_of_decord_in_the_order_asked_for(
        options, torchcodec, tmp_path):
    path = write_video(tmp_path / 'a.mp4')
    found = read(path, INDS, **options)
    results = DecordInit()(dict(filename=str(path)))
    for key in ('total_frames', 'avg_fps'):
        assert found[key] == results[key]
    expected = DecordDecode()(dict(results, frame_inds=np.array(INDS)))
    for key in ('img_shape', 'original_shape', 'video_reader'):
        assert found[key] == expected[key]
    assert found['frame_inds'].tolist() == INDS
    for one, other in zip(found['imgs'], expected['imgs'], strict=True):
        assert one.dtype == np.uint8 and np.array_equal(one, other)
    found['imgs'][0][:] = 0  # frames that are asked for twice lie apart
    assert found['imgs'][2].any()


def test_a_broken_file_is_named(torchcodec, tmp_path):
    path = tmp_path / 'broken.mp4'
    path.write_bytes(bytes(range(256)) * 4)
    with pytest.raises(BrokenVideoError, match=r'broken\.mp4 cannot be read '
                       r'as a video \(Invalid data'):
        read(path, [0])


@pytest.mark.parametrize('error', [ImportError, OSError, RuntimeError])
def test_without_it_a_sentence_says_what_to_install(
        error, tmp_path, monkeypatch):
    class Finder:
        """FFmpeg's libraries are looked for while it is imported."""

        def find_spec(self, name: str, *_: object) -> None:
            if name == 'torchcodec':
                raise error('libavutil.so.56 is not there\nand more')

    for name in list(sys.modules):
        if name.partition('.')[0] == 'torchcodec':
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys, 'meta_path', [Finder(), *sys.meta_path])
    path = write_video(tmp_path / 'a.mp4')
    with pytest.raises(ImportError, match=r'^TorchCodec cannot be used '
                       r'\(libavutil\.so\.56 is not there\): install the '
                       r"release for your torch \(pip install "
                       r"'\.\[torchcodec\]'\) and FFmpeg's libraries, or "
                       r'read with VideoInit and VideoDecode$'):
        read(path, [0])


def test_they_say_what_they_are() -> None:
    assert repr(TorchCodecInit(num_threads=2)) == (
        "TorchCodecInit(io_backend='disk', num_threads=2, "
        "seek_mode='exact')")
    assert repr(TRANSFORMS.build(dict(type='TorchCodecDecode'))) == (
        'TorchCodecDecode()')
