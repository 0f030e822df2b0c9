"""LoRA: *Low-Rank Adaptation of Large Language Models*, ICLR 2022."""

import math
from typing import Optional, Sequence

from mmaction.registry import MODELS
from torch import Tensor, nn

from ..clip.layout import TokenLayout
from .base import Adapter

_PROJECTIONS = ('q', 'k', 'v', 'out')


class _LowRank(nn.Module):
    """``s * B A``: the low-rank change of one projection (Sec. 4.1)."""

    def __init__(self, embed_dims: int, rank: int) -> None:
        super().__init__()
        self.down = nn.Linear(embed_dims, rank, bias=False)
        self.up = nn.Linear(rank, embed_dims, bias=False)
        nn.init.kaiming_uniform_(self.down.weight, a=math.sqrt(5))
        nn.init.zeros_(self.up.weight)

    def forward(self, x: Tensor) -> Tensor:
        return self.up(self.down(x))


@MODELS.register_module()
class LoRA(Adapter):
    """Add a trained low-rank term to attention projections.

    ``W x -> W x + (alpha / rank) B A dropout(x)``; ``B`` starts at zero, so
    the adapted encoder starts as the plain one.

    Source: ICLR 2022, Sec. 4.1.

    Args:
        embed_dims (int): Token channels ``D``.
        rank (int): Rank of the change.
        alpha (float | None): Scale numerator; ``rank`` if not given.
        targets (Sequence[str]): Projections among ``q``, ``k``, ``v``,
            ``out``.
        dropout (float): Dropout on the input of the low-rank path.

    Shapes:
        - Input and output: ``(..., D)``.

    Raises:
        ValueError: If a target is unknown or the rank is not positive.
    """

    point = 'attn_proj'
    kinds = ('framewise', 'joint', 'text')

    def __init__(self, embed_dims: int, rank: int = 8,
                 alpha: float | None = None,
                 targets: Sequence[str] = ('q', 'v'),
                 dropout: float = 0.) -> None:
        super().__init__()
        unknown = [t for t in targets if t not in _PROJECTIONS]
        if unknown or not targets:
            raise ValueError(f'LoRA cannot adapt targets={list(targets)}: '
                             f'name some of {", ".join(_PROJECTIONS)}')
        if rank < 1:
            raise ValueError(f'LoRA needs a positive rank, got {rank}')
        self.targets = tuple(targets)
        self.scale = (rank if alpha is None else alpha) / rank
        self.dropout = nn.Dropout(dropout)
        self.low_rank = nn.ModuleDict(
            {t: _LowRank(embed_dims, rank) for t in self.targets})

    def forward(self, x: Tensor, layout: TokenLayout, block: nn.Module,
                name: str) -> Optional[Tensor]:
        """The change of projection ``name``, or ``None`` if not a target.

        Args:
            x (Tensor): Input of the projection.
            layout (TokenLayout): Not used; any layout fits.
            block (nn.Module): The block.
            name (str): ``'q'``, ``'k'``, ``'v'`` or ``'out'``.

        Returns:
            Tensor | None: ``(..., D)``.
        """
        if name not in self.targets:
            return None
        return self.scale * self.low_rank[name](self.dropout(x))
