"""AdaptFormer: *Adapting Vision Transformers for Scalable Visual
Recognition*, NeurIPS 2022.
"""

import math

import torch.nn.functional as F
from mmaction.registry import MODELS
from torch import Tensor, nn

from ..clip.layout import TokenLayout
from .base import Adapter


@MODELS.register_module()
class AdaptFormer(Adapter):
    """A bottleneck beside the MLP.

    ``s * up(relu(down(x)))`` is added to the MLP's output; ``up`` starts at
    zero, so the adapted encoder starts as the plain one. ``x`` is what the
    MLP reads, already normalised by ``ln_2``.

    Source: *AdaptFormer*, NeurIPS 2022, Sec. 3.2, Eq. (2)-(3).

    Args:
        embed_dims (int): Token channels ``D``.
        bottleneck_dims (int): Channels between the two layers.
        scale (float): ``s``.
        dropout (float): Dropout after the ReLU.

    Shapes:
        - Input and output: ``(..., D)``.

    Raises:
        ValueError: If the bottleneck is not positive.
    """

    point = 'beside_mlp'
    kinds = ('framewise', 'joint', 'text')

    def __init__(self, embed_dims: int, bottleneck_dims: int = 64,
                 scale: float = 0.1, dropout: float = 0.1) -> None:
        super().__init__()
        if bottleneck_dims < 1:
            raise ValueError('AdaptFormer needs positive bottleneck_dims, got '
                             f'{bottleneck_dims}')
        self.scale = scale
        self.down = nn.Linear(embed_dims, bottleneck_dims)
        self.dropout = nn.Dropout(dropout)
        self.up = nn.Linear(bottleneck_dims, embed_dims)
        nn.init.kaiming_uniform_(self.down.weight, a=math.sqrt(5))
        nn.init.zeros_(self.down.bias)
        nn.init.zeros_(self.up.weight)
        nn.init.zeros_(self.up.bias)

    def forward(self, x: Tensor, layout: TokenLayout,
                block: nn.Module) -> Tensor:
        """The residual beside the MLP.

        Args:
            x (Tensor): ``(..., D)``, normalised tokens.
            layout (TokenLayout): Not used; any layout fits.
            block (nn.Module): The block.

        Returns:
            Tensor: ``(..., D)``.
        """
        return self.scale * self.up(self.dropout(F.relu(self.down(x))))
