"""Depth-wise convolutions on tokens equal the convolutions of torch."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from mmvidadapt.models.adapters.depthwise import (
    _banded_product,
    _shifted_sum,
    depthwise_conv3d,
    depthwise_temporal_conv,
    grouped_temporal_conv,
)
from mmvidadapt.models.clip import TokenLayout

CHANNELS = 6


def to_image(x: Tensor, layout: TokenLayout) -> Tensor:
    grid = layout.split_frames(x).unflatten(2, layout.grid_size)
    return grid.permute(0, 4, 1, 2, 3)  # (B, C, T, h, w)


def to_tokens(image: Tensor) -> Tensor:
    return image.permute(0, 2, 3, 4, 1).flatten(2, 3).flatten(0, 1)


def weights(*kernel: int) -> tuple[Tensor, Tensor]:
    return (torch.randn(CHANNELS, 1, *kernel, requires_grad=True),
            torch.randn(CHANNELS, requires_grad=True))


def gradients(y: Tensor, *inputs: Tensor) -> list[Tensor]:
    coefficients = torch.linspace(-1, 1, y.numel()).view_as(y)
    return torch.autograd.grad(
        (y * coefficients).sum(), inputs, retain_graph=True)


@pytest.mark.parametrize('stride', [1, 2])
@pytest.mark.parametrize('num_frames', [1, 2, 3, 4, 5, 8])
def test_3d_equals_conv3d_in_values_and_gradients(
        num_frames: int, stride: int) -> None:
    layout = TokenLayout('framewise', num_frames, (3, 4))
    x = torch.randn(2 * num_frames, 12, CHANNELS, requires_grad=True)
    weight, bias = weights(3, 3, 3)
    expected = to_tokens(F.conv3d(to_image(x, layout), weight, bias,
                                  (stride, 1, 1), 1, groups=CHANNELS))
    y = depthwise_conv3d(x, weight, bias, layout, stride)
    torch.testing.assert_close(y, expected, atol=1e-5, rtol=0)
    for ours, theirs in zip(gradients(y, x, weight, bias),
                            gradients(expected, x, weight, bias)):
        torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=0)
    with torch.no_grad():  # another kernel is used when nothing trains
        y = depthwise_conv3d(x, weight, bias, layout, stride)
    torch.testing.assert_close(y, expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize('kernel', [3, 5, 7])
@pytest.mark.parametrize('num_frames', [1, 2, 5])
def test_temporal_equals_conv3d_in_values_and_gradients(
        num_frames: int, kernel: int) -> None:
    layout = TokenLayout('framewise', num_frames, (3, 4))
    x = torch.randn(2 * num_frames, 12, CHANNELS, requires_grad=True)
    weight, bias = weights(kernel)
    expected = to_tokens(F.conv3d(
        to_image(x, layout), weight[..., None, None], bias, 1,
        (kernel // 2, 0, 0), groups=CHANNELS))
    # The form for the GPU is plain arithmetic, so it can be checked here.
    shifted = _shifted_sum(layout.split_frames(x), weight, bias).flatten(0, 1)
    for y in (depthwise_temporal_conv(x, weight, bias, layout), shifted):
        torch.testing.assert_close(y, expected, atol=1e-5, rtol=0)
        for ours, theirs in zip(gradients(y, x, weight, bias),
                                gradients(expected, x, weight, bias)):
            torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=0)


def test_a_slice_of_tokens_and_no_bias_are_fine() -> None:
    layout = TokenLayout('framewise', 4, (3, 4))
    tokens = torch.randn(4, 13, CHANNELS)
    weight, _ = weights(3, 3, 3)
    torch.testing.assert_close(
        depthwise_conv3d(tokens[:, 1:], weight, None, layout),
        depthwise_conv3d(tokens[:, 1:].clone(), weight, None, layout))
    kernel, _ = weights(3)
    clips = layout.split_frames(tokens)
    torch.testing.assert_close(
        depthwise_temporal_conv(tokens, kernel, None, layout),
        _shifted_sum(clips, kernel, None).flatten(0, 1))


def test_autocast_keeps_the_type_of_the_tokens_and_float32_accuracy() -> None:
    layout = TokenLayout('framewise', 4, (3, 4))
    x = torch.randn(4, 12, CHANNELS)
    weight, bias = weights(3, 3, 3)
    expected = depthwise_conv3d(x, weight, bias, layout)
    with torch.autocast('cpu', torch.bfloat16):
        y = depthwise_conv3d(x, weight, bias, layout)
        half = depthwise_conv3d(x.bfloat16(), weight, bias, layout)
    assert y.dtype == torch.float32 and half.dtype == torch.bfloat16
    torch.testing.assert_close(y, expected)
    torch.testing.assert_close(half.float(), expected, atol=.1, rtol=.02)


def test_tokens_with_a_class_token_are_refused() -> None:
    layout = TokenLayout('framewise', 4, (3, 4))
    weight, bias = weights(3, 3, 3)
    with pytest.raises(ValueError, match=r'13 tokens do not fill the grid '
                       r'\(3, 4\).*without the class token'):
        depthwise_conv3d(torch.randn(4, 13, CHANNELS), weight, bias, layout)


@pytest.mark.parametrize('convolve', [grouped_temporal_conv, _banded_product])
@pytest.mark.parametrize('groups', [4, 2])  # of one input, and of two
@pytest.mark.parametrize('frames', [1, 2])
def test_groups_equal_conv3d_in_values_and_gradients(
        convolve, groups: int, frames: int) -> None:
    x = torch.randn(2, 5, 3, 4, requires_grad=True)  # 5 x 3 or 3 x 5 places
    weight = torch.randn(12, 4 // groups, 3, requires_grad=True)
    bias = torch.randn(12, requires_grad=True)
    clips = x if frames == 1 else x.transpose(1, 2)  # (B, T, N, C)
    wanted = F.conv3d(
        clips.permute(0, 3, 1, 2).unsqueeze(-1), weight[..., None, None],
        bias, padding=(1, 0, 0), groups=groups)
    wanted = wanted.squeeze(-1).permute(0, 2, 3, 1)
    if frames == 2:
        wanted = wanted.transpose(1, 2)
    y = convolve(x, weight, bias, groups, frames)
    torch.testing.assert_close(y, wanted)
    for a, b in zip(gradients(y, x, weight, bias),
                    gradients(wanted, x, weight, bias), strict=True):
        torch.testing.assert_close(a, b)
