"""AdaptFormer: a bottleneck beside the MLP, silent at first."""

import pytest
import torch
import torch.nn.functional as F

from mmvidadapt.models.adapters import AdapterStack, AdaptFormer
from tests import tiny_clip as tiny


def _stack(**options) -> AdapterStack:
    return AdapterStack(
        [dict(type='AdaptFormer', **{
            **dict(layers=[0, 1], bottleneck_dims=4, dropout=0.), **options})],
        embed_dims=32, num_heads=2, num_layers=2, num_frames=2,
        grid_size=(2, 2))


def test_zeroed_adapter_is_identity_to_the_bit():
    encoder, images = tiny.vision(), tiny.frames()
    assert torch.equal(encoder(images, 2, stacks=[_stack()]).tokens,
                       encoder(images, 2).tokens)


def test_matches_the_equations_restated():
    """Eq. (2) and (3): ``x' + MLP(LN(x')) + s up(relu(down(LN(x'))))``."""
    encoder, images = tiny.randomize(tiny.vision()), tiny.frames()
    stack = tiny.randomize(_stack(scale=0.5))
    with torch.no_grad():
        x = encoder.ln_pre(encoder.embed(images, 2)[0])
        for i, block in enumerate(encoder.transformer.resblocks):
            layer = stack[0][str(i)]
            x = x + block.attn(block.ln_1(x), None, block)
            read = F.layer_norm(x, (32, ), block.ln_2.weight,
                                block.ln_2.bias)
            down = torch.relu(read @ layer.down.weight.T + layer.down.bias)
            x = x + block.mlp(read) + 0.5 * (
                down @ layer.up.weight.T + layer.up.bias)
        torch.testing.assert_close(
            encoder(images, 2, stacks=[stack]).tokens, x,
            atol=1e-5, rtol=1e-5)


def test_every_adapter_parameter_gets_gradient_and_no_other():
    stack = tiny.randomize(_stack())
    encoder = tiny.vision(frozen=True)
    encoder(tiny.frames(), 2, stacks=[stack]).tokens.square().mean().backward()
    without = [name for name, param in stack.named_parameters()
               if param.grad is None or not param.grad.any()]
    assert without == []
    assert all(param.grad is None for param in encoder.parameters())


def test_dropout_acts_in_training_only():
    layer = tiny.randomize(AdaptFormer(32, dropout=0.5))
    x = torch.randn(3, 32)
    assert not torch.equal(layer(x, None, None), layer(x, None, None))
    layer.eval()
    assert torch.equal(layer(x, None, None), layer(x, None, None))


def test_wrong_bottleneck():
    with pytest.raises(ValueError, match='AdaptFormer needs positive '
                       'bottleneck_dims, got 0'):
        _stack(bottleneck_dims=0)
