"""LoRA adds a low-rank term to chosen projections, and nothing at first."""

import pytest
import torch
from torch import nn

from mmvidadapt.models.adapters import AdapterStack, LoRA
from tests import tiny_clip as tiny


def _stack(**options) -> AdapterStack:
    return AdapterStack(
        [dict(type='LoRA', **{**dict(layers=[0, 1]), **options})],
        embed_dims=32, num_heads=2, num_layers=2, num_frames=2,
        grid_size=(2, 2))


@pytest.mark.parametrize('with_grad', [False, True])
def test_zeroed_adapter_is_identity_to_the_bit(with_grad):
    encoder, images = tiny.vision(), tiny.frames()
    stack = _stack(targets=('q', 'k', 'v', 'out'), rank=4, alpha=8.)
    with torch.set_grad_enabled(with_grad):
        assert torch.equal(encoder(images, 2, stacks=[stack]).tokens,
                           encoder(images, 2).tokens)


@pytest.mark.parametrize('targets', [('q', 'v'), ('k', ), ('out', ),
                                     ('q', 'k', 'v', 'out')])
def test_matches_weights_with_the_low_rank_product_merged(targets):
    """``W + (alpha / rank) B A``, as other libraries merge it."""
    stack = tiny.randomize(_stack(targets=targets, rank=4, alpha=6.))
    encoder, merged, images = tiny.vision(), tiny.vision(), tiny.frames()
    merged.load_state_dict(encoder.state_dict())
    with torch.no_grad():
        for i, block in enumerate(merged.transformer.resblocks):
            for name, pair in stack[0][str(i)].low_rank.items():
                change = 6. / 4 * pair.up.weight @ pair.down.weight
                if name == 'out':
                    block.attn.out_proj.weight += change
                else:
                    row = 32 * 'qkv'.index(name)
                    block.attn.in_proj_weight[row:row + 32] += change
        adapted = encoder(images, 2, stacks=[stack]).tokens
        torch.testing.assert_close(adapted, merged(images, 2).tokens,
                                   atol=1e-5, rtol=1e-5)
        assert not torch.allclose(adapted, encoder(images, 2).tokens)


def test_scale_is_one_unless_alpha_is_given():
    assert LoRA(32, rank=4).scale == 1
    assert LoRA(32, rank=4, alpha=2).scale == 0.5


def test_dropout_acts_on_the_low_rank_path_alone_and_in_training_only():
    stack = tiny.randomize(_stack(dropout=0.5))
    encoder, images = tiny.vision(), tiny.frames()
    stack.train()
    first, second = (encoder(images, 2, stacks=[stack]).tokens
                     for _ in range(2))
    assert not torch.equal(first, second)
    stack.eval()
    first, second = (encoder(images, 2, stacks=[stack]).tokens
                     for _ in range(2))
    assert torch.equal(first, second)


def test_every_adapter_parameter_gets_gradient_and_no_other():
    stack = tiny.randomize(_stack(targets=('q', 'k', 'v', 'out')))
    encoder = tiny.randomize(tiny.vision(frozen=True))
    out = encoder(tiny.frames(), 2, stacks=[stack]).tokens
    out.square().mean().backward()
    # A frame's features depend on all tokens of the last block but one.
    without = [name for name, param in stack.named_parameters()
               if param.grad is None or not param.grad.any()]
    assert without == []
    assert all(param.grad is None for param in encoder.parameters())


def test_only_the_up_projection_learns_at_first():
    stack = _stack(rank=2)
    tiny.vision(frozen=True)(
        tiny.frames(), 2, stacks=[stack]).tokens.square().mean().backward()
    pair = stack[0]['0'].low_rank['q']
    assert pair.up.weight.grad.any()
    assert not pair.down.weight.grad.any()


def test_works_on_texts():
    encoder = tiny.text()
    stack = AdapterStack(
        [dict(type='LoRA', layers=[1])], embed_dims=16, num_heads=2,
        num_layers=3, num_frames=1, grid_size=(12, 1), kind='text')
    plain = encoder(tiny.TOKENS)
    assert torch.equal(encoder(tiny.TOKENS, stacks=[stack]), plain)
    tiny.randomize(stack)
    assert not torch.allclose(encoder(tiny.TOKENS, stacks=[stack]), plain)


@pytest.mark.parametrize('options, message', [
    (dict(targets=['q', 'mlp']), r"cannot adapt targets=\['q', 'mlp'\]: name "
     'some of q, k, v, out'),
    (dict(targets=[]), r'cannot adapt targets=\[\]: name some of'),
    (dict(rank=0), 'LoRA needs a positive rank, got 0')])
def test_wrong_options(options, message):
    with pytest.raises(ValueError, match=message):
        _stack(**options)


def test_parameter_names():
    assert list(nn.Module.state_dict(LoRA(32, rank=2, targets='q'))) == [
        'low_rank.q.down.weight', 'low_rank.q.up.weight']
