"""The temporal branch of a side block, with the TD-Adapter."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..adapters.depthwise import depthwise_temporal_conv
from ..clip.layout import TokenLayout

DIFFERENCES = ('pool', 'conv', 'direct')


class DifferenceGate(nn.Module):
    """Scale features by how they differ from their neighbours in time.

    ::

        u --linear, BatchNorm--> q -> q - Pool(q) -> half channel mean
          --linear, BatchNorm, sigmoid--> y,   output u + u * (y - 1/2)

    Source: TDS-CLIP, "TD-Adapter" and Eq. 4; norms, sigmoid and channel mean
    as in the released program.

    Args:
        embed_dims (int): Side channels ``D``.
        difference (str): ``'pool'``: ``q - MaxPool(q)`` over time;
            ``'conv'``: ``q - depth-wise convolution of q`` over time;
            ``'direct'``: ``q[t+1] - q[t]``, 0 at the last frame (Table 3d).
        kernel_size (int): Frames of the pool or the convolution.
        reduction (int): ``D`` over the channels of ``q``.
    """

    def __init__(self, embed_dims: int, difference: str, kernel_size: int,
                 reduction: int = 16) -> None:
        super().__init__()
        reduced = embed_dims // reduction
        self.difference = difference
        self.kernel_size = kernel_size
        self.fc1 = nn.Linear(embed_dims, reduced, bias=False)
        self.norm1 = nn.BatchNorm1d(reduced)
        if difference == 'conv':
            self.conv = nn.Conv1d(
                reduced, reduced, kernel_size, padding=kernel_size // 2,
                groups=reduced)
        self.fc2 = nn.Linear(reduced, embed_dims, bias=False)
        self.norm2 = nn.BatchNorm1d(embed_dims)

    def subtract(self, q: Tensor, layout: TokenLayout) -> Tensor:
        """Eq. 4: what changes between a frame and its neighbours.

        Args:
            q (Tensor): ``(B*T, N, D/r)``.
            layout (TokenLayout): Frames of ``q``.

        Returns:
            Tensor: ``(B*T, N, D/r)``.
        """
        if self.difference == 'conv':
            return q - depthwise_temporal_conv(
                q, self.conv.weight, self.conv.bias, layout)
        clips = layout.split_frames(q)  # (B, T, N, D/r)
        if self.difference == 'direct':
            step = clips[:, 1:] - clips[:, :-1]
            return F.pad(step, (0, 0, 0, 0, 0, 1)).flatten(0, 1)
        # Frames by places is an image. Beyond the clip there is nothing to
        # compete: the padding of a pool is minus infinity.
        size = self.kernel_size
        pooled = F.max_pool2d(
            clips.permute(0, 3, 1, 2), (size, 1), 1, (size // 2, 0))
        return q - pooled.permute(0, 2, 3, 1).flatten(0, 1)

    def forward(self, u: Tensor, layout: TokenLayout) -> Tensor:
        """Gate the features.

        Args:
            u (Tensor): ``(B*T, N, D)``.
            layout (TokenLayout): Frames of ``u``.

        Returns:
            Tensor: ``(B*T, N, D)``.
        """
        q = self.fc1(u)
        q = self.norm1(q.flatten(0, 1)).view_as(q)
        d = self.subtract(q, layout)
        d = 0.5 * (d + d.mean(dim=-1, keepdim=True))
        y = self.fc2(d)
        y = torch.sigmoid(self.norm2(y.flatten(0, 1)).view_as(y))
        return u * (y + 0.5)  # u + u * (y - 0.5)


class TemporalBranch(nn.Module):
    """Mix neighbouring frames; a residual of side tokens.

    ::

        x -> BatchNorm -> D->D -> depth-wise over 3 frames -> D->D -> (gate)

    Without a gate this is the temporal convolution of Side4Video.

    Args:
        embed_dims (int): Side channels ``D``.
        gate (DifferenceGate | None): The TD-Adapter's gate.
    """

    def __init__(self, embed_dims: int,
                 gate: DifferenceGate | None = None) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(embed_dims)
        self.fc1 = nn.Linear(embed_dims, embed_dims)
        self.conv = nn.Conv1d(
            embed_dims, embed_dims, 3, padding=1, groups=embed_dims)
        self.fc2 = nn.Linear(embed_dims, embed_dims)
        self.gate = gate

    def forward(self, x: Tensor, layout: TokenLayout) -> Tensor:
        """The residual.

        Args:
            x (Tensor): ``(B*T, N, D)``.
            layout (TokenLayout): Frames of ``x``.

        Returns:
            Tensor: ``(B*T, N, D)``.
        """
        u = self.fc1(self.norm(x.flatten(0, 1)).view_as(x))
        u = depthwise_temporal_conv(
            u, self.conv.weight, self.conv.bias, layout)
        u = self.fc2(u)
        return u if self.gate is None else self.gate(u, layout)
