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


def grouped_temporal_conv(x: Tensor, weight: Tensor, bias: Tensor | None,
                          groups: int, frames: int) -> Tensor:
    """Convolve groups of channels over three frames, at each place.

    Equals ``F.conv3d(..., padding=(1, 0, 0), groups=groups)`` with a
    (3, 1, 1) kernel.

    Args:
        x (Tensor): Patch tokens ``(B, T, N, C)`` or ``(B, N, T, C)``.
        weight (Tensor): ``(D, C / groups, 3)``.
        bias (Tensor | None): ``(D)``.
        groups (int): Groups.
        frames (int): Dimension of the frames, 1 or 2.

    Returns:
        Tensor: As ``x``, with ``D`` channels.
    """
    if x.is_cuda:
        return _banded_product(x, weight, bias, groups, frames)
    with torch.autocast('cpu', enabled=False):
        grid, weight, bias = _as_float(x, weight, bias)
        if weight.shape[1] == 1:
            # One input of each group: repeated for its outputs, it is a
            # depth-wise convolution, whose kernels are twice as fast.
            repeats = weight.shape[0] // groups
            grid = grid.unsqueeze(-1).expand(
                *grid.shape, repeats).flatten(-2)
            groups = weight.shape[0]
        # Frames and places are an image; its kernel is 3 x 1 or 1 x 3.
        place = 4 - frames  # of the axis that the kernel is one wide in
        y = F.conv2d(
            grid.permute(0, 3, 1, 2), weight.unsqueeze(place), bias,
            padding=(2 - frames, frames - 1), groups=groups)
        return y.permute(0, 2, 3, 1).to(x.dtype)


def _banded_product(x: Tensor, weight: Tensor, bias: Tensor | None,
                    groups: int, frames: int) -> Tensor:
    """The same by one matrix product over a frame and its neighbours.

    Kernels for narrow groups use no matrix units on a GPU, so groups are
    written out as blocks of a matrix that is zero elsewhere.
    """
    blocks = weight.unflatten(0, (groups, -1)).permute(3, 0, 1, 2)
    rows = torch.zeros(3, groups, blocks.shape[2], groups, blocks.shape[3],
                       dtype=weight.dtype, device=weight.device)
    own = torch.arange(groups, device=weight.device)
    rows[:, own, :, own] = blocks.transpose(0, 1)  # (groups, 3, d, c)
    matrix = rows.flatten(3).flatten(1, 2)  # (3, D, C)
    length = x.shape[frames]
    padded = F.pad(x, (0, 0, 1, 1) if frames == 2 else (0, 0, 0, 0, 1, 1))
    past, future = (padded.narrow(frames, start, length) for start in (0, 2))
    return F.linear(torch.cat([past, x, future], dim=-1),
                    torch.cat(matrix.unbind(), dim=-1), bias)


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


def _each_frame(frames: Tensor, weight: Tensor, bias: Tensor | None
                ) -> Tensor:
    """Convolve each of ``(B, T, h, w, C)`` in its plane."""
    y = F.conv2d(
        frames.flatten(0, 1).permute(0, 3, 1, 2), weight, bias, padding=1,
        groups=weight.shape[0])
    return y.permute(0, 2, 3, 1).unflatten(0, frames.shape[:2])


def _conv2d_per_tap(grid: Tensor, weight: Tensor, bias: Tensor | None,
                    stride: int) -> Tensor:
    """The same by one 2-D convolution per temporal tap, then shifted sums."""
    first, middle, last = weight.unbind(2)
    out = _each_frame(grid[:, ::stride], middle, bias)  # (B, T', h, w, C)
    if grid.shape[1] > 1:
        # Output frame t reads input frames t*s - 1 and t*s + 1.
        before = _each_frame(grid[:, stride - 1:-1:stride], first, None)
        after = _each_frame(grid[:, 1::stride], last, None)
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
