"""Depth-wise 3x3x3 convolution over the patch tokens of clips.

One function for every adapter that needs it (the global blocks of
UniFormerV2, InTI's cube context). Tokens stay in token order: channels are
their last dimension, so their grid *is* a channels-last image and no
permuted copy is made.
"""

from typing import Optional

import torch
import torch.nn.functional as F
from torch import Tensor

from ..clip.layout import TokenLayout


def depthwise_conv3d(x: Tensor, weight: Tensor, bias: Optional[Tensor],
                     layout: TokenLayout, temporal_stride: int = 1) -> Tensor:
    """Convolve each channel over frames, rows and columns.

    Equals ``F.conv3d(..., padding=1, groups=C, stride=(s, 1, 1))`` on the
    ``(B, C, T, h, w)`` grid of the same tokens.

    Args:
        x (Tensor): Patch tokens ``(B*T, h*w, C)``, without class token; a
            slice of a larger token tensor is fine.
        weight (Tensor): ``(C, 1, 3, 3, 3)``, as ``nn.Conv3d`` keeps it.
        bias (Tensor, optional): ``(C)``.
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
    # On CPUs without bfloat16 units oneDNN's depth-wise kernels are up to 40
    # times slower in bfloat16 than in float32.
    with torch.autocast('cpu', enabled=False):
        args = grid.float(), weight.float(), None if bias is None else (
            bias.float())
        # oneDNN: the 3-D kernel has the faster forward, by 2 to 4 times, and
        # a backward that is 5 times slower than that of three 2-D kernels.
        trains = torch.is_grad_enabled() and any(
            arg is not None and arg.requires_grad for arg in args)
        convolve = _conv2d_per_tap if trains else _conv3d
        return convolve(*args, temporal_stride).to(x.dtype)


def _conv3d(grid: Tensor, weight: Tensor, bias: Optional[Tensor],
            stride: int) -> Tensor:
    """``(B, T, h, w, C)`` to ``(B*T', h*w, C)`` by one 3-D convolution."""
    y = F.conv3d(
        grid.permute(0, 4, 1, 2, 3), weight, bias, (stride, 1, 1), padding=1,
        groups=weight.shape[0])
    return y.permute(0, 2, 3, 4, 1).flatten(2, 3).flatten(0, 1)


def _conv2d_per_tap(grid: Tensor, weight: Tensor, bias: Optional[Tensor],
                    stride: int) -> Tensor:
    """The same by one 2-D convolution per temporal tap, then shifted sums."""
    num_frames = grid.shape[1]

    def spatial(frames: Tensor, tap: int, b: Optional[Tensor]) -> Tensor:
        y = F.conv2d(
            frames.flatten(0, 1).permute(0, 3, 1, 2), weight[:, :, tap], b,
            padding=1, groups=weight.shape[0])
        return y.permute(0, 2, 3, 1).unflatten(0, frames.shape[:2])

    out = spatial(grid[:, ::stride], 1, bias)  # (B, T', h, w, C)
    if num_frames > 1:
        # Output frame t reads input frames t*s - 1 and t*s + 1.
        before = spatial(grid[:, stride - 1:-1:stride], 0, None)
        after = spatial(grid[:, 1::stride], 2, None)
        out = out + F.pad(before, (0, ) * 6 + (1, 0)) + F.pad(
            after, (0, ) * 6 + (0, out.shape[1] - after.shape[1]))
    return out.flatten(2, 3).flatten(0, 1)
