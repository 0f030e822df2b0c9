"""LinearPooling: the fixed-weight comparator of InTI (ECCV 2024)."""

from typing import Tuple

import torch
from mmaction.registry import MODELS
from torch import Tensor, nn

from ..clip.layout import TokenLayout
from .frame_pairs import FramePairs


@MODELS.register_module()
class LinearPooling(FramePairs):
    """Merge neighbouring frames with two learned weights for all tokens.

    ``Z_j = a X_{2j} + b X_{2j+1}`` with ``(a, b)`` the softmax of two logits
    that every pair, token and clip shares; the logits start at zero, which is
    the mean of the pair.

    Source: *Dynamic and Compressive Adaptation of Transformers From Images to
    Videos*, ECCV 2024, Sec. 4.2 ("learns fixed linearly weighted coefficients
    for adjacent frames", a constrained weight).

    Args:
        num_frames (int): Frames ``T`` that enter.
        layer (int | None): Block in front of which it sits.
        pad_odd (bool): Repeat the last frame when ``T`` is odd.

    Shapes:
        - Input: ``(B*T, 1+N, C)`` with even ``T``.
        - Output: ``(B*T/2, 1+N, C)`` and a layout of ``T/2`` frames.

    Raises:
        ValueError: If ``T`` is odd and ``pad_odd`` is off.
    """

    def __init__(self, num_frames: int, layer: int | None = None,
                 pad_odd: bool = False) -> None:
        super().__init__(num_frames, layer, pad_odd)
        self.logits = nn.Parameter(torch.zeros(2))

    def predict_weights(self, x: Tensor, layout: TokenLayout) -> Tensor:
        """The two weights, written out for every pair and token.

        Args:
            x (Tensor): ``(B*T, 1+N, C)``.
            layout (TokenLayout): Their layout.

        Returns:
            Tensor: ``(B, T/2, 1+N, 2)``, float32.
        """
        pairs = self.split_pairs(x, layout)
        shape = (*pairs.shape[:2], pairs.shape[3], 2)
        return self.logits.float().softmax(-1).expand(shape)

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
        even, odd = self.split_pairs(x, layout).unbind(2)
        weight = self.logits.float().softmax(-1)[1].to(x.dtype)
        x = torch.lerp(even, odd, weight)  # a = 1 - b
        return x.flatten(0, 1), layout.with_frames(x.shape[1])
