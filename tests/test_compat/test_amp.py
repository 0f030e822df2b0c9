"""bfloat16 autocast on the CPU (and on a GPU where there is one)."""

import json
from pathlib import Path

import pytest
import torch
from mmaction.models.heads import OmniHead, TSNHead
from mmaction.models.heads.base import BaseHead
from mmaction.structures import ActionDataSample
from mmengine.optim import AmpOptimWrapper
from mmengine.registry import init_default_scope
from toy_recognizer import ToyHead, toy_config, toy_runner

from mmvidadapt.compat import mixed_precision
from mmvidadapt.compat.checkpoints import read_checkpoint
from mmvidadapt.run import mmaction_tools
from tests.scripts import run_here, working_in

gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason='needs a GPU')


def _wrapper(**kwargs) -> AmpOptimWrapper:
    parameter = torch.nn.Parameter(torch.zeros(1))
    return AmpOptimWrapper(
        optimizer=torch.optim.SGD([parameter], lr=1.), **kwargs)


@pytest.fixture
def on_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make MMEngine see no accelerator."""
    monkeypatch.setattr('mmengine.device.utils.DEVICE', 'cpu')


@pytest.mark.parametrize('config', [
    dict(type='AmpOptimWrapper', dtype='bfloat16'),
    dict(type='AmpOptimWrapper', loss_scale='dynamic'),  # what --amp writes
])
def test_training_autocasts_to_bfloat16_over_float32_weights(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
        config: dict) -> None:
    seen = {}

    def spy(self: ToyHead, x: torch.Tensor, **kwargs) -> torch.Tensor:
        seen['weight'] = self.fc_cls.weight.dtype
        scores = self.fc_cls(x.mean(dim=1))
        seen['inside'] = scores.dtype
        if self.training:
            seen['trained in'] = scores.dtype
        return scores

    monkeypatch.setattr(ToyHead, 'forward', spy)
    runner = toy_runner(tmp_path, optim_wrapper=config)
    before = runner.model.backbone.conv.weight.clone()
    runner.train()
    assert seen['trained in'] == torch.bfloat16
    assert seen['weight'] == torch.float32
    assert seen['inside'] == torch.float32  # validation is not autocast
    assert not torch.equal(runner.model.backbone.conv.weight.cpu(),
                           before.cpu())


def test_bfloat16_training_resumes(tmp_path: Path) -> None:
    amp = dict(optim_wrapper=dict(type='AmpOptimWrapper', dtype='bfloat16'))
    toy_runner(tmp_path, **amp, **{'train_cfg.max_epochs': 1}).train()
    runner = toy_runner(tmp_path, resume=True, **amp)
    runner.train()
    assert runner.epoch == 2


def test_dynamic_scaling_is_off_for_bfloat16(on_cpu: None) -> None:
    for kwargs in ({}, dict(dtype='bfloat16'), dict(dtype=torch.bfloat16)):
        wrapper = _wrapper(loss_scale='dynamic', **kwargs)
        assert wrapper.cast_dtype == torch.bfloat16
        assert not wrapper.loss_scaler.is_enabled()


@pytest.mark.parametrize('scale', [8., dict(init_scale=8.)])
def test_asked_for_scaling_is_done_and_undone(on_cpu: None,
                                              scale: object) -> None:
    wrapper = _wrapper(loss_scale=scale)
    parameter = wrapper.optimizer.param_groups[0]['params'][0]
    wrapper.backward((2 * parameter).sum())
    assert parameter.grad.item() == 16
    wrapper.step()
    assert parameter.item() == -2
    assert _wrapper(loss_scale=scale).state_dict()['loss_scaler']


def test_what_the_cpu_cannot_do_is_refused_with_the_remedy(
        on_cpu: None) -> None:
    for dtype in ('float16', torch.float16):
        with pytest.raises(ValueError, match="no dtype 'float16' on the CPU: "
                           "set optim_wrapper.dtype='bfloat16'"):
            _wrapper(dtype=dtype)
    with pytest.raises(TypeError, match="loss_scale is 'static': give a "
                       'float'):
        _wrapper(loss_scale='static')


def test_default_is_float16_where_bfloat16_is_only_emulated(
        monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: True)
    monkeypatch.setattr(torch.cuda, 'is_bf16_supported',
                        lambda including_emulation=True: True)
    assert mixed_precision.default_amp_dtype() == torch.bfloat16
    monkeypatch.setattr(torch.cuda, 'is_bf16_supported',
                        lambda including_emulation=True: including_emulation)
    assert mixed_precision.default_amp_dtype() == torch.float16


@gpu
def test_gpu_keeps_explicit_float16_and_its_scaler() -> None:
    wrapper = _wrapper(dtype='float16')
    assert wrapper.cast_dtype == torch.float16
    assert wrapper.loss_scaler.is_enabled()


@pytest.mark.parametrize('type_, kwargs', [
    (TSNHead, dict(num_classes=3, in_channels=4, topk=(1, ))),
    (OmniHead, dict(image_classes=3, video_classes=3, in_channels=4,
                    topk=(1, ))),
])
def test_stock_heads_train_and_predict_under_bfloat16(type_: type,
                                                      kwargs: dict) -> None:
    init_default_scope('mmaction')
    head = type_(average_clips='prob', **kwargs)
    samples = [ActionDataSample().set_gt_label(1) for _ in range(2)]
    shape = (2, 4, 1, 1) if type_ is TSNHead else (2, 4, 1, 1, 1)
    extra = dict(num_segs=1) if type_ is TSNHead else {}
    with torch.autocast('cpu', dtype=torch.bfloat16):
        losses = head.loss(torch.rand(shape), samples, **extra)
        predicted = head.predict(torch.rand(shape), samples, **extra)
    assert losses['loss_cls'].dtype == torch.float32
    assert predicted[0].pred_score.dtype == torch.float32
    predicted[0].pred_score.detach().numpy()


def test_heads_answer_in_float32_whatever_they_return() -> None:
    low, whole = torch.zeros(1, dtype=torch.float16), torch.zeros(1).long()
    answer = mixed_precision._to_float32(dict(a=(low, [low]), b=whole, c='d'))
    assert answer['a'][0].dtype == answer['a'][1][0].dtype == torch.float32
    assert answer['b'].dtype == torch.long and answer['c'] == 'd'
    double = torch.zeros(1, dtype=torch.float64)
    assert mixed_precision._to_float32(double) is double


def test_mends_are_needed_only_where_the_fault_is(
        monkeypatch: pytest.MonkeyPatch) -> None:
    assert not mixed_precision.wrapper_needed()
    assert not mixed_precision.heads_needed()
    monkeypatch.setattr(AmpOptimWrapper, '__init__',
                        AmpOptimWrapper.__init__.__wrapped__)
    monkeypatch.setattr(BaseHead, '__call__', BaseHead.__call__.__wrapped__)
    assert mixed_precision.wrapper_needed()
    assert mixed_precision.heads_needed()


def test_train_script_of_mmaction2_runs_with_amp(tmp_path: Path) -> None:
    toy_config(tmp_path, log_level='INFO').dump(tmp_path / 'toy.py')
    with working_in(tmp_path):
        run_here(mmaction_tools() / 'train.py', 'toy.py', '--amp')
    saved = read_checkpoint(tmp_path / 'epoch_2.pth')
    assert saved['state_dict']['backbone.conv.weight'].dtype == torch.float32
    assert saved['optimizer']['loss_scaler'] == {}
    logs = [json.loads(line) for file in tmp_path.glob('*/vis_data/*.json')
            for line in file.read_text().splitlines()]
    assert any('acc/top1' in entry for entry in logs)


