"""Which patches the class token of an encoder looks at."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from ..models.clip.layout import TokenLayout
from .watching import watching


class ClassAttention(NamedTuple):
    """How the class tokens of one layer share their attention.

    Args:
        patches (Tensor): ``(B, T', heads, rows, columns)``, float32: the
            share of every patch. ``T'`` are the frames that reach the layer.
        itself (Tensor): The share of the class token itself, ``(B, T',
            heads)``; ``(B, 1, heads)`` if one class token looks at the
            patches of all frames. With it all shares of a class token sum
            to 1.
    """

    patches: Tensor
    itself: Tensor


def class_attention(backbone: nn.Module, clip: Tensor,
                    layers: Sequence[int]) -> dict[int, ClassAttention]:
    """Attention of the class tokens to patches, in chosen layers.

    Runs the backbone once, in eval mode, and leaves it as it was. Adapters
    take part as they do in the model. Where frame features are means over
    patches (``out_type='avg_featmap'``), nothing is read from the class token
    of the last block.

    Args:
        backbone (nn.Module): A ``CLIPViT``, or a ``SideCLIPViT``, whose CLIP
            is looked into.
        clip (Tensor): ``(B, 3, T, H, W)``, as the backbone reads it.
        layers (Sequence[int]): Blocks of the encoder, counted from 0, or
            from the last one as -1.

    Returns:
        dict[int, ClassAttention]: By block, counted from 0, in the order
        given.

    Raises:
        ValueError: If the backbone has no encoder with blocks, or not the
            layers.
    """
    transformer = getattr(getattr(backbone, 'encoder', None), 'transformer',
                          None)
    blocks = getattr(transformer, 'resblocks', None)
    if not blocks:
        raise ValueError(
            f'{type(backbone).__name__} has no encoder whose attention could '
            'be looked at: use a model with CLIPViT or SideCLIPViT')
    count = len(blocks)
    wrong = [layer for layer in layers if not -count <= layer < count]
    if wrong:
        raise ValueError(f'the encoder has no layer {wrong[0]}: choose from '
                         f'0 to {count - 1}')
    chosen = dict.fromkeys(layer % count for layer in layers)
    found: dict[int, ClassAttention] = {}

    def keep(layer: int, module: nn.Module, args: Any, out: Tensor) -> None:
        # The block's own attention once more, watched from inside.
        with _FirstQuery() as watched:
            module.forward(*args)
        shares, = watched.shares  # (B*T, heads, 1+N)
        found[layer] = _by_frame(shares.float(), args[1])

    with watching(backbone, {blocks[layer].attn: partial(keep, layer)
                             for layer in chosen}):
        backbone(clip)
    return {layer: found[layer] for layer in chosen}


class _FirstQuery(TorchFunctionMode):
    """Notes how torch's attention shares the first query among the keys.

    Attention is the values weighted by the shares, so with the rows of a
    unit matrix as values torch's own function returns the shares.
    """

    def __init__(self) -> None:
        super().__init__()
        self.shares: list[Tensor] = []

    def __torch_function__(self, func: Callable, types: Any, args: Any = (),
                           kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is F.scaled_dot_product_attention:
            query, key = args[:2]  # (B, heads, L, D/heads)
            unit = torch.eye(key.shape[-2], dtype=key.dtype,
                             device=key.device).expand(*key.shape[:2], -1, -1)
            bias = kwargs.get('attn_mask')  # (1, heads, L, L)
            first = dict(kwargs, attn_mask=None if bias is None else
                         bias[:, :, :1])
            self.shares.append(
                func(query[:, :, :1], key, unit, **first)[:, :, 0])
        return func(*args, **kwargs)


def _by_frame(shares: Tensor, layout: TokenLayout) -> ClassAttention:
    """Split shares of tokens, class token first, by frame and place."""
    itself, patches = shares[..., 0], shares[..., 1:]
    if layout.kind == 'joint':  # (B, heads, N*T)
        patches = patches.unflatten(-1, (-1, layout.num_frames))
        patches = patches.permute(0, 3, 1, 2)  # (B, T, heads, N)
        itself = itself[:, None]
    else:  # (B*T, heads, N)
        patches = patches.unflatten(0, (-1, layout.num_frames))
        itself = itself.unflatten(0, (-1, layout.num_frames))
    return ClassAttention(patches.unflatten(-1, layout.grid_size), itself)
