"""MMAction2's inferencer reads video files with the reader of the config."""

import inspect
from copy import deepcopy
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from mmaction.apis import MMAction2Inferencer
from mmaction.apis.inferencers import ActionRecogInferencer
from mmaction.datasets.transforms import CenterCrop
from mmaction.datasets.transforms.loading import InferencerPackInput
from mmaction.registry import TRANSFORMS
from mmengine.config import Config, ConfigDict
from mmengine.dataset import Compose, pseudo_collate
from mmengine.registry import DefaultScope

from mmvidadapt.compat import inferencer
from mmvidadapt.datasets import VideoDecode, VideoInit, VideoReader
from tests.small_models import SHALLOW, SmallModel, write_model

SAMPLE = dict(type='SampleFrames', clip_len=4, frame_interval=2, num_clips=3,
              test_mode=True)
READERS = {
    'ours': ('VideoInit', 'VideoDecode', dict(num_threads=2, max_seconds=7.)),
    'decord': ('DecordInit', 'DecordDecode', dict(num_threads=2)),
    'opencv': ('OpenCVInit', 'OpenCVDecode', dict(io_backend='disk')),
    'pyav': ('PyAVInit', 'PyAVDecode', {}),
    'pims': ('PIMSInit', 'PIMSDecode', {}),
    'torchcodec': ('TorchCodecInit', 'TorchCodecDecode',
                   dict(seek_mode='approximate'))}
FRAMES = [SAMPLE, dict(type='RawFrameDecode', io_backend='disk')]


def reading(reader: str) -> list[dict]:
    """Steps that read video files."""
    opens, decodes, options = READERS[reader]
    return [dict(type=opens, **options), SAMPLE, dict(type=decodes)]


@pytest.fixture
def unpatched(monkeypatch) -> None:
    """The method as MMAction2 has it."""
    method = ActionRecogInferencer._init_pipeline
    if not hasattr(method, '__wrapped__'):
        pytest.skip('this inferencer needed no patch')
    monkeypatch.setattr(ActionRecogInferencer, '_init_pipeline',
                        inspect.unwrap(method))


def built(steps: list[dict], input_format: str = 'video',
          model: str = 'Recognizer2D', **pack_cfg: str) -> list[Any]:
    """What the inferencer makes of a test pipeline."""
    one = ActionRecogInferencer.__new__(ActionRecogInferencer)
    one.input_format, one.pack_cfg = input_format, pack_cfg
    cfg = ConfigDict(model=dict(type=model), test_dataloader=dict(
        dataset=dict(pipeline=deepcopy(steps))))
    with DefaultScope.overwrite_default_scope('mmaction'):
        first, *rest = one._init_pipeline(cfg).transforms
    assert type(first) is InferencerPackInput
    assert one.input_format == first.input_format == input_format
    return [first, *rest]


def names(steps: list[Any]) -> list[str]:
    """Their classes, without the one that packs the input."""
    return [type(step).__name__ for step in steps[1:]]


def test_without_the_patch_decord_takes_the_place_of_any_reader(unpatched):
    assert inferencer.needed()
    for reader in READERS:
        assert names(built(reading(reader))) == [
            'DecordInit', 'SampleFrames', 'DecordDecode']
    assert names(built(FRAMES))[::2] == ['DecordInit', 'DecordDecode']


@pytest.mark.parametrize('reader', READERS)
def test_the_reader_of_a_config_is_kept_with_its_options(reader):
    assert not inferencer.needed()
    opens, decodes, options = READERS[reader]
    _, first, _, last = built(reading(reader))
    assert [type(first).__name__, type(last).__name__] == [opens, decodes]
    assert options.items() <= vars(first).items()


def test_a_reader_may_be_named_by_its_class_and_need_not_come_first():
    steps = [dict(type='Rename', mapping={}), dict(type=VideoInit), SAMPLE,
             dict(type=VideoDecode)]
    TRANSFORMS.register_module('Rename', module=lambda mapping: dict)
    try:
        found = built(steps)
    finally:
        TRANSFORMS.module_dict.pop('Rename')
    assert found[1] is dict
    assert names(found)[1:] == ['VideoInit', 'SampleFrames', 'VideoDecode']


@pytest.mark.parametrize('steps', [
    FRAMES, [SAMPLE, dict(type='ArrayDecode')], [SAMPLE],
    [dict(type='DecordInit'), *FRAMES]],
    ids=['frames', 'arrays', 'nothing', 'half'])
def test_a_pipeline_that_reads_no_video_files_gets_our_reader(steps):
    decodes = any('Decode' in step['type'] for step in steps)
    assert names(built(steps)) == ['VideoInit', 'SampleFrames'] + (
        ['VideoDecode'] if decodes else [])


@pytest.mark.parametrize('input_format', ['array', 'rawframes'])
@pytest.mark.parametrize('steps', [
    FRAMES, [SAMPLE, dict(type='ArrayDecode')], *map(reading, READERS)])
def test_arrays_and_folders_are_read_as_before(steps, input_format,
                                               monkeypatch):
    found = list(map(repr, built(steps, input_format)[1:]))
    monkeypatch.setattr(
        ActionRecogInferencer, '_init_pipeline',
        inspect.unwrap(ActionRecogInferencer._init_pipeline))
    assert found == list(map(repr, built(steps, input_format)[1:]))


def test_the_view_and_the_input_are_those_of_mmaction2():
    steps = [*reading('ours'), dict(type='ThreeCrop', crop_size=32)]
    first, _, sample, _, crop = built(steps, model='Recognizer3D',
                                      modality='Flow')
    assert first.modality == 'Flow'
    assert sample.num_clips == 1
    assert type(crop) is CenterCrop and crop.crop_size == (32, 32)
    assert built(steps)[2].num_clips == 3


def test_a_pipeline_that_fails_leaves_the_format_of_the_input():
    one = ActionRecogInferencer.__new__(ActionRecogInferencer)
    one.input_format, one.pack_cfg = 'video', dict(unknown=1)
    cfg = ConfigDict(model=dict(type='Recognizer2D'), test_dataloader=dict(
        dataset=dict(pipeline=reading('ours'))))
    with DefaultScope.overwrite_default_scope('mmaction'):
        with pytest.raises(TypeError, match='unknown'):
            one._init_pipeline(cfg)
    assert one.input_format == 'video'


def test_only_readers_have_the_words_that_mmaction2_looks_for():
    """It drops or replaces a step by these parts of its name."""
    ours = {name for name, step in TRANSFORMS.module_dict.items()
            if step.__module__.startswith('mmvidadapt.')}
    assert len(ours) > 10
    for word in ('Init', 'Decode'):
        assert {name for name in ours if word in name} == {
            f'Video{word}', f'TorchCodec{word}'}


# -- a recognizer on a video --------------------------------------------------


@pytest.fixture(scope='module')
def model(tmp_path_factory) -> SmallModel:
    """A tiny model of InTI."""
    return write_model('inti', tmp_path_factory.mktemp('inferencer'),
                       **SHALLOW['inti'])


@pytest.fixture(scope='module')
def video(shared_data) -> Path:
    """A video of 300 frames in H.264."""
    return shared_data / 'videos' / 'test.mp4'


def inferring(model: SmallModel, steps: list[dict],
              input_format: str = 'video') -> MMAction2Inferencer:
    """The inferencer with a reader of our choice in the config."""
    cfg = Config.fromfile(model.config)
    pipeline = cfg.test_dataloader.dataset.pipeline
    rest = [step for step in pipeline
            if not step['type'].endswith(('Init', 'Decode'))]
    # The config samples by itself; what comes behind is as it stands.
    sampling, *rest = rest
    cfg.test_dataloader.dataset.pipeline = [
        sampling if step is SAMPLE else dict(step) for step in steps] + rest
    return MMAction2Inferencer(cfg, model.checkpoint, device='cpu',
                               input_format=input_format)


def scores(one: MMAction2Inferencer, source: Any) -> list[float]:
    """What it says of a video."""
    found, = one(source)['predictions']
    return found['rec_scores'][0]


def scores_by_hand(one: MMAction2Inferencer, reader: str,
                   source: Path) -> list[float]:
    """The same with the steps of a reader around the inferencer's others."""
    opens, decodes, _ = READERS[reader]
    inner = one.actionrecog_inferencer
    with DefaultScope.overwrite_default_scope('mmaction'), torch.no_grad():
        first, last = Compose([dict(type=opens),
                               dict(type=decodes)]).transforms
        others = inner.pipeline.transforms[2:]
        others[1] = last
        sample = Compose([first, *others])(dict(
            filename=str(source), label=-1, start_index=0, modality='RGB'))
        found, = inner.model.test_step(pseudo_collate([sample]))
    return found.pred_score.tolist()


@pytest.mark.parametrize('reader', ['ours', 'pyav', 'decord'])
def test_a_video_is_scored_with_the_reader_of_the_config(reader, model,
                                                         video):
    if reader == 'decord':
        pytest.importorskip('decord')
    one = inferring(model, reading(reader))
    found = scores(one, str(video))
    assert len(found) == 400
    steps = one.actionrecog_inferencer.pipeline.transforms
    assert [type(steps[1]).__name__,
            type(steps[3]).__name__] == list(READERS[reader][:2])
    assert found == pytest.approx(scores_by_hand(one, reader, video),
                                  abs=1e-6)


def test_a_model_of_frames_scores_videos_arrays_and_folders_alike(
        model, video, tmp_path):
    expected = scores(inferring(model, reading('ours')), str(video))
    for_frames = inferring(model, FRAMES)
    assert scores(for_frames, str(video)) == expected
    reader = VideoReader(video)
    images = reader.read(range(reader.total_frames))
    for_arrays = inferring(model, reading('ours'), 'array')
    assert scores(for_arrays, np.stack(images)) == expected
    for number, image in enumerate(images, 1):
        cv2.imwrite(str(tmp_path / f'img_{number:05}.jpg'), image[..., ::-1],
                    [cv2.IMWRITE_JPEG_QUALITY, 100])
    # What JPEG loses moves the scores a little.
    for_folders = inferring(model, reading('ours'), 'rawframes')
    assert scores(for_folders, str(tmp_path)) == pytest.approx(
        expected, abs=1e-3)
