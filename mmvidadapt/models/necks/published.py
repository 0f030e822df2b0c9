"""MoTE's published weights for :class:`MoTE` and :class:`TextHead`.

A file holds CLIP's image tower and the scale of the logits
(``model_state_dict``), the temporal part and the text features of the
fine-tuning classes (``fusion_model_state_dict``). Only names differ. The
vector by whose softmax the program merges experts in evaluation becomes
``merge_weights`` of the config; it is not trained, and zero as released.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from torch import Tensor

from ..clip.arch import VisionArch, vision_arch
from ..published import (
    check_frames,
    clip_preprocessor,
    heads_of,
    indices_in,
    shape_of,
    vision_sizes,
)

#: From published names to ours, within ``Recognizer3D``.
_NAMES = (
    (r'visual\.(.+)', r'backbone.encoder.\1'),
    (r'logit_scale', r'cls_head.logit_scale'),
    (r'spe_cls_feature', r'cls_head.finetune_features'),
    (r'frame_position_embeddings\.weight', r'neck.positional_embedding'),
    (r'transformer\.(resblocks\.\d+\.mlp)\.fc_up\.(.+)',
     r'neck.\1.c_fc.\2'),
    (r'transformer\.(resblocks\.\d+\.mlp)\.fc_dn\.(.+)',
     r'neck.\1.c_proj.\2'),
    (r'transformer\.(resblocks\..+)', r'neck.\1'),
)
_BLOCK = 'transformer.resblocks.'
_FUSION = 'mlp.mote_fusion_weight'
#: Class lists by the number of their classes, where only one is known.
_CLASS_LISTS = {400: 'k400', 101: 'ucf101', 51: 'hmdb51', 174: 'sthv2'}
#: The CLIP models whose text towers go with published files.
_TEXT_TOWERS = ('ViT-B-32', 'ViT-B-16', 'ViT-L-14', 'ViT-L-14-336')


class _Sizes(NamedTuple):
    """What the shapes of a checkpoint tell."""

    arch: dict[str, Any]
    embed_dims: int
    num_layers: int
    num_experts: int
    max_frames: int
    num_classes: int


def convert_mote(
        method: str, state_dict: Mapping[str, Tensor], *,
        num_frames: int | None = None, num_heads: int | None = None,
        temporal_heads: int | None = None, act: str = 'quick_gelu',
        classes: str | Sequence[str] | None = None,
        text_arch: str | dict | None = None, text_weights: str = 'openai',
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """A published MoTE as a config and a state dict for ``Recognizer3D``.

    The config tests on the fine-tuning classes; give ``classes`` for others
    (zero shot).

    Args:
        method (str): ``'mote'``, for messages.
        state_dict (Mapping[str, Tensor]): ``visual.*``, ``logit_scale`` and
            the tensors of the temporal part.
        num_frames (int | None): Frames of a clip; no shape tells them.
        num_heads (int | None): Heads of CLIP; 64 channels each if not given.
        temporal_heads (int | None): Heads of the temporal part; likewise.
        act (str): CLIP's activation.
        classes (str | Sequence[str] | None): Classes to test on, as
            ``TextHead`` takes them; the data set of as many fine-tuning
            classes if not given.
        text_arch (str | dict | None): CLIP model of the text tower; that of
            the image tower if not given.
        text_weights (str): Weights of the text tower, which no file holds.

    Returns:
        tuple[dict, dict[str, Tensor]]: Model config, and the state dict that
        loads strictly into the model.

    Raises:
        ValueError: If frames are not given, classes or the text tower cannot
            be told, or a tensor is missing, left over or of a shape that
            tells no size.
    """
    num_frames = check_frames(method, num_frames)
    if 'frame_position_embeddings.weight' not in state_dict:
        raise ValueError(
            f'this is no {method} checkpoint, frame_position_embeddings.'
            'weight is missing: give the file as its program saved it, or '
            'name the method that it belongs to')
    converted = {
        published_name(name): value for name, value in state_dict.items()
        if not name.endswith(_FUSION)}
    sizes = _sizes(state_dict)
    arch = dict(sizes.arch, num_heads=heads_of(
        'num_heads', num_heads, sizes.arch['embed_dims']))
    merging = _merge_weights(state_dict, sizes)
    return dict(
        type='Recognizer3D',
        backbone=dict(
            type='CLIPViT', num_frames=num_frames,
            encoder=dict(arch=arch, act=act, project=True)),
        neck=dict(
            type='MoTE', embed_dims=sizes.embed_dims,
            num_layers=sizes.num_layers, num_experts=sizes.num_experts,
            num_heads=heads_of('temporal_heads', temporal_heads,
                               sizes.embed_dims),
            max_frames=sizes.max_frames, **merging),
        cls_head=dict(
            type='TextHead', in_channels=sizes.embed_dims,
            classes=_classes(sizes.num_classes) if classes is None
            else classes,
            text=dict(arch=text_arch or _text_tower(arch), act=act,
                      weights=text_weights),
            average_clips='mote_closed_set'),
        data_preprocessor=clip_preprocessor()), converted


def published_name(name: str) -> str:
    """Our name, within ``Recognizer3D``, of a published tensor.

    Args:
        name (str): Such as ``transformer.resblocks.0.mlp.fc_up.3.bias``.

    Returns:
        str: Such as ``neck.resblocks.0.mlp.c_fc.3.bias``.

    Raises:
        ValueError: If the program saves no such tensor.
    """
    for pattern, ours in _NAMES:
        if re.fullmatch(pattern, name):
            return re.sub(pattern, ours, name)
    raise ValueError(f'{name!r} is no tensor of a MoTE checkpoint: give the '
                     'file as its program saved it')


def _sizes(state_dict: Mapping[str, Tensor]) -> _Sizes:
    max_frames, embed_dims = shape_of(
        state_dict, 'frame_position_embeddings.weight')
    experts = indices_in(
        state_dict, r'transformer\.resblocks\.0\.mlp\.fc_up\.(\d+)\.')
    return _Sizes(
        arch=vision_sizes(state_dict, 'visual.'),
        embed_dims=embed_dims,
        num_layers=len(indices_in(
            state_dict, r'transformer\.resblocks\.(\d+)\.')),
        num_experts=len(experts), max_frames=max_frames,
        num_classes=shape_of(state_dict, 'spe_cls_feature')[0])


def _merge_weights(state_dict: Mapping[str, Tensor],
                   sizes: _Sizes) -> dict[str, list[list[float]]]:
    """The option of the neck, if experts are not simply averaged."""
    if not sizes.num_experts:
        return {}
    vectors = []
    for layer in range(sizes.num_layers):
        name = f'{_BLOCK}{layer}.{_FUSION}'
        if shape_of(state_dict, name, 1) != (sizes.num_experts, ):
            raise ValueError(
                f'{name} has {len(state_dict[name])} values for '
                f'{sizes.num_experts} experts: give the file as its program '
                'saved it')
        vectors.append(state_dict[name])
    if not any(vector.any() for vector in vectors):
        return {}
    return dict(merge_weights=[vector.double().softmax(0).tolist()
                               for vector in vectors])


def _classes(number: int) -> str:
    if number not in _CLASS_LISTS:
        raise ValueError(
            f'no class list is known by its {number} classes: give classes, '
            'a file with one name for each line, or a name such as k400')
    return _CLASS_LISTS[number]


def _text_tower(arch: dict[str, Any]) -> str:
    for name in _TEXT_TOWERS:
        if vision_arch(name) == VisionArch(**arch):
            return name
    raise ValueError(
        f'an image tower of {arch["num_layers"]} blocks of '
        f'{arch["embed_dims"]} channels belongs to none of '
        f'{", ".join(_TEXT_TOWERS)}: give text_arch')
