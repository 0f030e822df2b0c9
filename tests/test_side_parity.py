"""Published TDS-CLIP and Side4Video, number by number.

The values are described in the README of the parity data, as are the
tolerances. Everything is loaded by ``load_official``; what the programs
permute back and forth is brought into our order here.
"""

from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest
import torch
from mmaction.registry import MODELS
from torch import Tensor, nn

from mmvidadapt.apis import load_official
from mmvidadapt.models.clip import TokenLayout
from mmvidadapt.models.side import DifferenceGate, SideBlock, TemporalBranch
from mmvidadapt.models.side.published import published_name, published_shape

METHODS = ('tds_clip', 'side4video')
OUTPUT = dict(atol=2e-5, rtol=0)  # features, logits
INNER = dict(atol=5e-5, rtol=0)  # intermediates
#: Gradients that are zero whatever the data: these biases shift what a batch
#: norm centres, or what q - Pool(q) cancels.
BLOCK = 'visual.transformer.side_transformer.'
ZERO_GRADIENTS = {
    'tds_clip': {
        'visual.side_conv1.bias', 'visual.side_conv1_c5.bias',
        *(f'{BLOCK}{layer}.mse.bn1.bias' for layer in range(3)),
        f'{BLOCK}2.mlp.fc2.bias', f'{BLOCK}2.attn.out_proj.bias'},
    'side4video': {
        'visual.side_conv1.bias', f'{BLOCK}1.mlp.fc2.bias',
        f'{BLOCK}1.attn.out_proj.bias'},
}  # yapf: disable
ZERO_GRADIENTS_OF_A_BLOCK = {'mse.bn1.bias'}


@lru_cache(maxsize=None)
def golden(folder: Path, name: str) -> dict[str, Any]:
    data = torch.load(folder / f'{name}.pt', weights_only=True)
    data['state_dict'] = {
        key: value.float() if value.is_floating_point() else value
        for key, value in data['state_dict'].items()}
    return data


def model_of(data: dict, method: str, **backbone: object) -> nn.Module:
    """Our recognizer with the published weights, strictly."""
    config, state_dict = load_official(
        method, data, num_frames=data['config']['num_frames'])
    config['backbone'].update(backbone)
    model = MODELS.build(config)
    model.load_state_dict(state_dict, strict=True)
    return model


def clip_of(data: dict) -> Tensor:
    """``(B*T, 3*window, H, W)`` as ``(B, 3, T*window, H, W)``."""
    sizes = data['config']
    x = data['input'].float()
    x = x.view(sizes['batch'], sizes['num_frames'], sizes['num_diff'], 3,
               *x.shape[-2:])
    return x.permute(0, 3, 1, 2, 4, 5).flatten(2, 3)


def record(module: nn.Module, into: dict, name: str) -> None:
    module.register_forward_hook(
        lambda module, args, out: into.__setitem__(name, out))


def check_gradients(grads: dict[str, Tensor], expected: dict[str, float],
                    zeros: set[str]) -> None:
    """Compare norms by published names; zeros are a list of their own."""
    assert grads.keys() == expected.keys()
    assert {name for name, norm in expected.items() if norm < 1e-6} == zeros
    for name, norm in expected.items():
        found = grads[name].norm().item()
        if name in zeros:
            assert found < 1e-5, name
        else:
            assert found == pytest.approx(norm, rel=1e-3), name


# Evaluation -----------------------------------------------------------------


@pytest.mark.parametrize('with_cp', [False, True])
@pytest.mark.parametrize('method', METHODS)
def test_features_and_logits_are_the_published_ones(
        goldens: Path, method: str, with_cp: bool) -> None:
    data = golden(goldens, f'{method}_tiny')
    model = model_of(data, method, with_cp=with_cp).eval()
    for grad in (False, True):  # other kernels with gradient
        with torch.set_grad_enabled(grad):
            features = model.backbone(clip_of(data))
            logits = model.cls_head(features)
        torch.testing.assert_close(
            features.mean(1), data['eval']['feature'], **OUTPUT)
        torch.testing.assert_close(logits, data['eval']['logits'], **OUTPUT)


@pytest.mark.parametrize('method', METHODS)
def test_views_are_averaged_after_the_softmax(goldens: Path,
                                                    method: str) -> None:
    data = golden(goldens, f'{method}_tiny')
    model = model_of(data, method).eval()
    with torch.no_grad():
        clip = clip_of(data)
        # two views of each video, (B, 2, 3, T*window, H, W)
        views = torch.stack([clip, clip.flip(0)], dim=1)
        features, _ = model.extract_feat(views, test_mode=True)
        logits = model.cls_head(features)
        scores = model.cls_head.average_clip(logits, num_segs=2)
    # softmax of each view, then their mean
    expected = data['eval']['logits'].softmax(-1)
    torch.testing.assert_close(
        scores, (expected + expected.flip(0)) / 2, **OUTPUT)


@pytest.mark.parametrize('method', METHODS)
def test_every_intermediate_is_the_published_one(goldens: Path,
                                                 method: str) -> None:
    data = golden(goldens, f'{method}_tiny')
    model = model_of(data, method).eval()
    backbone = model.backbone
    found: dict = {}
    record(backbone.stem, found, 'side_stem')
    for i, block in enumerate(backbone.blocks):
        record(block, found, f'side_layer_{i}')
    for i, block in enumerate(backbone.encoder.transformer.resblocks):
        record(block, found, f'clip_layer_{i}_cls')
    with torch.no_grad():
        backbone(clip_of(data))
    expected = {name: value for name, value in data['eval'].items()
                if name not in ('feature', 'logits')}
    assert found.keys() == expected.keys()
    for name, value in found.items():
        if name.startswith('clip'):
            value = value[0][:, 0]  # the class token
        else:
            value = value.transpose(0, 1)  # (N, B*T, D)
        torch.testing.assert_close(
            value, expected[name], **INNER,
            msg=lambda text, name=name: f'{name}: {text}')


# Training -------------------------------------------------------------------


@pytest.mark.parametrize('with_cp', [False, True])
@pytest.mark.parametrize('method', METHODS)
def test_a_training_step_is_the_published_one(goldens: Path, method: str,
                                              with_cp: bool) -> None:
    data = golden(goldens, f'{method}_tiny')
    model = model_of(data, method, with_cp=with_cp).train()
    frozen = {name: value.clone() for name, value
              in model.backbone.encoder.state_dict().items()}
    expected = data['train']
    feature = model.backbone(clip_of(data)).mean(1)
    loss = feature.square().mean()
    loss.backward()
    torch.testing.assert_close(feature, expected['feature'], **OUTPUT)
    assert loss.item() == pytest.approx(expected['loss'], rel=1e-4)

    params = dict(model.named_parameters())
    # Without gradient: the head, which the loss does not see, and all of
    # CLIP.
    grads = {name: params[published_name(name)].grad
             for name in data['state_dict']
             if published_name(name) in params}
    grads = {name: grad for name, grad in grads.items() if grad is not None}
    check_gradients(grads, expected['grad_norms'], ZERO_GRADIENTS[method])
    for name, value in expected['grads'].items():
        torch.testing.assert_close(
            grads[name], published_shape(name, value),
            atol=1e-3 * value.abs().max().item(), rtol=1e-3,
            msg=lambda text, name=name: f'{name}: {text}')

    buffers = dict(model.named_buffers())
    for name, value in expected['buffers_after'].items():
        torch.testing.assert_close(
            buffers[published_name(name)], value, **INNER,
            msg=lambda text, name=name: f'{name}: {text}')
    before = {published_name(name): value
              for name, value in data['state_dict'].items()}
    counted = [name for name in buffers
               if name.endswith('num_batches_tracked')]
    assert counted
    for name in counted:  # recomputing does not count twice
        assert buffers[name] == before[name] + 1, name
    for name, value in model.backbone.encoder.state_dict().items():
        assert torch.equal(value, frozen[name]), name


# One block ------------------------------------------------------------------


def block_of(data: dict) -> SideBlock:
    """Our side block with the weights of the published one, strictly."""
    sizes, prefix = data['config'], f'{BLOCK}0.'
    block = SideBlock(
        sizes['dim'], sizes['heads'], 4.,
        TemporalBranch(sizes['dim'], DifferenceGate(sizes['dim'], 'pool', 3)))
    block.load_state_dict({
        our_name(name): published_shape(prefix + name, value)
        for name, value in data['state_dict'].items()}, strict=True)
    return block


def our_name(name: str) -> str:
    """Our name of a tensor within a block."""
    return published_name(f'{BLOCK}0.{name}').removeprefix(
        'backbone.blocks.0.')


def inputs_of(data: dict) -> tuple[Tensor, Tensor, Tensor, TokenLayout]:
    sizes = data['config']
    layout = TokenLayout('framewise', sizes['num_frames'],
                         (sizes['grid'], ) * 2)
    x = data['x'].float().transpose(0, 1).contiguous()  # (B*T, N, D)
    cls = data['token'].float().transpose(0, 1).contiguous()  # (B*T, 1, D)
    return x, cls, data['pos'].float(), layout


def to_grid(x: Tensor, layout: TokenLayout) -> Tensor:
    """Tokens ``(B*T, N, C)``, or flat, as ``(B, C, T, h, w)``."""
    rows, cols = layout.grid_size
    x = x.reshape(-1, layout.num_frames, rows, cols, x.shape[-1])
    return x.permute(0, 4, 1, 2, 3)


def test_every_intermediate_of_a_block_is_the_published_one(
        goldens: Path) -> None:
    data = golden(goldens, 'tds_clip_block')
    block = block_of(data).eval()
    x, cls, positions, layout = inputs_of(data)
    found: dict = {}
    gate = block.temporal.gate
    record(block.temporal.fc2, found, 'td_conv_out')
    record(gate, found, 'td_adapter_out')
    record(gate.norm1, found, 'q')
    record(block.attn_norm, found, 'attn_in_after_ln')
    record(block.attn, found, 'attn_out')
    record(block.mlp_norm, found, 'bn_2_out')
    with torch.no_grad():
        found['out'] = block(x, cls, positions, layout)
        q = found.pop('q').view(x.shape[0], x.shape[1], -1)
        found['td_pool_out'] = q - gate.subtract(q, layout)
    assert found.keys() == data['eval'].keys()
    for name, value in found.items():
        value = (to_grid(value, layout) if name.startswith(('td', 'bn'))
                 else value.transpose(0, 1))
        torch.testing.assert_close(
            value, data['eval'][name], **INNER,
            msg=lambda text, name=name: f'{name}: {text}')


def test_a_training_step_of_a_block_is_the_published_one(
        goldens: Path) -> None:
    data = golden(goldens, 'tds_clip_block')
    block = block_of(data).train()
    x, cls, positions, layout = inputs_of(data)
    x.requires_grad_()
    cls.requires_grad_()
    expected = data['train']
    out = block(x, cls, positions, layout)
    loss = out.square().mean()
    loss.backward()
    torch.testing.assert_close(out.transpose(0, 1), expected['out'], **INNER)
    assert loss.item() == pytest.approx(expected['loss'], rel=1e-4)
    params = dict(block.named_parameters())
    grads = {name: params[our_name(name)].grad
             for name in data['state_dict'] if our_name(name) in params}
    check_gradients(grads, expected['grad_norms'], ZERO_GRADIENTS_OF_A_BLOCK)
    for name, value in (('grad_x', x), ('grad_token', cls)):
        torch.testing.assert_close(
            value.grad.transpose(0, 1), expected[name],
            atol=1e-3 * expected[name].abs().max().item(), rtol=1e-3,
            msg=lambda text, name=name: f'{name}: {text}')
