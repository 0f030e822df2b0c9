"""ConvPooling: the strided-convolution comparator of InTI (ECCV 2024)."""

from typing import Tuple

import torch
import torch.nn.functional as F
from mmaction.registry import MODELS
from torch import Tensor, nn

from ..clip.layout import TokenLayout
from .frame_pairs import FramePairs


@MODELS.register_module()
class ConvPooling(FramePairs):
    """Merge neighbouring frames by a temporal convolution of stride 2.

    Frame ``j`` of the output reads frames ``2j-1``, ``2j`` and ``2j+1`` of
    the same token (kernel ``(3, 1, 1)``, zeros before the clip), the class
    token like the others. It starts as the mean of ``2j`` and ``2j+1``.

    Source: *Dynamic and Compressive Adaptation of Transformers From Images to
    Videos*, ECCV 2024, Sec. 4.2 ("a set of stride 3D convolutions to replace
    InTI"). The paper's parameter count fits no integer kernel; this is the
    smallest one that also works for the class token.

    Args:
        embed_dims (int): Token channels ``C``.
        num_frames (int): Frames ``T`` that enter.
        layer (int | None): Block in front of which it sits.
        pad_odd (bool): Repeat the last frame when ``T`` is odd.

    Shapes:
        - Input: ``(B*T, 1+N, C)`` with even ``T``.
        - Output: ``(B*T/2, 1+N, C)`` and a layout of ``T/2`` frames.

    Raises:
        ValueError: If ``T`` is odd and ``pad_odd`` is off.
    """

    def __init__(self, embed_dims: int, num_frames: int,
                 layer: int | None = None, pad_odd: bool = False) -> None:
        super().__init__(num_frames, layer, pad_odd)
        self.conv = nn.Conv3d(embed_dims, embed_dims, (3, 1, 1),
                              stride=(2, 1, 1), padding=(1, 0, 0))
        nn.init.zeros_(self.conv.bias)
        nn.init.zeros_(self.conv.weight)
        with torch.no_grad():
            for tap in (1, 2):
                self.conv.weight[:, :, tap, 0, 0].fill_diagonal_(0.5)

    def forward(self, x: Tensor, layout: TokenLayout,
                block: nn.Module) -> Tuple[Tensor, TokenLayout]:
        """Merge the pairs.

        Args:
            x (Tensor): ``(B*T, 1+N, C)``.
            layout (TokenLayout): Their layout.
            block (nn.Module): Not used.

        Returns:
            tuple[Tensor, TokenLayout]: ``(B*T/2, 1+N, C)`` and their layout.

        Raises:
            ValueError: If ``T`` is odd and ``pad_odd`` is off.
        """
        even, odd = self.split_pairs(x, layout).unbind(2)  # (B, T/2, 1+N, C)
        before = F.pad(odd[:, :-1], (0, 0, 0, 0, 1, 0))
        # The convolution as one product: (.., 3C) x (3C, C).
        weight = self.conv.weight.flatten(2).transpose(1, 2).flatten(1)
        merged = F.linear(torch.cat([before, even, odd], dim=-1), weight,
                          self.conv.bias)
        # Under autocast the residual stream keeps its own precision.
        return (merged.to(x.dtype).flatten(0, 1),
                layout.with_frames(merged.shape[1]))
