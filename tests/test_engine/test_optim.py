"""The optimizer sees what trains and nothing else."""

from collections.abc import Iterator

import pytest
import torch
from mmaction.registry import MODELS
from mmengine.optim import build_optim_wrapper
from mmengine.registry import DefaultScope
from torch import nn

from mmvidadapt.engine.optim import TrainableParamsConstructor
from tests import tiny_clip as tiny


@pytest.fixture(autouse=True)
def in_mmactions_scope() -> Iterator[None]:
    """As in a run; recognizers build their parts by bare names."""
    with DefaultScope.overwrite_default_scope('mmaction'):
        yield


def _model(frozen: bool = True) -> nn.Module:
    return MODELS.build(dict(
        type='Recognizer3D',
        backbone=dict(
            type='CLIPViT', num_frames=2,
            encoder=dict(arch=tiny.VISION, act='gelu', frozen=frozen),
            adapters=[dict(type='LoRA', layers=[1])]),
        cls_head=dict(type='LinearHead', num_classes=3, in_channels=32)))


def _wrapper(model: nn.Module, **changes):
    return build_optim_wrapper(model, {**dict(
        type='OptimWrapper', constructor='TrainableParamsConstructor',
        optimizer=dict(type='AdamW', lr=1e-3, weight_decay=0.1)), **changes})


def _names(model: nn.Module, wrapper) -> dict[str, dict]:
    """Optimised parameters by name, with the options of their group."""
    names = {param: name for name, param in model.named_parameters()}
    return {names[param]: group for group in wrapper.optimizer.param_groups
            for param in group['params']}


@pytest.mark.parametrize('paramwise', [
    None, dict(norm_decay_mult=0.), dict(custom_keys=dict(fc=dict()))])
@pytest.mark.parametrize('frozen', [True, False])
def test_optimizer_holds_the_trained_parameters(paramwise, frozen):
    model = _model(frozen)
    found = _names(model, _wrapper(model, paramwise_cfg=paramwise))
    trained = {name for name, param in model.named_parameters()
               if param.requires_grad}
    assert set(found) == trained
    assert any('encoder' in name for name in found) != frozen
    assert any('low_rank' in name for name in found)


def test_paramwise_options_work():
    model = _model(frozen=False)
    found = _names(model, _wrapper(model, paramwise_cfg=dict(
        norm_decay_mult=0., bias_decay_mult=0.,
        custom_keys={'adapters': dict(lr_mult=10.)})))
    assert found['backbone.encoder.ln_pre.weight']['weight_decay'] == 0
    assert found['cls_head.fc_cls.bias']['weight_decay'] == 0
    assert found['cls_head.fc_cls.weight']['weight_decay'] == 0.1
    assert found['cls_head.fc_cls.weight']['lr'] == 1e-3
    lora = 'backbone.adapters.0.1.low_rank.q.up.weight'
    assert found[lora]['lr'] == pytest.approx(1e-2)


def test_frozen_weights_survive_weight_decay_and_the_rest_moves():
    model = _model()
    wrapper = _wrapper(model, optimizer=dict(type='SGD', lr=1.,
                                             weight_decay=0.5))
    before = {name: p.clone() for name, p in model.named_parameters()}
    features = model.backbone(torch.randn(2, 3, 2, 32, 32))
    wrapper.update_params(model.cls_head(features).square().mean())
    for name, param in model.named_parameters():
        moved = not torch.equal(param, before[name])
        # LoRA's first layer has no gradient yet, but decays.
        assert moved == param.requires_grad, name
    assert len(wrapper.state_dict()['param_groups'][0]['params']) == len(
        [p for p in model.parameters() if p.requires_grad])


def test_wrapped_model_is_unwrapped():
    from mmengine.registry import MODEL_WRAPPERS

    class Wrap(nn.Module):

        def __init__(self, module: nn.Module) -> None:
            super().__init__()
            self.module = module

    MODEL_WRAPPERS.register_module(module=Wrap, force=True)
    try:
        model = _model()
        assert set(_names(model, _wrapper(Wrap(model)))) == set(
            _names(model, _wrapper(model)))
    finally:
        MODEL_WRAPPERS.module_dict.pop('Wrap')


def test_model_where_nothing_trains_is_refused():
    model = _model().requires_grad_(False)
    count = len(list(model.parameters()))
    for paramwise in (None, dict(norm_decay_mult=0.)):
        with pytest.raises(ValueError, match='nothing of Recognizer3D trains,'
                           f' all its {count} parameters are frozen: set '
                           'frozen=False in the encoder, or add an adapter'):
            _wrapper(model, paramwise_cfg=paramwise)


def test_counts_are_reported_and_frozen_parameters_are_not_listed(
        monkeypatch):
    from mmengine.logging import MMLogger
    lines: list[str] = []
    monkeypatch.setattr(MMLogger, 'callHandlers', lambda self, record: (
        lines.append(record.getMessage())))
    model = _model()
    _wrapper(model, paramwise_cfg=dict(bias_decay_mult=0.))
    # LoRA of q and v: 2 * 2 * 32 * 8; the classifier: 32 * 3 + 3.
    total = sum(param.numel() for param in model.parameters())
    assert (f'Training 6 of {len(list(model.parameters()))} parameters, '
            f'1,123 of {total:,} values.') in lines
    assert not [line for line in lines if 'is skipped' in line]
    assert [line for line in lines if 'paramwise_options' in line]


def test_constructor_is_registered():
    from mmaction.registry import OPTIM_WRAPPER_CONSTRUCTORS
    assert OPTIM_WRAPPER_CONSTRUCTORS.get(
        'TrainableParamsConstructor') is TrainableParamsConstructor
