"""ViCLIP's published weights as a recognizer.

A file holds both towers and the temperature of the cosines. The video tower
becomes the backbone of a ``Recognizer3D``; the text tower stays in the file,
from which the head reads it whenever it meets new classes.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from ...datasets.class_lists import class_names
from ..published import (
    check_frames,
    heads_of,
    imagenet_preprocessor,
    shape_of,
    text_sizes,
    vision_sizes,
)
from .layouts import detect_layout, split_towers
from .text_encoder import CLIPTextEncoder
from .weights import check_names, resize_frames

_VISION, _TEXT = 'vision_encoder.', 'text_encoder.'
_TEMPORAL = 'temporal_positional_embedding'


def convert_viclip(
        method: str, state_dict: Mapping[str, Tensor], *,
        num_frames: int | None = None, num_heads: int | None = None,
        text_heads: int | None = None, act: str = 'quick_gelu',
        temporal_resize: str = 'linear',
        classes: str | Sequence[str] = 'k400',
        templates: str | Sequence[str] = 'video',
        text_weights: str | None = None,
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """A published ViCLIP as a config and a state dict for ``Recognizer3D``.

    Args:
        method (str): ``'viclip'``, for messages.
        state_dict (Mapping[str, Tensor]): ``vision_encoder.*``,
            ``text_encoder.*`` and ``temp``.
        num_frames (int | None): Frames of a clip; those of the temporal
            embedding if not given.
        num_heads (int | None): Heads of the video tower; 64 channels each if
            not given.
        text_heads (int | None): Heads of the text tower; likewise.
        act (str): Activation of both.
        temporal_resize (str): How the temporal embedding serves other
            numbers of frames, as for :class:`ViCLIPVisionEncoder`.
        classes (str | Sequence[str]): Classes to tell apart, as
            ``TextHead`` takes them.
        templates (str | Sequence[str]): Sentences around their names, as
            ``TextHead`` takes them.
        text_weights (str | None): File with the text tower: the published
            one, which :func:`load_official` knows if it was given a path.

    Returns:
        tuple[dict, dict[str, Tensor]]: Model config, and the state dict that
        loads strictly into the model.

    Raises:
        ValueError: If this is no ViCLIP, the file of the text tower is not
            known, or a tensor is missing, left over or of a shape that tells
            no size.
    """
    for name in (f'{_VISION}class_embedding', f'{_TEXT}token_embedding.weight',
                 'temp'):
        if name not in state_dict:
            raise ValueError(
                f'this is no {method} checkpoint, {name} is missing: give the '
                'file as its program saved it, or name the method that it '
                'belongs to')
    if text_weights is None:
        raise ValueError(
            'the text tower is read from a file: give the path of the '
            'checkpoint in place of its content, or text_weights')
    towers = split_towers(state_dict, detect_layout(state_dict, 'the '
                                                    'checkpoint'),
                          'the checkpoint')
    sizes = vision_sizes(state_dict, _VISION, 5)
    arch = dict(sizes, num_heads=heads_of(
        'num_heads', num_heads, sizes['embed_dims']))
    text = _text_arch(state_dict, text_heads)
    with torch.device('meta'):
        check_names(towers['text'], dict(
            CLIPTextEncoder(text, act).named_parameters()), 'the checkpoint')
    tubelet = state_dict[f'{_VISION}conv1.weight'].shape[2]
    table_of_file = shape_of(state_dict, f'{_VISION}{_TEMPORAL}', 3)[1]
    frames = (table_of_file * tubelet if num_frames is None
              else check_frames(method, num_frames))
    video = towers['visual']
    video[_TEMPORAL] = resize_frames(
        video[_TEMPORAL], max(frames // tubelet, 1), temporal_resize)
    temp = float(state_dict['temp'])
    if not 0 < temp < math.inf:
        raise ValueError(f'temp is {temp} and divides the cosines, so it must '
                         'be positive: give the file as its program saved it')
    converted = {f'backbone.encoder.{name}': value
                 for name, value in video.items()}
    converted['cls_head.logit_scale'] = torch.tensor(-math.log(temp))
    converted['cls_head.finetune_features'] = torch.zeros(  # none: no tuning
        len(class_names(classes)), arch['output_dims'])
    return dict(
        type='Recognizer3D',
        backbone=dict(
            type='CLIPViT', num_frames=frames,
            encoder=dict(
                type='ViCLIPVisionEncoder', arch=arch, act=act, project=True,
                tubelet_size=tubelet, temporal_resize=temporal_resize)),
        cls_head=dict(
            type='TextHead', in_channels=arch['output_dims'],
            classes=classes, templates=templates,
            text=dict(arch=text, act=act, weights=text_weights),
            scale=1 / temp, train_scale=False, modulate=False,
            average_clips='prob'),
        data_preprocessor=imagenet_preprocessor()), converted


def _text_arch(state_dict: Mapping[str, Tensor],
               heads: int | None) -> dict[str, Any]:
    sizes = text_sizes(state_dict, _TEXT)
    return dict(sizes, num_heads=heads_of(
        'text_heads', heads, sizes['embed_dims']))
