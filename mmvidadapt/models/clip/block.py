"""The one CLIP transformer block, with its insertion points.

Source: *Learning Transferable Visual Models From Natural Language
Supervision*, ICML 2021 (CLIP). Parameter names are those of the released
weights, so these load with ``strict=True``.
"""

from contextlib import nullcontext
from itertools import chain
from typing import Any, Callable, Dict, Iterable, List, Sequence, Tuple

import torch
import torch.nn.functional as F
from mmengine.model import BaseModule
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint

from .drop_path import ClipDropPath
from .layout import TokenLayout

#: Adapters of one block by insertion point, in call order.
BlockAdapters = Dict[str, List[nn.Module]]


class QuickGELU(nn.Module):
    """``x * sigmoid(1.702 x)``, the activation of OpenAI's weights."""

    def forward(self, x: Tensor) -> Tensor:
        """Apply the activation; any shape."""
        # Through SiLU, backward keeps one tensor of the MLP's width, not two.
        inplace = not torch.is_grad_enabled()
        return F.silu(x * 1.702, inplace=inplace).mul_(1 / 1.702)


_ACTIVATIONS = {'quick_gelu': QuickGELU, 'gelu': nn.GELU}


def build_activation(act: str) -> nn.Module:
    """Build an activation by name.

    Args:
        act (str): ``'quick_gelu'`` or ``'gelu'``.

    Returns:
        nn.Module: The activation.

    Raises:
        ValueError: If the name is unknown.
    """
    if not isinstance(act, str) or act not in _ACTIVATIONS:
        raise ValueError(f'unknown activation {act!r}: use '
                         f'{" or ".join(sorted(_ACTIVATIONS))}')
    return _ACTIVATIONS[act]()


class RelativePositionBias(nn.Module):
    """What BEiT's attention adds for the places of query and key.

    ``softmax(q k^T / sqrt(d) + bias)``: one learned number for each head and
    each offset between two patches, and three more for pairs with the class
    token (class token to patch, patch to class token, to itself).

    Source: *BEiT: BERT Pre-Training of Image Transformers*, ICLR 2022, in the
    rows of mmpretrain's ``BEiTViT``.

    Args:
        num_heads (int): Heads.
        grid_size (tuple[int, int]): Patch rows and columns, ``N = h*w``.
    """

    def __init__(self, num_heads: int, grid_size: tuple[int, int]) -> None:
        super().__init__()
        rows, cols = grid_size
        offsets = (2 * rows - 1) * (2 * cols - 1)
        self.table = nn.Parameter(torch.empty(offsets + 3, num_heads))
        nn.init.trunc_normal_(self.table, std=0.02)
        patch = torch.arange(rows * cols)
        y, x = patch // cols, patch % cols
        index = ((y[:, None] - y + rows - 1) * (2 * cols - 1)
                 + x[:, None] - x + cols - 1)  # query, key
        index = F.pad(index, (1, 0, 1, 0), value=offsets)
        index[1:, 0] = offsets + 1
        index[0, 0] = offsets + 2
        # Follows from the sizes, so no checkpoint needs it.
        self.register_buffer('index', index.int(), persistent=False)

    def forward(self) -> Tensor:
        """The bias ``(1, heads, 1+N, 1+N)``."""
        bias = F.embedding(self.index, self.table)
        return bias.permute(2, 0, 1).contiguous().unsqueeze(0)


class Attention(nn.Module):
    """Multi-head self-attention with packed projections.

    Args:
        embed_dims (int): Token channels ``D``.
        num_heads (int): Heads.
        causal (bool): Whether a token sees only itself and earlier tokens.
        rel_pos_grid (tuple[int, int] | None): Patch grid of a
            :class:`RelativePositionBias`; none if not given.

    Shapes:
        - Input and output: ``(B, L, D)``.
    """

    def __init__(self, embed_dims: int, num_heads: int, causal: bool = False,
                 rel_pos_grid: tuple[int, int] | None = None) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.causal = causal
        self.rel_pos_bias = None if rel_pos_grid is None else (
            RelativePositionBias(num_heads, rel_pos_grid))
        self.in_proj_weight = nn.Parameter(
            torch.empty(3 * embed_dims, embed_dims))
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * embed_dims))
        self.out_proj = nn.Linear(embed_dims, embed_dims)
        nn.init.zeros_(self.out_proj.bias)

    def forward(self, x: Tensor, layout: TokenLayout, block: nn.Module,
                adapters: Sequence[nn.Module] = ()) -> Tensor:
        """Attend.

        Args:
            x (Tensor): Normalised tokens.
            layout (TokenLayout): Their layout, for the adapters.
            block (nn.Module): The block this attention belongs to.
            adapters (Sequence[nn.Module]): ``attn_proj`` adapters; each is
                called once per projection and adds its residual to it.

        Returns:
            Tensor: ``(B, L, D)``.
        """
        qkv = F.linear(x, self.in_proj_weight, self.in_proj_bias)
        parts = list(qkv.chunk(3, dim=-1))
        for adapter in adapters:
            for i, name in enumerate('qkv'):
                residual = adapter(x, layout, block, name)
                if residual is not None:
                    parts[i] = parts[i] + residual
        q, k, v = (part.unflatten(-1, (self.num_heads, -1)).transpose(1, 2)
                   for part in parts)  # (B, heads, L, D/heads)
        # Without a bias torch is free to take its fastest kernel.
        bias = None if self.rel_pos_bias is None else self.rel_pos_bias()
        x = F.scaled_dot_product_attention(q, k, v, attn_mask=bias,
                                           is_causal=self.causal)
        x = x.transpose(1, 2).flatten(2)  # (B, L, D)
        out = self.out_proj(x)
        for adapter in adapters:
            residual = adapter(x, layout, block, 'out')
            if residual is not None:
                out = out + residual
        return out


class MLP(nn.Module):
    """Two linear layers with an activation between, ``D -> rD -> D``.

    Args:
        embed_dims (int): Token channels ``D``.
        hidden_dims (int): Channels between the layers.
        act (str): Activation name.
    """

    def __init__(self, embed_dims: int, hidden_dims: int, act: str) -> None:
        super().__init__()
        self.c_fc = nn.Linear(embed_dims, hidden_dims)
        self.gelu = build_activation(act)
        self.c_proj = nn.Linear(hidden_dims, embed_dims)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(B, L, D)`` to ``(B, L, D)``."""
        return self.c_proj(self.gelu(self.c_fc(x)))


class ResidualAttentionBlock(nn.Module):
    """A pre-norm block that calls adapters at its insertion points.

    ::

        x --pre_block--> x ----------------+---------------- beside_block --+
                         |                                                  |
                         +-> ln_1 -> attention (attn_proj) --+              |
                         +-----------------------------------+-> x          |
                                                   x + pre_mlp -> x         |
                         +-> ln_2 -+-> MLP --------+                        |
                         |         +-> beside_mlp -+                        |
                         +-------------------------+-> x -------------------+-> x

    Args:
        embed_dims (int): Token channels ``D``.
        num_heads (int): Attention heads.
        act (str): Activation name.
        mlp_ratio (float): Hidden channels of the MLP over ``D``.
        causal (bool): Causal attention, for text.
        drop_path_rate (float): Stochastic depth of both residuals; whole
            clips are dropped.
        rel_pos_grid (tuple[int, int] | None): As for :class:`Attention`.
    """  # noqa: E501

    def __init__(self, embed_dims: int, num_heads: int, act: str,
                 mlp_ratio: float = 4.0, causal: bool = False,
                 drop_path_rate: float = 0.,
                 rel_pos_grid: tuple[int, int] | None = None) -> None:
        super().__init__()
        self.attn = Attention(embed_dims, num_heads, causal, rel_pos_grid)
        self.ln_1 = nn.LayerNorm(embed_dims)
        self.mlp = MLP(embed_dims, int(embed_dims * mlp_ratio), act)
        self.ln_2 = nn.LayerNorm(embed_dims)
        self.drop_path = ClipDropPath(drop_path_rate)

    def forward(self, x: Tensor, layout: TokenLayout,
                adapters: BlockAdapters) -> Tuple[Tensor, TokenLayout]:
        """Run the block.

        Args:
            x (Tensor): Tokens in the shape that ``layout`` describes.
            layout (TokenLayout): Their layout.
            adapters (BlockAdapters): The adapters of this block by point.

        Returns:
            tuple[Tensor, TokenLayout]: Tokens and layout after the block.
        """
        for adapter in adapters.get('pre_block', ()):
            x, layout = adapter(x, layout, self)
        block_input = x
        x = x + self.drop_path(
            self.attn(self.ln_1(x), layout, self,
                      adapters.get('attn_proj', ())), layout)
        for adapter in adapters.get('pre_mlp', ()):
            x = x + adapter(x, layout, self)
        normed = self.ln_2(x)
        out = self.mlp(normed)
        for adapter in adapters.get('beside_mlp', ()):
            out = out + adapter(normed, layout, self)
        x = x + self.drop_path(out, layout)
        for adapter in adapters.get('beside_block', ()):
            x += adapter(block_input, layout, self)  # nobody else holds x
        return x, layout


class _Recompute:
    """Context of a second pass: do not count its batch twice.

    The first pass has moved the running statistics of batch norms already; a
    momentum of 0 keeps them, and keeps what autograd saves the same. A class,
    because one backward may follow another through the same graph.

    Args:
        modules (Iterable[nn.Module]): What runs twice.
    """

    def __init__(self, modules: Iterable[nn.Module]) -> None:
        self.norms = [
            module for outer in modules for module in outer.modules()
            if isinstance(module, _BatchNorm) and module.track_running_stats
        ]

    def __enter__(self) -> None:
        self.before = [(norm.momentum, norm.num_batches_tracked.clone())
                       for norm in self.norms]
        for norm in self.norms:
            norm.momentum = 0.

    def __exit__(self, *error: object) -> None:
        for norm, (momentum, count) in zip(
                self.norms, self.before, strict=True):
            norm.momentum = momentum
            norm.num_batches_tracked.copy_(count)


@torch.compiler.disable  # its tracer knows no context of a second pass
def recompute(function: Callable[..., Any], args: Sequence[Any],
              modules: Iterable[nn.Module]) -> Any:
    """Call a function whose inner values are computed again in backward.

    Args:
        function (Callable[..., Any]): What to call.
        args (Sequence[Any]): Its arguments.
        modules (Iterable[nn.Module]): Modules in it with batch norms, whose
            running statistics move once.

    Returns:
        Any: Its result.
    """
    contexts = nullcontext(), _Recompute(modules)
    return checkpoint(function, *args, use_reentrant=False,
                      context_fn=lambda: contexts)


#: Older compilers cut InTI into pieces, and fail on it or on exports.
_COMPILER = (2, 8)


def require_compiler(what: str) -> None:
    """Refuse a torch whose compiler is too old.

    Args:
        what (str): What needs it, for the message.

    Raises:
        ValueError: Before torch 2.8.
    """
    if torch.__version__ < _COMPILER:
        raise ValueError(
            f'{what} needs torch {".".join(map(str, _COMPILER))} or newer and '
            f'{torch.__version__} is installed: update torch, or do without')


#: Variants of a compiled block: train, eval, recomputed, a last short batch,
#: other views of a clip, ...; as many as torch allows for one function.
_GRAPHS_PER_BLOCK = 8


def _allow_graphs(count: int) -> None:
    """Let the compiler keep so many graphs of one function.

    Blocks are one function to it; each may need a graph of its own, since
    adapters, frames and rates of stochastic depth differ. Beyond the limit
    it would leave the remaining blocks uncompiled with no more than a
    warning.

    Args:
        count (int): Graphs; a higher limit that is set already is kept.
    """
    config = torch._dynamo.config
    for name in ('recompile_limit', 'accumulated_recompile_limit'):
        setattr(config, name, max(getattr(config, name), count))


class Transformer(BaseModule):
    """A stack of blocks; runs the adapters and readers between them.

    Args:
        embed_dims (int): Token channels ``D``.
        num_layers (int): Blocks.
        num_heads (int): Attention heads.
        act (str): Activation name.
        mlp_ratio (float): Hidden channels of the MLP over ``D``.
        causal (bool): Causal attention, for text.
        drop_path_rate (float): Stochastic depth of the last block; it grows
            linearly from 0 at the first. Whole clips are dropped.
        with_cp (bool): Recompute each block in backward to save memory.
        rel_pos_grid (tuple[int, int] | None): As for :class:`Attention`.
    """

    def __init__(self, embed_dims: int, num_layers: int, num_heads: int,
                 act: str, mlp_ratio: float = 4.0, causal: bool = False,
                 drop_path_rate: float = 0., with_cp: bool = False,
                 rel_pos_grid: tuple[int, int] | None = None) -> None:
        super().__init__()
        self.with_cp = with_cp
        rates = [drop_path_rate * i / max(num_layers - 1, 1)
                 for i in range(num_layers)]
        self.resblocks = nn.ModuleList(
            ResidualAttentionBlock(embed_dims, num_heads, act, mlp_ratio,
                                   causal, rate, rel_pos_grid)
            for rate in rates)
        self._init_parameters(embed_dims, num_layers)

    def _init_parameters(self, embed_dims: int, num_layers: int) -> None:
        """The initialisation of CLIP (released code, ``model.py``)."""
        attn_std = embed_dims**-0.5
        proj_std = attn_std * (2 * num_layers)**-0.5
        for block in self.resblocks:
            nn.init.normal_(block.attn.in_proj_weight, std=attn_std)
            nn.init.normal_(block.attn.out_proj.weight, std=proj_std)
            nn.init.normal_(block.mlp.c_fc.weight, std=(2 * embed_dims)**-0.5)
            nn.init.normal_(block.mlp.c_proj.weight, std=proj_std)

    def compile_blocks(self, **kwargs: object) -> None:
        """Compile every block in place; names of weights do not change.

        The arguments are those of ``torch.compile``. Shapes are static
        unless ``dynamic`` says otherwise.

        Raises:
            ValueError: Before torch 2.8.
        """
        require_compiler('compile of CLIPViT')
        # All blocks share one cache. A layer that merges frames would make
        # the compiler guess at dynamic shapes, and the recomputation of
        # with_cp would then run another graph than the forward pass.
        kwargs.setdefault('dynamic', False)
        _allow_graphs(_GRAPHS_PER_BLOCK * len(self.resblocks))
        for block in self.resblocks:
            block.compile(**kwargs)

    def forward(self, x: Tensor, layout: TokenLayout,
                stacks: Sequence[nn.Module] = (),
                frozen: bool = False) -> Tuple[Tensor, TokenLayout, list]:
        """Run all blocks.

        Args:
            x (Tensor): Tokens.
            layout (TokenLayout): Their layout.
            stacks (Sequence[nn.Module]): Adapters from every owner; their
                lists are called one after the other at each point.
            frozen (bool): Whether no block trains; blocks below the first
                trained adapter then run without gradient.

        Returns:
            tuple[Tensor, TokenLayout, list]: Tokens, their layout and one
            ``(reader, state)`` pair for every reader.
        """
        first_grad = min([s.first_trained_layer for s in stacks],
                         default=len(self.resblocks)) if frozen else 0
        states: Dict[nn.Module, object] = {}
        for index, block in enumerate(self.resblocks):
            adapters: BlockAdapters = {}
            for stack in stacks:
                for point, found in stack.at(index).items():
                    adapters.setdefault(point, []).extend(found)
            quiet = torch.no_grad() if index < first_grad else nullcontext()
            with quiet:
                if self.with_cp and torch.is_grad_enabled():
                    x, layout = recompute(
                        block, (x, layout, adapters),
                        chain.from_iterable(adapters.values()))
                else:
                    x, layout = block(x, layout, adapters)
            for reader in adapters.get('reader', ()):
                states[reader] = reader(x, layout, index, states.get(reader))
        return x, layout, list(states.items())
