"""TDS-CLIP's and Side4Video's published weights for :class:`SideCLIPViT`.

Only names and shapes differ: convolutions of kernel 1 are linear layers here,
and the stem's kernels are ordered for a matrix product on patches. Both
programs save the same layout; TDS-CLIP's has the gates and the difference
stem besides.
"""

import re
from collections.abc import Mapping
from functools import partial
from math import isqrt
from types import NoneType
from typing import Any, NamedTuple

from torch import Tensor

from ..published import (
    check_frames,
    clip_preprocessor,
    heads_of,
    indices_in,
    shape_of,
)
from ..switches import switches_to_tensor
from .switches import side_switches

#: From the published name of a module to ours.
_MODULES = (
    (r'visual\.(conv1|ln_pre)', r'encoder.\1'),
    (r'visual\.transformer\.resblocks\.(\d+)\.(.+)',
     r'encoder.transformer.resblocks.\1.\2'),
    (r'visual\.side_conv1', r'stem.centre'),
    (r'visual\.side_pre_bn3d', r'stem.centre_norm'),
    (r'visual\.side_conv1_c5', r'stem.difference'),
    (r'visual\.side_pre_bn3d_c5', r'stem.difference_norm'),
    (r'visual\.transformer\.side_lns\.(\d+)', r'taps.\1.norm'),
    (r'visual\.transformer\.side_linears\.(\d+)', r'taps.\1.proj'),
    (r'visual\.side_post_bn', r'post_norm'),
) + tuple(
    (rf'visual\.transformer\.side_transformer\.(\d+)\.{theirs}',
     rf'blocks.\1.{ours}') for theirs, ours in (
         (r'bn_1', 'temporal.norm'), (r'conv\.0', 'temporal.fc1'),
         (r'conv\.1', 'temporal.conv'), (r'conv\.2', 'temporal.fc2'),
         (r'mse\.conv1', 'temporal.gate.fc1'),
         (r'mse\.bn1', 'temporal.gate.norm1'),
         (r'mse\.conv2', 'temporal.gate.fc2'),
         (r'mse\.bn2', 'temporal.gate.norm2'),
         (r'ln_1', 'attn_norm'), (r'attn', 'attn'),
         (r'attn\.out_proj', 'attn.out_proj'), (r'bn_2', 'mlp_norm'),
         (r'mlp\.fc1', 'mlp.c_fc'), (r'mlp\.fc2', 'mlp.c_proj')))
#: Parameters that belong to no module of their own.
_PARAMETERS = {
    'visual.class_embedding': 'encoder.class_embedding',
    'visual.positional_embedding': 'encoder.positional_embedding',
    'visual.transformer.side_spatial_position_embeddings':
    'position_embedding',
}
_HEAD = {'fc.weight': 'fc_cls.weight', 'fc.bias': 'fc_cls.bias'}
_STEM = re.compile(r'visual\.side_conv1(_c5)?\.weight')
#: Kernels with axes of length 1, and how many axes come before those.
_KERNELS = (
    (re.compile(r'.+\.(conv\.[02]|mse\.conv[12])\.weight'), 2),
    (re.compile(r'.+\.conv\.1\.weight'), 3))  # depth-wise: (D, 1, 3, 1, 1)


class _Sizes(NamedTuple):
    """What the shapes of a checkpoint tell."""

    embed_dims: int
    patch_size: int
    num_layers: int
    image_size: int
    mlp_ratio: float
    side_dims: int
    side_mlp_ratio: float
    window: int
    td_layers: list[int]
    num_classes: int


def convert_published(
        method: str, state_dict: Mapping[str, Tensor], *,
        num_frames: int | None = None, num_heads: int | None = None,
        side_heads: int | None = None, alpha: float | None = None,
        stem_padding: int | None = None, act: str = 'quick_gelu',
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """A published model as a config and a state dict for ``Recognizer3D``.

    Args:
        method (str): ``'tds_clip'`` or ``'side4video'``.
        state_dict (Mapping[str, Tensor]): ``visual.*`` and ``fc.*``.
        num_frames (int | None): Windows of a clip; no shape tells them.
        num_heads (int | None): Heads of CLIP; 64 channels each if not given.
        side_heads (int | None): Heads of a side block; likewise.
        alpha (float | None): Weight of TDS-CLIP's difference path; 0.5, that
            of the program, if not given.
        stem_padding (int | None): Zeros around a frame in the stem; 1 for
            TDS-CLIP and 0 for Side4Video if not given.
        act (str): CLIP's activation.

    Returns:
        tuple[dict, dict[str, Tensor]]: Model config, and the state dict that
        loads strictly into the model.

    Raises:
        ValueError: If frames are not given, an option makes no sense, or a
            tensor is missing, left over or of a shape that tells no size.
    """
    num_frames = check_frames(method, num_frames)
    _check_stem(alpha, stem_padding)
    _check_method(method, state_dict)
    sizes = _sizes(state_dict)
    if stem_padding is None:
        stem_padding = 1 if method == 'tds_clip' else 0
    if alpha is None and sizes.window > 1:
        alpha = 0.5
    config = _config(
        sizes, num_frames, heads_of('num_heads', num_heads, sizes.embed_dims),
        heads_of('side_heads', side_heads, sizes.side_dims), alpha,
        stem_padding, act)
    converted = {
        published_name(name): published_shape(name, value)
        for name, value in state_dict.items()
    }
    backbone = config['backbone']
    converted['backbone.switches'] = switches_to_tensor(side_switches(
        **{name: backbone.get(name) for name in (
            'num_frames', 'num_heads', 'window', 'alpha', 'beta',
            'stem_padding', 'td_layers')},
        difference='pool', kernel_size=3, act=act,
        clip_heads=backbone['encoder']['arch']['num_heads']))
    return config, converted


def published_name(name: str) -> str:
    """Our name, within ``Recognizer3D``, of a published tensor.

    Args:
        name (str): Such as ``visual.side_conv1.weight``.

    Returns:
        str: Such as ``backbone.stem.centre.weight``.

    Raises:
        ValueError: If neither program saves such a tensor.
    """
    if name in _HEAD:
        return f'cls_head.{_HEAD[name]}'
    if name in _PARAMETERS:
        return f'backbone.{_PARAMETERS[name]}'
    module, _, leaf = name.rpartition('.')
    for pattern, ours in _MODULES:
        if re.fullmatch(pattern, module):
            return f'backbone.{re.sub(pattern, ours, module)}.{leaf}'
    raise ValueError(
        f'{name!r} is no tensor of a TDS-CLIP or Side4Video checkpoint: give '
        'the file as its program saved it')


def published_shape(name: str, value: Tensor) -> Tensor:
    """A published tensor in the shape that we keep it in.

    Args:
        name (str): Its published name.
        value (Tensor): The tensor, or its gradient.

    Returns:
        Tensor: A view, or for the stem's kernels a copy. A tensor that has
        other axes than the published one is left as it is.
    """
    if _STEM.fullmatch(name) and value.dim() == 5:
        # (D, C, 3, P, P) to (3*D, C*P*P)
        return value.permute(2, 0, 1, 3, 4).flatten(2).flatten(0, 1)
    kept = next((axes for pattern, axes in _KERNELS
                 if pattern.fullmatch(name)), value.dim())
    if value.shape[kept:].numel() == 1:
        return value.reshape(value.shape[:kept])
    return value


def _check_method(method: str, state_dict: Mapping[str, Tensor]) -> None:
    """Tell TDS-CLIP, Side4Video and anything else apart."""
    if 'visual.side_conv1.weight' not in state_dict:
        raise ValueError(
            f'this is no {method} checkpoint, visual.side_conv1.weight is '
            'missing: give the file as its program saved it, or name the '
            'method that it belongs to')
    found = ('tds_clip' if 'visual.side_conv1_c5.weight' in state_dict
             or any('.mse.' in name for name in state_dict) else 'side4video')
    if found != method:
        raise ValueError(f'this is a {found} checkpoint, not a {method} one: '
                         f'convert it as {found}')


def _check_stem(alpha: float | None, stem_padding: int | None) -> None:
    if not isinstance(alpha, (int, float, NoneType)):
        raise ValueError(f'alpha={alpha!r} is no weight: give a number such '
                         'as 0.5')
    if not isinstance(stem_padding, (int, NoneType)):
        raise ValueError(f'stem_padding={stem_padding!r} is no number of '
                         'pixels: give 0 or 1')


def _sizes(state_dict: Mapping[str, Tensor]) -> _Sizes:
    shape = partial(shape_of, state_dict)
    blocks = partial(indices_in, state_dict)
    transformer = 'visual.transformer.'
    layers = blocks(r'visual\.transformer\.resblocks\.(\d+)\.')
    hidden = shape(f'{transformer}resblocks.0.mlp.c_fc.weight')
    side_hidden = shape(f'{transformer}side_transformer.0.mlp.fc1.weight')
    width, _, patch_size, _ = shape('visual.conv1.weight', 4)
    patches, side_dims = shape(
        f'{transformer}side_spatial_position_embeddings')
    difference = 'visual.side_conv1_c5.weight'
    steps = shape(difference, 5)[1] // 3 if difference in state_dict else 0
    return _Sizes(
        embed_dims=width, patch_size=patch_size, num_layers=len(layers),
        image_size=isqrt(patches) * patch_size,
        mlp_ratio=hidden[0] / hidden[1], side_dims=side_dims,
        side_mlp_ratio=side_hidden[0] / side_hidden[1],
        window=steps + 1,
        td_layers=blocks(
            r'visual\.transformer\.side_transformer\.(\d+)\.mse\.'),
        num_classes=shape('fc.weight')[0])


def _config(sizes: _Sizes, num_frames: int, num_heads: int, side_heads: int,
            alpha: float | None, stem_padding: int,
            act: str) -> dict[str, Any]:
    weight = {} if alpha is None else dict(alpha=alpha)
    return dict(
        type='Recognizer3D',
        backbone=dict(
            type='SideCLIPViT',
            encoder=dict(
                arch=dict(
                    embed_dims=sizes.embed_dims, num_layers=sizes.num_layers,
                    num_heads=num_heads, patch_size=sizes.patch_size,
                    image_size=sizes.image_size,
                    # Of the joint image-text space, which is not entered.
                    output_dims=sizes.embed_dims, mlp_ratio=sizes.mlp_ratio),
                act=act),
            num_frames=num_frames, side_dims=sizes.side_dims,
            num_heads=side_heads, mlp_ratio=sizes.side_mlp_ratio,
            window=sizes.window, **weight, beta=1.0,
            stem_padding=stem_padding, td_layers=sizes.td_layers),
        cls_head=dict(
            type='LinearHead', num_classes=sizes.num_classes,
            in_channels=sizes.side_dims, average_clips='prob'),
        data_preprocessor=clip_preprocessor())
