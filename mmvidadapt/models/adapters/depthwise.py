"""Depth-wise convolutions over the patch tokens of clips.

Shared by the adapters that need them (UniFormerV2's temporal modules, InTI's
cube context). Tokens stay in token order: channels are their last dimension,
so their grid *is* a channels-last image and no permuted copy is made.

On the CPU both run in float32 whatever the precision around them: without
bfloat16 units, oneDNN's depth-wise kernels are up to 40 times slower there.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from ..clip.layout import TokenLayout


def depthwise_conv3d(x: Tensor, weight: Tensor, bias: Tensor | None,
                     layout: TokenLayout, temporal_stride: int = 1) -> Tensor:
    """Convolve each channel over frames, rows and columns.

    Equals ``F.conv3d(..., padding=1, groups=C, stride=(s, 1, 1))`` on the
    ``(B, C, T, h, w)`` grid of the same tokens.

    Args:
        x (Tensor): Patch tokens ``(B*T, h*w, C)``, without class token; a
            slice of a larger token tensor is fine.
        weight (Tensor): ``(C, 1, 3, 3, 3)``, as ``nn.Conv3d`` keeps it.
        bias (Tensor | None): ``(C)``.
        layout (TokenLayout): Frames and grid of ``x``.
        temporal_stride (int): ``s``, step between output frames.

    Returns:
        Tensor: ``(B*T', h*w, C)`` with ``T' = ceil(T / s)``.

    Raises:
        ValueError: If the tokens do not fill the grid of the layout.
    """
    if x.shape[1] != layout.num_patches:
        raise ValueError(
            f'{x.shape[1]} tokens do not fill the grid {layout.grid_size}: '
            'pass the patch tokens alone, without the class token')
    grid = layout.split_frames(x).unflatten(2, layout.grid_size)
    if x.device.type != 'cpu':
        return _conv3d(grid, weight, bias, temporal_stride)
    with torch.autocast('cpu', enabled=False):
        grid, weight, bias = _as_float(grid, weight, bias)
        # oneDNN's 3-D kernel has the faster forward, by 2 to 4 times, and a
        # backward that is 5 times slower than that of three 2-D kernels.
        trains = torch.is_grad_enabled() and (
            grid.requires_grad or weight.requires_grad)
        convolve = _conv2d_per_tap if trains else _conv3d
        return convolve(grid, weight, bias, temporal_stride).to(x.dtype)


def depthwise_temporal_conv(x: Tensor, weight: Tensor,
                            bias: Tensor | None,
                            layout: TokenLayout) -> Tensor:
    """Convolve each channel over frames, at each place of the grid.

    Equals ``F.conv3d(..., padding=(k // 2, 0, 0), groups=C)`` with a
    (k, 1, 1) kernel on the ``(B, C, T, h, w)`` grid of the same tokens.

    Args:
        x (Tensor): Tokens ``(B*T, L, C)``, with or without class token.
        weight (Tensor): ``(C, 1, k)`` with odd ``k``, as ``nn.Conv1d`` keeps
            it.
        bias (Tensor | None): ``(C)``.
        layout (TokenLayout): Frames of ``x``.

    Returns:
        Tensor: ``(B*T, L, C)``.
    """
    clips = layout.split_frames(x)  # (B, T, L, C)
    if x.is_cuda:
        return _shifted_sum(clips, weight, bias).flatten(0, 1)
    with torch.autocast('cpu', enabled=False):
        clips, weight, bias = _as_float(clips, weight, bias)
        # Frames by places, (B, C, T, L), is an image too: 4 times faster
        # than shifted sums on the CPU.
        y = F.conv2d(
            clips.permute(0, 3, 1, 2), weight.unsqueeze(-1), bias,
            padding=(weight.shape[-1] // 2, 0), groups=weight.shape[0])
        return y.permute(0, 2, 3, 1).flatten(0, 1).to(x.dtype)


def _as_float(x: Tensor, weight: Tensor, bias: Tensor | None
              ) -> tuple[Tensor, Tensor, Tensor | None]:
    return (x.float(), weight.float(),
            None if bias is None else bias.float())


def _conv3d(grid: Tensor, weight: Tensor, bias: Tensor | None,
            stride: int) -> Tensor:
    """``(B, T, h, w, C)`` to ``(B*T', h*w, C)`` by one 3-D convolution."""
    y = F.conv3d(
        grid.permute(0, 4, 1, 2, 3), weight, bias, (stride, 1, 1), padding=1,
        groups=weight.shape[0])
    return y.permute(0, 2, 3, 4, 1).flatten(2, 3).flatten(0, 1)


def _conv2d_per_tap(grid: Tensor, weight: Tensor, bias: Tensor | None,
                    stride: int) -> Tensor:
    """The same by one 2-D convolution per temporal tap, then shifted sums."""

    def spatial(frames: Tensor, tap: int, b: Tensor | None) -> Tensor:
        y = F.conv2d(
            frames.flatten(0, 1).permute(0, 3, 1, 2), weight[:, :, tap], b,
            padding=1, groups=weight.shape[0])
        return y.permute(0, 2, 3, 1).unflatten(0, frames.shape[:2])

    out = spatial(grid[:, ::stride], 1, bias)  # (B, T', h, w, C)
    if grid.shape[1] > 1:
        # Output frame t reads input frames t*s - 1 and t*s + 1.
        before = spatial(grid[:, stride - 1:-1:stride], 0, None)
        after = spatial(grid[:, 1::stride], 2, None)
        out = out + F.pad(before, (0, ) * 6 + (1, 0)) + F.pad(
            after, (0, ) * 6 + (0, out.shape[1] - after.shape[1]))
    return out.flatten(2, 3).flatten(0, 1)


def _shifted_sum(clips: Tensor, weight: Tensor,
                 bias: Tensor | None) -> Tensor:
    """``(B, T, L, C)`` frames times each tap, zeros beyond the clip."""
    taps = weight[:, 0].to(clips.dtype).unbind(-1)
    middle = len(taps) // 2
    out = clips * taps[middle]
    if bias is not None:
        out = out + bias.to(clips.dtype)
    for step in range(1, min(middle, clips.shape[1] - 1) + 1):
        out[:, step:] += clips[:, :-step] * taps[middle - step]
        out[:, :-step] += clips[:, step:] * taps[middle + step]
    return out
