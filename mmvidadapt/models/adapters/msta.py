"""Adapters beside the blocks of both towers, with a layer in common.

Source: *Efficient Transfer Learning for Video-language Foundation Models*,
CVPR 2025 (MSTA), Sec. 3.2 and 7; no code was released. Where the paper is
silent the choice is named below.
"""

import math
from collections.abc import Sequence
from typing import Any, Dict, Tuple

import torch
import torch.nn.functional as F
from mmaction.registry import MODELS
from mmengine.model import BaseModule, ModuleDict
from torch import Tensor, nn

from ..clip.layout import TokenLayout
from .base import Adapter, AdapterStack, check_layers
from .depthwise import grouped_temporal_conv

_NORMS = ('none', 'ln_1')
_TOWERS = ('visual', 'text')


class _ScaledGradient(torch.autograd.Function):
    """The same values, whose gradient is multiplied by a factor."""

    @staticmethod
    def forward(x: Tensor, factor: float) -> Tensor:
        return x.view_as(x)

    @staticmethod
    def setup_context(ctx: Any, inputs: Tuple, output: Tensor) -> None:
        ctx.factor = inputs[1]

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tuple[Tensor, None]:
        return grad * ctx.factor, None


class _ScaledUp(torch.autograd.Function):
    """``scale * (W h + b)``, and ``scale * temporal`` behind the class token.

    One product and one sum: separate operators would write all tokens three
    times, and slices under autograd would copy their gradient.

    Shapes:
        - ``h``: ``(B, L, m)``; ``temporal``: ``(B, L-1, D)`` or None.
        - Output: ``(B, L, D)``. Gradients go back times ``factor``.
    """

    @staticmethod
    def forward(h: Tensor, weight: Tensor, bias: Tensor,
                temporal: Tensor | None, scale: float,
                factor: float) -> Tensor:
        out = torch.addmm(bias, h.flatten(0, 1), weight.t(), beta=scale,
                          alpha=scale).unflatten(0, h.shape[:2])
        if temporal is not None:
            out[:, 1:].add_(temporal, alpha=scale)
        return out

    @staticmethod
    def setup_context(ctx: Any, inputs: Tuple, output: Tensor) -> None:
        h, weight, _, _, _, ctx.factor = inputs
        ctx.save_for_backward(h, weight)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tuple:
        h, weight = ctx.saved_tensors
        wanted = ctx.needs_input_grad
        if ctx.factor != 1:
            grad = grad * ctx.factor
        flat = grad.flatten(0, 1)
        return (grad @ weight if wanted[0] else None,
                flat.t() @ h.flatten(0, 1) if wanted[1] else None,
                flat.sum(dim=0) if wanted[2] else None,
                grad[:, 1:] if wanted[3] else None, None, None)


def _init(layer: nn.Module) -> None:
    """Kaiming, as the paper says; fan-out as in MSTA's ancestor MMA."""
    nn.init.kaiming_normal_(layer.weight, mode='fan_out', nonlinearity='relu')
    nn.init.zeros_(layer.bias)


def _shared_layer(bottleneck_dims: int) -> nn.Linear:
    layer = nn.Linear(bottleneck_dims, bottleneck_dims)
    _init(layer)
    return layer


class _Half(Adapter):
    """What the adapters of both towers have in common.

    ::

        x --(ln_1)--> down -> relu -> dropout -> W_s -> relu -> up --> * s

    Source: CVPR 2025, Eq. (12) and (13); algorithm 1 has the dropout between
    down and up.
    """

    point = 'beside_block'

    def __init__(self, embed_dims: int, bottleneck_dims: int = 128,
                 scale: float = 0.005, dropout: float = 0.1,
                 adapter_norm: str = 'none', scale_gradient: bool = True,
                 project: bool = True) -> None:
        super().__init__()
        if bottleneck_dims < 1:
            raise ValueError(f'{type(self).__name__} needs positive '
                             f'bottleneck_dims, got {bottleneck_dims}')
        if adapter_norm not in _NORMS:
            raise ValueError(f'unknown adapter_norm={adapter_norm!r}: use '
                             f'{" or ".join(map(repr, _NORMS))}')
        self.scale = scale
        self.adapter_norm = adapter_norm
        self.scale_gradient = scale_gradient
        self.down = nn.Linear(embed_dims, bottleneck_dims)
        self.dropout = nn.Dropout(dropout)
        self.project = _shared_layer(bottleneck_dims) if project else None
        self.up = nn.Linear(bottleneck_dims, embed_dims)
        _init(self.down)
        _init(self.up)
        self._lent: Tuple[nn.Module, ...] = ()  # a tuple, so not registered

    def borrow(self, project: nn.Module) -> None:
        """Use a projection ``W_s`` that belongs to somebody else.

        Args:
            project (nn.Module): ``(..., m)`` to ``(..., m)``.
        """
        self._lent = (project, )

    def forward(self, x: Tensor, layout: TokenLayout,
                block: nn.Module) -> Tensor:
        """The residual beside a whole block.

        Args:
            x (Tensor): Tokens that enter the block.
            layout (TokenLayout): Their layout.
            block (nn.Module): The block; its ``ln_1`` may be used.

        Returns:
            Tensor: In the shape of ``x``.
        """
        scaled = self.training and self.scale_gradient
        if scaled and x.requires_grad:
            x = _ScaledGradient.apply(x, self.scale)
        if self.adapter_norm == 'ln_1':
            x = block.ln_1(x)
        inplace = not torch.is_grad_enabled()
        h = self.dropout(F.relu(self.down(x), inplace))  # (..., m)
        for project in self._lent or [self.project]:
            if project is not None:
                h = F.relu(project(h), inplace)  # Eq. (12)
        return _ScaledUp.apply(
            h, self.up.weight.to(h.dtype), self.up.bias.to(h.dtype),
            self.temporal(h, layout), self.scale,
            1. if scaled else self.scale)

    def temporal(self, h: Tensor, layout: TokenLayout) -> Tensor | None:
        """What is added for the tokens behind the class token, if any."""
        return None


@MODELS.register_module()
class MSTAText(_Half):
    """The half of :class:`MSTA` beside the blocks of a text tower.

    ``s * up(relu(W_s relu(down(x))))`` is added to the output of the block.

    Source: CVPR 2025, Sec. 3.2, Eq. (10) and (13).

    Args:
        embed_dims (int): Token channels ``D``.
        bottleneck_dims (int): Channels ``m`` ("dims") between the layers.
        scale (float): ``lambda``; with 0 the frozen tower is left as it is.
        dropout (float): Dropout after the first ReLU.
        adapter_norm (str): ``'none'``, as printed, or ``'ln_1'``: the norm
            of the block comes first, as in the code of MSTA's ancestor.
        scale_gradient (bool): In training, parameters get gradients as if
            ``lambda`` were 1 ("gradient scaling", Sec. 6); the gradient that
            reaches ``x`` is the true one.
        project (bool): Have a layer ``W_s`` of its own.

    Shapes:
        - Input and output: ``(B, L, D)``.

    Raises:
        ValueError: If the bottleneck is not positive or the norm unknown.
    """

    kinds = ('text', )


@MODELS.register_module()
class MSTAVideo(_Half):
    """The half of :class:`MSTA` beside the blocks of an image tower.

    As :class:`MSTAText`; what leaves the ReLU also goes through a
    convolution over the frames, whose output is added to that of ``up``::

        h --+--> up ------------------------- + --> * s
            +--> 3 x 1 x 1 over frames -------+   (patches only)

    Class tokens get no temporal term; the paper does not speak of them.

    Source: CVPR 2025, Sec. 3.2, Eq. (8), (11) and (12), algorithm 2.

    Args:
        embed_dims (int): Token channels ``D``.
        bottleneck_dims (int): Channels ``m`` ("dims") between the layers. The
            convolution has ``gcd(m, D)`` groups, which are the ``m`` of the
            paper where these divide ``D``.
        scale (float): As for :class:`MSTAText`.
        dropout (float): As for :class:`MSTAText`.
        adapter_norm (str): As for :class:`MSTAText`.
        scale_gradient (bool): As for :class:`MSTAText`.
        project (bool): As for :class:`MSTAText`.

    Shapes:
        - Input and output: ``(B*T, 1+N, D)`` framewise, ``(B, 1+N*T, D)``
          joint.

    Raises:
        ValueError: If the bottleneck is not positive or the norm unknown.
    """

    kinds = ('framewise', 'joint')

    def __init__(self, embed_dims: int, bottleneck_dims: int = 128,
                 scale: float = 0.005, dropout: float = 0.1,
                 adapter_norm: str = 'none', scale_gradient: bool = True,
                 project: bool = True) -> None:
        super().__init__(embed_dims, bottleneck_dims, scale, dropout,
                         adapter_norm, scale_gradient, project)
        self.temporal_up = nn.Conv3d(
            bottleneck_dims, embed_dims, (3, 1, 1), padding='same',
            groups=math.gcd(bottleneck_dims, embed_dims))
        _init(self.temporal_up)

    def temporal(self, h: Tensor, layout: TokenLayout) -> Tensor:
        """The temporal term of the patches, Eq. (11).

        Args:
            h (Tensor): ``(B*T, 1+N, m)`` or ``(B, 1+N*T, m)``.
            layout (TokenLayout): The layout.

        Returns:
            Tensor: ``(B*T, N, D)`` or ``(B, N*T, D)``.
        """
        conv = self.temporal_up
        if layout.kind == 'joint':
            patches, frames = layout.split_patches(h), 2  # (B, N, T, m)
        else:
            patches, frames = layout.split_frames(h[:, 1:]), 1  # (B,T,N,m)
        out = grouped_temporal_conv(
            patches, conv.weight.flatten(2), conv.bias, conv.groups, frames)
        return out.reshape(h.shape[0], -1, out.shape[-1])


@MODELS.register_module()
class MSTA(BaseModule):
    """Adapters beside the blocks of both towers, with a layer in common.

    ::

        video --> down --+                    +--> up, temporal up --> video
                         +--> W_s of a block -+
        text ---> down --+                    +--> up ---------------> text

    It belongs to :class:`VideoTextRecognizer`, which holds both towers. A
    tower by itself takes :class:`MSTAVideo` or :class:`MSTAText` in its list
    of adapters.

    Blocks are paired from the first: with as many blocks in both towers (all
    of width 16), block ``j`` with block ``j``; with ``r`` times as many in
    the image tower (L/14: 24 and 12), block ``r*j`` of it with block ``j`` of
    the text tower, and the blocks between have a ``W_s`` for themselves. The
    paper has the first case only.

    Source: CVPR 2025, Sec. 3.2; ``towers`` and ``shared`` for Table 6a.

    Args:
        layers (Sequence[int]): 0-based blocks of the image tower (the
            paper's 8-12 are ``range(7, 12)``).
        visual (dict): Where the image tower is: the arguments of
            :class:`AdapterStack` beside ``configs``.
        text (dict): The same of the text tower.
        bottleneck_dims (int): ``m``.
        scale (float): ``lambda``.
        dropout (float): As for :class:`MSTAText`.
        adapter_norm (str): As for :class:`MSTAText`.
        scale_gradient (bool): As for :class:`MSTAText`.
        towers (Sequence[str]): Which are adapted: ``'visual'``, ``'text'``
            or both.
        shared (bool): Whether there is ``W_s`` at all.
        init_cfg (dict | None): mmengine's initialisation config.

    Raises:
        ValueError: If a block is outside its tower, a tower is unknown, no
            adapted block has a partner in the text tower, or the towers
            cannot be paired.
    """

    #: In a list of adapters this name is a mistake; see ``adapter_class``.
    instead = ('MSTAVideo (image tower) or MSTAText (text tower), or adapter='
               "dict(type='MSTA', ...) of VideoTextRecognizer for both")

    def __init__(self,
                 layers: Sequence[int],
                 visual: dict,
                 text: dict,
                 bottleneck_dims: int = 128,
                 scale: float = 0.005,
                 dropout: float = 0.1,
                 adapter_norm: str = 'none',
                 scale_gradient: bool = True,
                 towers: Sequence[str] = _TOWERS,
                 shared: bool = True,
                 init_cfg: dict | None = None) -> None:
        super().__init__(init_cfg)
        towers = [towers] if isinstance(towers, str) else list(towers)
        if not towers or set(towers) - set(_TOWERS):
            raise ValueError(f'unknown towers={towers}: name '
                             f'{" or ".join(map(repr, _TOWERS))}, or both')
        options = dict(bottleneck_dims=bottleneck_dims, scale=scale,
                       dropout=dropout, adapter_norm=adapter_norm,
                       scale_gradient=scale_gradient, project=False)
        layers = check_layers('MSTA', layers, visual['num_layers'])
        partners = _partners(layers, visual['num_layers'],
                             text['num_layers'])
        if 'text' in towers and not partners:
            raise ValueError(
                f'none of the blocks {layers} has a partner among the '
                f'{text["num_layers"]} of the text tower: name one that has, '
                "or towers=['visual']")

        def entry(name: str, blocks: Sequence[int]) -> list[dict]:
            return [dict(options, type=name, layers=blocks)]

        self.visual = AdapterStack(
            entry('MSTAVideo', layers) if 'visual' in towers else (),
            **visual)
        self.text = AdapterStack(
            entry('MSTAText', sorted(partners.values()))
            if 'text' in towers else (), **text)
        served = layers if 'visual' in towers else partners
        self.shared = ModuleDict({
            str(layer): _shared_layer(bottleneck_dims)
            for layer in (served if shared else ())})
        for layer, project in self.shared.items():
            halves = self.visual.at(int(layer)).get('beside_block', [])
            if int(layer) in partners:
                halves = halves + self.text.at(
                    partners[int(layer)]).get('beside_block', [])
            for half in halves:
                half.borrow(project)


def _partners(layers: Sequence[int], visual: int,
              text: int) -> Dict[int, int]:
    """Block of the text tower for each adapted block that has one."""
    ratio, rest = divmod(visual, text)
    if rest or not ratio:
        raise ValueError(
            f'{visual} blocks of the image tower cannot be paired with {text} '
            'of the text tower: MSTA needs as many, or a multiple; use '
            'MSTAVideo and MSTAText in the lists of adapters')
    return {layer: layer // ratio for layer in layers if layer % ratio == 0}
