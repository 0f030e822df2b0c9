"""A tap into the frozen encoder, and the side block that it feeds."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..clip.block import MLP
from ..clip.layout import TokenLayout
from ..precision import no_autocast
from .temporal import TemporalBranch


class Tap(nn.Module):
    """``Linear(LayerNorm(tokens of a CLIP block))``, down to side channels.

    The affine part of the norm is folded into the linear layer. That is the
    same function, and its backward needs no gradient of CLIP's wide tokens,
    nor their product with the norm's weight.

    Args:
        clip_dims (int): CLIP's channels ``W``.
        embed_dims (int): Side channels ``D``.
    """

    def __init__(self, clip_dims: int, embed_dims: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(clip_dims)
        self.proj = nn.Linear(clip_dims, embed_dims)

    def forward(self, x: Tensor) -> Tensor:
        """Project tokens that :meth:`normalise` has prepared.

        Args:
            x (Tensor): ``(..., W)``, without gradient.

        Returns:
            Tensor: ``(..., D)``.
        """
        with no_autocast(x):
            weight = self.proj.weight * self.norm.weight
            bias = self.proj.bias + self.proj.weight @ self.norm.bias
        return F.linear(x, weight, bias)

    def normalise(self, x: Tensor) -> Tensor:
        """The norm without its affine part.

        Args:
            x (Tensor): ``(..., W)``.

        Returns:
            Tensor: ``(..., W)``.
        """
        return F.layer_norm(x, self.norm.normalized_shape, eps=self.norm.eps)


class SideAttention(nn.Module):
    """Attention of patches to patches and to the class token.

    The class token is key and value only.

    Args:
        embed_dims (int): Side channels ``D``.
        num_heads (int): Heads.
    """

    def __init__(self, embed_dims: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.in_proj_weight = nn.Parameter(
            torch.empty(3 * embed_dims, embed_dims))
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * embed_dims))
        self.out_proj = nn.Linear(embed_dims, embed_dims)
        nn.init.zeros_(self.out_proj.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Attend within each frame.

        Args:
            x (Tensor): Normalised tokens ``(B*T, 1+N, D)``.

        Returns:
            Tensor: ``(B*T, N, D)``, patches only.
        """
        qkv = F.linear(x, self.in_proj_weight, self.in_proj_bias)
        qkv = qkv.unflatten(-1, (3, self.num_heads, -1))
        q, k, v = qkv.permute(2, 0, 3, 1, 4)  # (B*T, heads, 1+N, D/heads)
        x = F.scaled_dot_product_attention(q[:, :, 1:], k, v)
        return self.out_proj(x.transpose(1, 2).flatten(2))


def shift_class_tokens(cls: Tensor, layout: TokenLayout) -> Tensor:
    """Give each frame halves of its neighbours' class tokens.

    The first half of the channels comes from the next frame, the second from
    the previous one; where there is none, it is 0.

    Args:
        cls (Tensor): ``(B*T, 1, D)``.
        layout (TokenLayout): Frames of ``cls``.

    Returns:
        Tensor: ``(B*T, 1, D)``.
    """
    clips = layout.split_frames(cls)  # (B, T, 1, D)
    half = clips.shape[-1] // 2
    after = F.pad(clips[:, 1:, :, :half], (0, 0, 0, 0, 0, 1))
    before = F.pad(clips[:, :-1, :, half:], (0, 0, 0, 0, 1, 0))
    return torch.cat([after, before], dim=-1).flatten(0, 1)


class SideBlock(nn.Module):
    """One layer of a side network.

    ::

        side, tap's patches --average--> x --TemporalBranch--+--> x
        tap's class token --shift--> c
        LayerNorm([c; x + positions]) --SideAttention--+--> x
        BatchNorm --MLP--+--> x

    Source: TDS-CLIP, Fig. 3b, on the block of Side4Video.

    Args:
        embed_dims (int): Side channels ``D``.
        num_heads (int): Attention heads.
        mlp_ratio (float): Hidden channels of the MLP over ``D``.
        temporal (TemporalBranch): With or without the TD-Adapter.
    """

    def __init__(self, embed_dims: int, num_heads: int, mlp_ratio: float,
                 temporal: TemporalBranch) -> None:
        super().__init__()
        self.temporal = temporal
        self.attn_norm = nn.LayerNorm(embed_dims)
        self.attn = SideAttention(embed_dims, num_heads)
        self.mlp_norm = nn.BatchNorm1d(embed_dims)
        self.mlp = MLP(embed_dims, int(embed_dims * mlp_ratio), 'gelu')
        self._init_parameters(embed_dims)

    def _init_parameters(self, embed_dims: int) -> None:
        """The initialisation of the released program.

        It scales by 12 layers whatever the depth.
        """
        proj_std = (embed_dims * 2 * 12)**-0.5
        nn.init.normal_(self.attn.in_proj_weight, std=embed_dims**-0.5)
        nn.init.normal_(self.attn.out_proj.weight, std=proj_std)
        nn.init.normal_(self.mlp.c_fc.weight, std=(2 * embed_dims)**-0.5)
        nn.init.normal_(self.mlp.c_proj.weight, std=proj_std)

    def forward(self, x: Tensor, cls: Tensor, positions: Tensor,
                layout: TokenLayout) -> Tensor:
        """Run the layer.

        Args:
            x (Tensor): Patch tokens ``(B*T, N, D)``, averaged with CLIP's.
            cls (Tensor): CLIP's class tokens ``(B*T, 1, D)``, projected.
            positions (Tensor): ``(N, D)``, seen by the attention only.
            layout (TokenLayout): Frames and grid.

        Returns:
            Tensor: ``(B*T, N, D)``.
        """
        x = x + self.temporal(x, layout)
        cls = shift_class_tokens(cls, layout)
        tokens = torch.cat([cls.to(x.dtype), x + positions], dim=1)
        x = x + self.attn(self.attn_norm(tokens))
        y = self.mlp_norm(x.flatten(0, 1)).view_as(x)
        return x + self.mlp(y)
