"""Published checkpoints of the methods, as configs and state dicts of ours."""

import inspect
import os
from collections.abc import Callable, Mapping
from typing import Any

import torch
from mmaction.registry import MODELS
from mmengine.registry import DefaultScope
from torch import Tensor

from ..compat.checkpoints import read_checkpoint
from ..models.clip.published import convert_viclip
from ..models.necks.published import convert_mote
from ..models.published import without_wrappers
from ..models.side.published import convert_published

#: Converters by method. A converter gets the name of the method, the tensors
#: by their published names, and what the shapes do not tell.
METHODS: dict[str, Callable[..., tuple[dict, dict[str, Tensor]]]] = dict(
    tds_clip=convert_published,
    side4video=convert_published,
    mote=convert_mote,
    viclip=convert_viclip)
#: Methods whose files hold the text tower, which the head reads from there.
_WITH_TEXT = ('viclip', )
#: Entries under which programs save their state dict.
_CONTAINERS = ('model_state_dict', 'state_dict', 'model')
#: Entry beside it, of programs that save what follows the encoder apart.
_SECOND = 'fusion_model_state_dict'
#: Has as many rows as the file, whatever classes the config names.
_ROWS_OF_FILE = 'cls_head.finetune_features'
_SHOWN = 3


def load_official(  # noqa: D417  (pydoclint lists no star arguments)
        method: str,
        checkpoint: str | os.PathLike | Mapping[str, Any],
        *,
        num_frames: int | None = None,
        **overrides: Any) -> tuple[dict, dict[str, Tensor]]:
    """Turn a published checkpoint into a model of MMAction2.

    Every size that the shapes hold is read from them. What else they do not
    tell is given in ``overrides``, see
    :func:`mmvidadapt.models.side.published.convert_published` (TDS-CLIP and
    Side4Video), :func:`mmvidadapt.models.necks.published.convert_mote` and
    :func:`mmvidadapt.models.clip.published.convert_viclip`.

    Args:
        method (str): Key of :data:`METHODS`: ``'tds_clip'``,
            ``'side4video'``, ``'mote'`` or ``'viclip'``.
        checkpoint (str | os.PathLike | Mapping[str, Any]): A file, or what
            was loaded from one.
        num_frames (int | None): Frames of a clip, which no shape tells but
            that of ViCLIP's temporal embedding.

    Returns:
        tuple[dict, dict[str, Tensor]]: Config of a ``Recognizer3D``, and the
        state dict that loads into it with ``strict=True``.

    Raises:
        FileNotFoundError: If there is no such file.
        CheckpointError: If the file cannot be read.
        ValueError: If the method or an override is unknown, or a tensor is
            missing, left over or does not fit the others.
    """
    if method not in METHODS:
        raise ValueError(f'unknown method {method!r}: use one of '
                         f'{", ".join(METHODS)}')
    convert = METHODS[method]
    known = [p.name for p in inspect.signature(convert).parameters.values()
             if p.kind is p.KEYWORD_ONLY]
    for name in overrides:
        if name not in known:
            raise ValueError(f'{method} has no override {name!r}: use '
                             f'{", ".join(known)}')
    content: Any = checkpoint
    if isinstance(content, (str, os.PathLike)):
        if method in _WITH_TEXT:
            overrides.setdefault('text_weights', os.path.abspath(content))
        content = read_checkpoint(content, map_location='cpu')
    tensors = _tensors_of(content)
    config, state_dict = convert(
        method, tensors, num_frames=num_frames, **overrides)
    _check_fit(method, config, state_dict)
    return config, state_dict


def _tensors_of(content: Any) -> dict[str, Tensor]:
    """The state dict of a checkpoint, without the prefix of a wrapper."""
    for name in _CONTAINERS:
        if isinstance(content, Mapping) and isinstance(
                content.get(name), Mapping):
            content = {**content[name], **content.get(_SECOND, {})}
    if not isinstance(content, Mapping) or not content or not all(
            torch.is_tensor(value) for value in content.values()):
        raise ValueError(
            'the checkpoint holds no state dict, neither bare nor under '
            f'{" or ".join(_CONTAINERS)}: give the file as its program saved '
            'it')
    return {name: value.float() if value.is_floating_point() else value
            for name, value in without_wrappers(
                {str(name): value for name, value in content.items()},
                'the checkpoint').items()}


def _check_fit(method: str, config: dict,
               state_dict: Mapping[str, Tensor]) -> None:
    """Refuse tensors that are not exactly those of the model."""
    with DefaultScope.overwrite_default_scope('mmaction'), \
            torch.device('meta'):
        own = MODELS.build(config).state_dict()
    faults = {
        'missing': [name for name in own if name not in state_dict],
        'left over': [name for name in state_dict if name not in own],
        'of another shape': [
            f'{name} {tuple(state_dict[name].shape)} instead of '
            f'{tuple(value.shape)}' for name, value in own.items()
            if name in state_dict and not _same_shape(
                name, state_dict[name], value)],
    }
    told = [f'{len(names)} {kind} ({", ".join(names[:_SHOWN])}'
            + (', ...)' if len(names) > _SHOWN else ')')
            for kind, names in faults.items() if names]
    if told:
        raise ValueError(
            f'the checkpoint does not make a whole {method} model of '
            f'{len(own)} tensors, by our names {"; ".join(told)}: give the '
            'file as its program saved it, or the right overrides')


def _same_shape(name: str, given: Tensor, own: Tensor) -> bool:
    if name == _ROWS_OF_FILE:
        return given.shape[1:] == own.shape[1:]
    return given.shape == own.shape
