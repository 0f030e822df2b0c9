"""LinearPooling and ConvPooling, the comparators of InTI."""

import pytest
import torch
from torch import nn

from mmvidadapt.models.adapters import ConvPooling, LinearPooling
from mmvidadapt.models.backbones import CLIPViT
from mmvidadapt.models.clip.layout import TokenLayout

C, GRID, L = 8, (2, 3), 7


def layout(num_frames: int) -> TokenLayout:
    return TokenLayout('framewise', num_frames, GRID)


def build(name: str, num_frames: int = 4, **kwargs) -> nn.Module:
    if name == 'LinearPooling':
        return LinearPooling(num_frames, **kwargs)
    return ConvPooling(C, num_frames, **kwargs)


both = pytest.mark.parametrize('name', ['LinearPooling', 'ConvPooling'])


@both
@pytest.mark.parametrize('num_frames', [2, 4, 8, 16])
def test_starts_as_the_mean_of_each_pair(name, num_frames):
    x = torch.randn(3 * num_frames, L, C)
    z, out = build(name, num_frames)(x, layout(num_frames), None)
    assert out == layout(num_frames // 2)
    torch.testing.assert_close(z, x.unflatten(0, (-1, 2)).mean(1))


def test_linear_pooling_shares_two_constrained_weights():
    pool, x = LinearPooling(4), torch.randn(8, L, C)
    with torch.no_grad():
        pool.logits.copy_(torch.tensor([0.3, -1.2]))
    a = 1 / (1 + torch.exp(torch.tensor(-1.5)))
    z = pool(x, layout(4), None)[0]
    torch.testing.assert_close(z, a * x[0::2] + (1 - a) * x[1::2])
    weights = pool.predict_weights(x, layout(4))
    assert weights.shape == (2, 2, L, 2)
    torch.testing.assert_close(weights[..., 0], a.expand(2, 2, L))
    torch.testing.assert_close(weights.sum(-1), torch.ones(2, 2, L))


def test_conv_pooling_is_a_strided_convolution_of_every_token():
    pool, x = ConvPooling(C, 8), torch.randn(16, L, C)
    nn.init.normal_(pool.conv.weight)
    nn.init.normal_(pool.conv.bias)
    expected = pool.conv(  # nn.Conv3d's own kernel, on (B, C, T, L, 1)
        x.unflatten(0, (2, 8)).permute(0, 3, 1, 2).unsqueeze(-1))
    expected = expected.squeeze(-1).permute(0, 2, 3, 1).flatten(0, 1)
    z = pool(x, layout(8), None)[0]
    torch.testing.assert_close(z, expected, atol=1e-5, rtol=1e-5)


@both
def test_every_parameter_gets_a_gradient(name):
    pool = build(name)
    pool(torch.randn(8, L, C), layout(4), None)[0].square().sum().backward()
    assert all(p.grad is not None and p.grad.any()
               for p in pool.parameters())


@both
def test_nothing_crosses_clips(name):
    pool, x = build(name), torch.randn(12, L, C)
    for p in pool.parameters():
        nn.init.normal_(p)
    other = x.clone()
    other[4:8] += 1
    z, other_z = (pool(v, layout(4), None)[0] for v in (x, other))
    assert torch.equal(z[[0, 1, 4, 5]], other_z[[0, 1, 4, 5]])
    assert not torch.equal(z[2:4], other_z[2:4])


def test_parameters_do_not_depend_on_the_frame_count():
    with torch.device('meta'):
        for num_frames in (8, 16):
            linear, conv = LinearPooling(num_frames), ConvPooling(
                768, num_frames)
            assert sum(p.numel() for p in linear.parameters()) == 2
            assert sum(p.numel() for p in conv.parameters()) == (
                3 * 768**2 + 768)
    # Two of them on the 114.55 M of UniFormerV2-B: 118.1 M.
    assert 114.55 + 2 * (3 * 768**2 + 768) / 1e6 == pytest.approx(
        118.1, abs=0.05)


@both
def test_odd_frame_counts_are_refused(name):
    message = (f'{name} before block 2 cannot pair 5 frames: use an even '
               r'number of frames, divisible by 2\^k')
    with pytest.raises(ValueError, match=message):
        build(name, 5, layer=2)
    with pytest.raises(ValueError, match=message):
        build(name, 4, layer=2)(torch.randn(5, L, C), layout(5), None)


@both
def test_pad_odd_repeats_the_last_frame(name):
    pool, x = build(name, 3, pad_odd=True), torch.randn(3, L, C)
    z, out = pool(x, layout(3), None)
    assert out == layout(2)
    torch.testing.assert_close(z[1], x[2])


@both
def test_precision_of_the_stream_is_kept(name):
    pool, x = build(name), torch.randn(4, L, C)
    with torch.autocast('cpu', torch.bfloat16):
        assert pool(x, layout(4), None)[0].dtype == torch.float32
    pool, x = pool.bfloat16(), x.bfloat16()
    assert pool(x, layout(4), None)[0].dtype == torch.bfloat16


@both
def test_runs_in_the_backbone(name):
    arch = dict(embed_dims=C, num_layers=3, num_heads=2, patch_size=4,
                image_size=8, output_dims=C)
    model = CLIPViT(
        encoder=dict(arch=arch, act='gelu', with_cp=True), num_frames=8,
        adapters=[dict(type=name, layers=[1, 2])])
    out = model(torch.randn(2, 3, 8, 8, 8))
    assert out.shape == (2, 2, C)
    out.square().sum().backward()
    assert all(p.grad is not None for p in model.adapters.parameters())
