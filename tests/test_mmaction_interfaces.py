"""MMAction2's inferencer and demo flow run a config of every method.

``tests/test_mmaction_scripts.py`` has more on the configs of InTI.
"""

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmaction.apis import (
    MMAction2Inferencer,
    inference_recognizer,
    init_recognizer,
)
from mmengine.config import Config
from mmengine.dataset import Compose, pseudo_collate
from mmengine.registry import DefaultScope

from tests.small_models import SmallModel, write_model
from tests.toy_videos import write_video

CLASSES = dict(inti=400, tds_clip=174, mote=101, msta=51, frames=174)


@pytest.fixture(scope='module', params=list(CLASSES))
def method(request) -> str:
    """Each method."""
    return request.param


@pytest.fixture(scope='module')
def model(method, tmp_path_factory) -> SmallModel:
    """A tiny model of it."""
    return write_model(method, tmp_path_factory.mktemp(method))


@pytest.fixture
def video(tmp_path) -> Path:
    """A video file."""
    return write_video(tmp_path / 'a.mp4', 24)


def single_view(model: SmallModel, video: Path) -> torch.Tensor:
    """Scores of the one view that the inferencer looks at."""
    cfg = Config.fromfile(model.config)
    steps = [dict(type='VideoInit'), *(
        dict(type='VideoDecode') if step['type'].endswith('Decode') else
        dict(step) for step in cfg.test_dataloader.dataset.pipeline
        if not step['type'].endswith('Init'))]
    for step in steps:
        if step['type'] == 'ThreeCrop':
            step['type'] = 'CenterCrop'
        if step['type'] == 'SampleFrames':
            step['num_clips'] = 1
    recognizer = init_recognizer(model.config, model.checkpoint, 'cpu')
    with DefaultScope.overwrite_default_scope('mmaction'), torch.no_grad():
        sample = Compose(steps)(dict(filename=str(video), label=-1,
                                     start_index=0, modality='RGB'))
        return recognizer.test_step(pseudo_collate([sample]))[0].pred_score


def test_the_demo_flow_scores_every_class(method, model, video):
    recognizer = init_recognizer(*model, 'cpu')
    given = dict(filename=str(video), label=-1, start_index=0,
                 modality='RGB')
    if method == 'frames':  # the demo's way for a folder of frames
        folder = video.parent / 'frames'
        folder.mkdir()
        for number in range(1, 13):
            cv2.imwrite(str(folder / f'{number:05}.jpg'), np.full(
                (48, 64, 3), 9 * number, np.uint8))
        given = dict(frame_dir=str(folder), filename_tmpl='{:05}.jpg',
                     total_frames=12, start_index=1, modality='RGB',
                     label=-1)
        found = inference_recognizer(recognizer, given)
    else:
        found = inference_recognizer(recognizer, str(video))
        again = inference_recognizer(recognizer, given)
        assert torch.equal(found.pred_score, again.pred_score)
    assert found.pred_score.shape == (CLASSES[method], )
    assert found.pred_score.sum().item() == pytest.approx(1, abs=1e-4)
    assert found.pred_label.item() == found.pred_score.argmax()


def test_the_inferencer_scores_a_view_and_draws(method, model, video,
                                                tmp_path):
    (tmp_path / 'labels.txt').write_text('\n'.join(
        f'action {place}' for place in range(CLASSES[method])))
    inferencer = MMAction2Inferencer(
        *model, device='cpu', label_file=str(tmp_path / 'labels.txt'))
    found = inferencer([str(video), str(video)], batch_size=2,
                       vid_out_dir=str(tmp_path / 'out'))['predictions']
    assert len(found) == 2
    expected = single_view(model, video)
    for one in found:
        scores = one['rec_scores'][0]
        assert scores == pytest.approx(expected.tolist(), abs=1e-5)
        assert one['rec_labels'][0] == [int(np.argmax(scores))]
    film = cv2.VideoCapture(str(tmp_path / 'out' / 'a.mp4'))
    assert film.get(cv2.CAP_PROP_FRAME_COUNT) in (24, 25)
