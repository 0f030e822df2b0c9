"""Global blocks of UniFormerV2.

*UniFormerV2: Unlocking the Potential of Image ViTs for Video Understanding*,
ICCV 2023, Sec. 3.2 (global UniBlock) and Sec. 3.3 (fusion). Public code: the
authors' (OpenGVLab, Apache 2.0) and MMAction2's ``UniFormerV2``.
"""

from typing import Sequence

import torch
import torch.nn.functional as F
from mmaction.registry import MODELS
from mmcv.cnn.bricks import DropPath
from mmengine.model import BaseModule, ModuleList
from torch import Tensor, nn

from ..clip.block import QuickGELU
from ..clip.layout import TokenLayout
from ..precision import no_autocast
from .base import Adapter
from .depthwise import depthwise_conv3d

_ATTENTIONS = ('folded', 'plain')


class _CrossAttention(nn.Module):
    """One query token per clip attends to all tokens of the clip.

    Parameters are packed as in ``nn.MultiheadAttention``. With a single
    query the projections of keys and values can be moved off the ``M``
    tokens, exactly. With normalised tokens ``z = g n + b`` and for each head

    ::

        q . (W_k z + b_k)  = (g W_k^T q) . n + (the same for all tokens)
        sum_m a_m (W_v z_m + b_v) = W_v (g sum_m a_m n_m + b) + b_v

    because softmax ignores a constant and the ``a_m`` sum to 1. This costs
    ``2 M H C`` multiply-adds for ``H`` heads where the plain form costs
    ``2 M C^2``.

    Args:
        embed_dims (int): Channels ``C``.
        num_heads (int): Heads ``H``.
        attention (str): ``'folded'`` or ``'plain'``; the outputs are equal.

    Shapes:
        - Input: ``(B, 1, C)`` normalised query, ``(B, M, C)`` tokens.
        - Output: ``(B, 1, C)``.
    """

    def __init__(self, embed_dims: int, num_heads: int,
                 attention: str) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.folded = attention == 'folded'
        self.in_proj_weight = nn.Parameter(
            torch.empty(3 * embed_dims, embed_dims))
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * embed_dims))
        self.out_proj = nn.Linear(embed_dims, embed_dims)
        nn.init.xavier_uniform_(self.in_proj_weight)
        nn.init.zeros_(self.out_proj.weight)
        nn.init.zeros_(self.out_proj.bias)

    def forward(self, query: Tensor, tokens: Tensor,
                norm: nn.LayerNorm) -> Tensor:
        """Attend from one query to the tokens of its clip.

        Args:
            query (Tensor): ``(B, 1, C)``, normalised.
            tokens (Tensor): ``(B, M, C)``, not normalised.
            norm (nn.LayerNorm): Their norm.

        Returns:
            Tensor: ``(B, 1, C)``.
        """
        attend = self._attend_folded if self.folded else self._attend_plain
        return self.out_proj(attend(query, tokens, norm))

    def _attend_plain(self, query: Tensor, tokens: Tensor,
                      norm: nn.LayerNorm) -> Tensor:
        w_q, w_kv = self.in_proj_weight.tensor_split([query.shape[-1]])
        b_q, b_kv = self.in_proj_bias.tensor_split([query.shape[-1]])
        q = F.linear(query, w_q, b_q)
        k, v = F.linear(norm(tokens), w_kv, b_kv).chunk(2, dim=-1)
        q, k, v = (part.unflatten(-1, (self.num_heads, -1)).transpose(1, 2)
                   for part in (q, k, v))  # (B, H, 1 or M, C/H)
        x = F.scaled_dot_product_attention(q, k, v)
        return x.transpose(1, 2).flatten(2)

    def _attend_folded(self, query: Tensor, tokens: Tensor,
                       norm: nn.LayerNorm) -> Tensor:
        # In float32 under autocast too: what is left reads the tokens twice
        # and computes next to nothing, so precision is free.
        with no_autocast(tokens):
            w_q, w_k, w_v = self.in_proj_weight.float().chunk(3)
            b_q, _, b_v = self.in_proj_bias.float().chunk(3)
            heads = (self.num_heads, -1)
            n = F.layer_norm(tokens.float(), norm.normalized_shape,
                             eps=norm.eps)  # (B, M, C)
            q = F.linear(query.float(), w_q, b_q).unflatten(-1, heads)
            q = q.squeeze(1) * q.shape[-1]**-0.5  # (B, H, C/H)
            q = torch.einsum('bhd,hdc->bhc', q, w_k.unflatten(0, heads))
            logits = (q * norm.weight) @ n.transpose(1, 2)  # (B, H, M)
            mean = logits.softmax(dim=-1) @ n  # (B, H, C)
            mean = mean * norm.weight + norm.bias
            x = torch.einsum('bhc,hdc->bhd', mean, w_v.unflatten(0, heads))
            return (x.flatten(1).unsqueeze(1) + b_v).to(query.dtype)


class _GlobalBlock(BaseModule):
    """Position encoding, cross-attention and MLP of one layer.

    Args:
        embed_dims (int): Channels ``C``.
        num_heads (int): Attention heads.
        mlp_ratio (float): Hidden channels of the MLP over ``C``.
        dropout (float): Dropout inside the MLP.
        drop_path_rate (float): Stochastic depth of both residuals.
        attention (str): See :class:`_CrossAttention`.
    """

    def __init__(self, embed_dims: int, num_heads: int, mlp_ratio: float,
                 dropout: float, drop_path_rate: float,
                 attention: str) -> None:
        super().__init__()
        hidden_dims = round(mlp_ratio * embed_dims)
        self.dpe = nn.Conv3d(
            embed_dims, embed_dims, 3, padding=1, groups=embed_dims)
        self.attn = _CrossAttention(embed_dims, num_heads, attention)
        self.ln_1 = nn.LayerNorm(embed_dims)
        self.c_fc = nn.Linear(embed_dims, hidden_dims)
        self.gelu = QuickGELU()
        self.dropout = nn.Dropout(dropout)
        self.c_proj = nn.Linear(hidden_dims, embed_dims)
        self.ln_2 = nn.LayerNorm(embed_dims)
        self.ln_3 = nn.LayerNorm(embed_dims)
        self.drop_path = (
            DropPath(drop_path_rate) if drop_path_rate else nn.Identity())
        nn.init.zeros_(self.dpe.bias)
        nn.init.xavier_uniform_(self.c_fc.weight)
        nn.init.zeros_(self.c_proj.weight)
        nn.init.zeros_(self.c_proj.bias)

    def forward(self, query: Tensor, x: Tensor,
                layout: TokenLayout) -> Tensor:
        """Update the global token of each clip.

        Args:
            query (Tensor): Global tokens ``(B, 1, C)``.
            x (Tensor): ``(B*T, 1+N, C)``, not changed.
            layout (TokenLayout): Their layout.

        Returns:
            Tensor: ``(B, 1, C)``.
        """
        patches = x[:, 1:]
        patches = patches + depthwise_conv3d(
            patches, self.dpe.weight, self.dpe.bias, layout)
        tokens = torch.cat([x[:, :1], patches], dim=1)
        tokens = layout.split_frames(tokens).flatten(1, 2)  # (B, T*(1+N), C)
        query = query + self.drop_path(
            self.attn(self.ln_1(query), tokens, self.ln_3))
        mlp = self.c_proj(self.dropout(self.gelu(self.c_fc(
            self.ln_2(query)))))
        return query + self.drop_path(mlp)


@MODELS.register_module()
class GlobalUniBlock(Adapter):
    """A global token that reads all frames after selected blocks.

    ::

        block output -> copy -> + depth-wise 3x3x3 (patches) --+
                                                               v
        global token (learned, 0) --> cross-attention -> MLP --> next layer

    The main stream is not changed. :meth:`read_out` fuses the global token
    with the mean of the class tokens,
    ``LayerNorm((1 - s) * global + s * mean)``, ``s = sigmoid(balance)``.
    ``T`` is read from the layout and no parameter depends on it, so merged
    frames are followed. Output projections start at zero: the clip is first
    read from its class tokens alone.

    Source: *UniFormerV2*, ICCV 2023, Sec. 3.2 and 3.3.

    Args:
        embed_dims (int): Token channels ``C``.
        num_heads (int): Attention heads.
        layers (Sequence[int]): Blocks after which it reads, from 0.
        mlp_ratio (float): Hidden channels of the MLPs over ``C``.
        dropout (float): Dropout inside the MLPs.
        drop_path_rate (float): Stochastic depth of the last of ``layers``;
            it grows linearly from 0 at the first. Whole clips are dropped.
        attention (str): ``'folded'`` moves the key and value projections
            off the tokens (``2 M H C`` instead of ``2 M C^2`` multiply-adds
            for ``M`` tokens and ``H`` heads) and works in float32;
            ``'plain'`` is the form that papers count. Both compute the same.

    Shapes:
        - Input: ``(B*T, 1+N, C)``.
        - State and output: ``(B, 1, C)``.

    Raises:
        ValueError: If an option is not valid.
    """

    point = 'reader'

    def __init__(self, embed_dims: int, num_heads: int,
                 layers: Sequence[int], mlp_ratio: float = 4.0,
                 dropout: float = 0.5, drop_path_rate: float = 0.,
                 attention: str = 'folded') -> None:
        super().__init__()
        if attention not in _ATTENTIONS:
            raise ValueError(f'unknown attention {attention!r}: use '
                             f'{" or ".join(_ATTENTIONS)}')
        if embed_dims % num_heads:
            raise ValueError(
                f'embed_dims={embed_dims} is not divisible by num_heads='
                f'{num_heads}: choose a multiple')
        if not 0 <= drop_path_rate < 1:
            raise ValueError(f'drop_path_rate={drop_path_rate} is no rate: '
                             'choose a value in [0, 1)')
        self.layers = tuple(sorted(layers))
        last = max(len(self.layers) - 1, 1)
        self.token = nn.Parameter(torch.zeros(1, 1, embed_dims))
        self.blocks = ModuleList(
            _GlobalBlock(embed_dims, num_heads, mlp_ratio, dropout,
                         drop_path_rate * i / last, attention)
            for i in range(len(self.layers)))
        self.balance = nn.Parameter(torch.zeros(embed_dims))
        self.norm = nn.LayerNorm(embed_dims)

    def forward(self, x: Tensor, layout: TokenLayout, layer: int,
                state: Tensor | None) -> Tensor:
        """Read the output of one block.

        Args:
            x (Tensor): ``(B*T, 1+N, C)``.
            layout (TokenLayout): Their layout.
            layer (int): The block.
            state (Tensor | None): Global tokens ``(B, 1, C)``; ``None``
                at the first of the layers.

        Returns:
            Tensor: Global tokens ``(B, 1, C)``.
        """
        if state is None:
            state = self.token.expand(x.shape[0] // layout.num_frames, 1, -1)
        return self.blocks[self.layers.index(layer)](state, x, layout)

    def read_out(self, state: Tensor, tokens: Tensor,
                 layout: TokenLayout) -> Tensor:
        """Clip features from the global and the class tokens.

        Args:
            state (Tensor): Global tokens ``(B, 1, C)``.
            tokens (Tensor): Output of the last block, ``(B*T, 1+N, C)``.
            layout (TokenLayout): Their layout.

        Returns:
            Tensor: ``(B, 1, C)``.
        """
        mean = layout.split_frames(tokens)[:, :, 0].mean(1, keepdim=True)
        weight = self.balance.sigmoid()
        return self.norm((1 - weight) * state + weight * mean)
