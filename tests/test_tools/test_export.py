"""tools/export.py: programs that score clips as the models do."""

import importlib.util
import json
from pathlib import Path
from unittest import mock

import pytest
import torch

from mmvidadapt.apis import VideoClassifier, exporting
from tests.scripts import plain_tool
from tests.small_models import SHALLOW, SHALLOW_MIXES, SmallModel, write_model

FRAMES = dict(inti=16, tds_clip=40, mote=8, msta=8)
FRAMES |= {mix: 40 if 'tds' in mix else 8 for mix in SHALLOW_MIXES}


@pytest.fixture(scope='module')
def models(tmp_path_factory: pytest.TempPathFactory
           ) -> dict[str, SmallModel]:
    folder = tmp_path_factory.mktemp('models')
    return {method: write_model(method, folder, **changes)
            for method, changes in SHALLOW.items()}


def wanted_scores(model: SmallModel, clips: torch.Tensor) -> torch.Tensor:
    """What the recognizer of a checkpoint computes for normalised clips."""
    recognizer = VideoClassifier(
        model.config, model.checkpoint, device='cpu').model
    with torch.no_grad():
        features, kwargs = recognizer.extract_feat(
            clips[:, None], test_mode=True)
        return recognizer.cls_head(features, **kwargs)


def check(method: str, model: SmallModel, out: Path, form: str) -> None:
    done = plain_tool('export.py', model.config, model.checkpoint, out,
                      '--format', form)
    assert not done.returncode, done.stderr
    clips = torch.randn(5, 3, FRAMES[method], 32, 32)
    wanted = wanted_scores(model, clips)
    assert wanted.std() > .1
    for size in (1, 5):
        found = exporting.run_exported(out, clips[:size], form)
        assert (found - wanted[:size]).abs().max() < 1e-4
    assert sorted(path.name for path in out.parent.iterdir()) == [
        f'{out.stem}.json', out.name]


@pytest.mark.parametrize('method', list(SHALLOW))
def test_onnxruntime_gives_the_scores_of_pytorch(
        method: str, models, onnx, tmp_path) -> None:
    check(method, models[method], tmp_path / 'model.onnx', 'onnx')


# InTI's modules have names that Python cannot, MSTA runs a Function of ours.
@pytest.mark.parametrize('method', ['inti', 'msta'])
def test_torch_export_gives_the_scores_of_pytorch(
        method: str, models, compiler, tmp_path) -> None:
    check(method, models[method], tmp_path / 'model.pt2', 'torch_export')


@pytest.mark.parametrize('mix', list(SHALLOW_MIXES))
def test_a_mix_gives_the_scores_of_pytorch(  # torch.export is on the way
        mix: str, onnx, tmp_path) -> None:
    model = write_model(mix, tmp_path, **SHALLOW_MIXES[mix])
    check(mix, model, tmp_path / 'out/model.onnx', 'onnx')


def test_no_text_tower_and_no_expert_is_left(
        models, compiler, tmp_path) -> None:
    out = tmp_path / 'model.pt2'
    done = plain_tool(
        'export.py', models['mote'].config, models['mote'].checkpoint, out,
        '--format', 'torch_export')
    assert 'necks with merged experts' in done.stdout
    program = torch.export.load(out)
    names = list(program.state_dict) + list(program.constants)
    assert any('class_features' in name for name in names)
    assert not any('text_encoder' in name or 'experts' in name
                   for name in names)
    about = json.loads((tmp_path / 'model.json').read_text())
    assert about['input']['shape'] == ['batch', 3, 8, 32, 32]
    assert about['output']['shape'] == ['batch', 101]
    assert about['labels'][0] == 'ApplyEyeMakeup'
    assert len(about['labels']) == 101
    assert about['mean'] == [122.7709383, 116.7460125, 104.09373615]
    assert about['std'][0] == 68.5005327
    assert about['folded'] == {'necks with merged experts': 1}
    assert about['largest_difference'] < 1e-4


def test_other_scores_are_not_written(models, compiler, tmp_path) -> None:
    real = exporting.run_exported
    with mock.patch.object(exporting, 'run_exported',
                           lambda *args: real(*args) + .01):
        done = plain_tool(
            'export.py', models['mote'].config, models['mote'].checkpoint,
            tmp_path / 'model.pt2', '--format', 'torch_export')
    assert 'scores of the exported model differ by 1.0e-02' in done.error
    assert not list(tmp_path.iterdir())


def test_what_cannot_be_done_is_said_at_once(compiler, tmp_path) -> None:
    def error(out: Path, form: str = 'torch_export') -> str:
        return plain_tool('export.py', 'CONFIG', 'CKPT', out,
                          '--format', form).error

    assert 'does not end in .pt2' in error(tmp_path / 'model.onnx')
    (tmp_path / 'model.json').touch()
    assert 'model.json exists' in error(tmp_path / 'model.pt2')
    assert 'is a file: choose another folder' in error(
        tmp_path / 'model.json' / 'model.pt2')
    with mock.patch.object(importlib.util, 'find_spec', return_value=None):
        assert "pip install '.[export]'" in error(
            tmp_path / 'a.onnx', 'onnx')
    assert 'does not exist' in error(tmp_path / 'other.pt2')


def test_an_onnx_file_holds_two_gigabytes(models, onnx, tmp_path) -> None:
    with mock.patch.object(exporting, 'ONNX_LIMIT', 1000):
        done = plain_tool(
            'export.py', models['mote'].config, models['mote'].checkpoint,
            tmp_path / 'model.onnx')
    assert 'use --format torch_export' in done.error
    assert not list(tmp_path.iterdir())
