"""Local relation modules of UniFormerV2.

*UniFormerV2: Unlocking the Potential of Image ViTs for Video Understanding*,
ICCV 2023, Sec. 3.2 (local UniBlock). The authors' code (OpenGVLab, Apache
2.0) and MMAction2's ``UniFormerV2`` run two of them in a block: one before
the attention, one before the MLP.
"""

from typing import Tuple

import torch.nn.functional as F
from mmaction.registry import MODELS
from torch import Tensor, nn

from ..clip.drop_path import ClipDropPath
from ..clip.layout import TokenLayout
from .base import Adapter
from .depthwise import depthwise_temporal_conv


class _LocalRelation(Adapter):
    """What both insertion points share: the branch over patch tokens.

    ::

        patches -> BatchNorm -> C->C/r -> depth-wise over 3 frames -> C/r->C

    Args:
        embed_dims (int): Token channels ``C``.
        layer (int): Block of this instance, counted from 0.
        num_layers (int): Blocks of the encoder.
        dw_reduction (float): ``r``.
        drop_path_rate (float): Stochastic depth of the last block; it grows
            linearly from 0 at the first. Whole clips are dropped.

    Raises:
        ValueError: If ``r`` leaves no channel or the rate is not in [0, 1).
    """

    def __init__(self, embed_dims: int, layer: int, num_layers: int,
                 dw_reduction: float = 1.5,
                 drop_path_rate: float = 0.) -> None:
        super().__init__()
        if not 0 < dw_reduction <= embed_dims:
            raise ValueError(
                f'dw_reduction={dw_reduction} leaves no channel of '
                f'{embed_dims}: choose a value such as 1.5')
        if not 0 <= drop_path_rate < 1:
            raise ValueError(f'drop_path_rate={drop_path_rate} is no rate: '
                             'choose a value in [0, 1)')
        reduced = int(embed_dims // dw_reduction)
        # Over (B*T*N, C): the statistics of BatchNorm3d, without its
        # channels-first order. SyncBatchNorm conversion finds it as well.
        self.norm = nn.BatchNorm1d(embed_dims)
        self.reduce = nn.Linear(embed_dims, reduced)
        self.temporal = nn.Conv1d(
            reduced, reduced, 3, padding=1, groups=reduced)
        self.expand = nn.Linear(reduced, embed_dims)
        rate = drop_path_rate * layer / max(num_layers - 1, 1)
        self.drop_path = ClipDropPath(rate)
        nn.init.zeros_(self.expand.weight)
        nn.init.zeros_(self.expand.bias)

    def residual(self, x: Tensor, layout: TokenLayout) -> Tensor:
        """What the branch adds; zero for the class tokens.

        Args:
            x (Tensor): ``(B*T, 1+N, C)``.
            layout (TokenLayout): Their layout.

        Returns:
            Tensor: ``(B*T, 1+N, C)``.
        """
        patches = x[:, 1:]
        y = self.norm(patches.flatten(0, 1)).view_as(patches)
        y = self.reduce(y)  # (B*T, N, C/r)
        y = depthwise_temporal_conv(
            y, self.temporal.weight, self.temporal.bias, layout)
        y = self.drop_path(self.expand(y), layout)
        return F.pad(y, (0, 0, 1, 0))


@MODELS.register_module()
class LocalMHRA(_LocalRelation):
    """A local relation module between attention and MLP.

    ``x + expand(temporal(reduce(norm(x))))`` on patch tokens, with a
    depth-wise convolution over 3 neighbouring frames; ``expand`` starts at
    zero, so the adapted encoder starts as the plain one. ``T`` is read from
    the layout, so any number of merged frames is followed.

    Source: *UniFormerV2*, ICCV 2023, Sec. 3.2 (``lmhra2`` in MMAction2).

    Args:
        embed_dims (int): Token channels ``C``.
        layer (int): Block of this instance, counted from 0.
        num_layers (int): Blocks of the encoder.
        dw_reduction (float): Channels of the block over those of the branch.
        drop_path_rate (float): Stochastic depth of the last block; it grows
            linearly from 0 at the first. Whole clips are dropped.

    Shapes:
        - Input and output: ``(B*T, 1+N, C)``.

    Raises:
        ValueError: If no channel is left or the rate is not in [0, 1).
    """

    point = 'pre_mlp'

    def forward(self, x: Tensor, layout: TokenLayout,
                block: nn.Module) -> Tensor:
        """The residual before the MLP.

        Args:
            x (Tensor): ``(B*T, 1+N, C)``.
            layout (TokenLayout): Their layout.
            block (nn.Module): The block.

        Returns:
            Tensor: ``(B*T, 1+N, C)``, zero for the class tokens.
        """
        return self.residual(x, layout)


@MODELS.register_module()
class LocalMHRAPreBlock(_LocalRelation):
    """A local relation module before the attention of a block.

    The same as :class:`LocalMHRA` at the other insertion point. Adapters
    share a point in config order: list InTI first, so that it merges frames
    before this block relates them.

    Source: *UniFormerV2*, ICCV 2023, Sec. 3.2 (``lmhra1`` in MMAction2).

    Args:
        embed_dims (int): Token channels ``C``.
        layer (int): Block of this instance, counted from 0.
        num_layers (int): Blocks of the encoder.
        dw_reduction (float): Channels of the block over those of the branch.
        drop_path_rate (float): Stochastic depth of the last block; it grows
            linearly from 0 at the first. Whole clips are dropped.

    Shapes:
        - Input and output: ``(B*T, 1+N, C)``; ``T`` does not change.

    Raises:
        ValueError: If no channel is left or the rate is not in [0, 1).
    """

    point = 'pre_block'

    def forward(self, x: Tensor, layout: TokenLayout,
                block: nn.Module) -> Tuple[Tensor, TokenLayout]:
        """Add the branch to the block's input.

        Args:
            x (Tensor): ``(B*T, 1+N, C)``.
            layout (TokenLayout): Their layout.
            block (nn.Module): The block.

        Returns:
            tuple[Tensor, TokenLayout]: ``(B*T, 1+N, C)``, the same layout.
        """
        return x + self.residual(x, layout), layout
