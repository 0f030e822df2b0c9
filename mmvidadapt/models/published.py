"""What the converters of published checkpoints share."""

import re
from collections.abc import Mapping
from math import isqrt
from typing import Any

import torch
from open_clip.constants import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    OPENAI_DATASET_MEAN,
    OPENAI_DATASET_STD,
)
from torch import Tensor


def check_frames(method: str, num_frames: int | None) -> int:
    """Refuse a number of frames that is none.

    Args:
        method (str): Name of the method.
        num_frames (int | None): What was given.

    Returns:
        int: The same.

    Raises:
        ValueError: If it was not given, or is not positive.
    """
    if num_frames is None:
        raise ValueError(
            f'the shapes of a {method} checkpoint do not tell the frames of a '
            'clip: give num_frames, which is 8 in the released recipes')
    if not isinstance(num_frames, int) or num_frames < 1:
        raise ValueError(f'num_frames={num_frames!r} is no number of frames: '
                         'give the one of the recipe, such as 8')
    return num_frames


def heads_of(option: str, given: int | None, channels: int) -> int:
    """Heads of an attention, 64 channels each if not given.

    Args:
        option (str): Name of the option, for messages.
        given (int | None): Its value.
        channels (int): Channels of the attention.

    Returns:
        int: The heads.

    Raises:
        ValueError: If they do not divide the channels.
    """
    if given is None and channels % 64 == 0:
        return channels // 64
    if given is None:
        raise ValueError(
            f'{channels} channels cannot be divided into heads of 64: give '
            f'{option}, which no shape tells')
    if not isinstance(given, int) or given < 1 or channels % given:
        raise ValueError(
            f'{option}={given!r} does not divide {channels} channels: give '
            'the number of the recipe, as a rule one for each 64 channels')
    return given


#: Parallel training adds the first, compiling the second, each as often as
#: it wraps.
_WRAPPERS = re.compile(r'^((module|_orig_mod)\.)+')
#: What classes that pack a model for a hub may add to all names.
_PACKED = 'model.'


def without_wrappers(tensors: Mapping[str, Tensor],
                     source: str) -> dict[str, Tensor]:
    """Take what wrappers of a model put before its names off them.

    Args:
        tensors (Mapping[str, Tensor]): By names such as
            ``module._orig_mod.visual.proj``; ``model.`` as well, if
            all names have it.
        source (str): The file, for messages.

    Returns:
        dict[str, Tensor]: By names such as ``visual.proj``.

    Raises:
        ValueError: If two names become one.
    """
    plain: dict[str, Tensor] = {}
    for name, value in tensors.items():
        short = _WRAPPERS.sub('', name)
        if short in plain:
            raise ValueError(f'{source} holds {short} twice, with and without '
                             'module.: remove one of them')
        plain[short] = value
    if plain and all(name.startswith(_PACKED) for name in plain):
        return without_wrappers({name[len(_PACKED):]: value
                                 for name, value in plain.items()}, source)
    return plain


def shape_of(state_dict: Mapping[str, Tensor], name: str,
             axes: int = 2) -> torch.Size:
    """The shape of a tensor that must be there.

    Args:
        state_dict (Mapping[str, Tensor]): The tensors.
        name (str): Name of one.
        axes (int): How many axes it must have.

    Returns:
        torch.Size: Its shape.

    Raises:
        ValueError: If there is none, or it is of other axes.
    """
    if name not in state_dict:
        raise ValueError(f'{name} is missing from the checkpoint: give '
                         'the file as its program saved it')
    found = state_dict[name].shape
    if len(found) != axes or 0 in found:
        raise ValueError(
            f'{name} has the shape {tuple(found)} and should have {axes} '
            'axes that are not empty: give the file as its program saved '
            'it')
    return found


def vision_sizes(state_dict: Mapping[str, Tensor], prefix: str,
                 kernel_axes: int = 4) -> dict[str, Any]:
    """Sizes of an image tower, as ``arch`` but for the heads.

    Args:
        state_dict (Mapping[str, Tensor]): The tensors, by CLIP's names.
        prefix (str): What is before these names.
        kernel_axes (int): Axes of the patch kernel, 5 of a video tower.

    Returns:
        dict[str, Any]: Fields of :class:`VisionArch` without ``num_heads``.

    Raises:
        ValueError: If a tensor that tells a size is missing or of other
            axes.
    """
    kernel = shape_of(state_dict, f'{prefix}conv1.weight', kernel_axes)
    places, _ = shape_of(state_dict, f'{prefix}positional_embedding')
    return dict(
        embed_dims=kernel[0], patch_size=kernel[-1],
        image_size=isqrt(places - 1) * kernel[-1],
        output_dims=shape_of(state_dict, f'{prefix}proj')[1],
        **_depth_sizes(state_dict, prefix))


def text_sizes(state_dict: Mapping[str, Tensor],
               prefix: str) -> dict[str, Any]:
    """Sizes of a text tower, as ``arch`` but for the heads.

    Args:
        state_dict (Mapping[str, Tensor]): The tensors, by CLIP's names.
        prefix (str): What is before these names.

    Returns:
        dict[str, Any]: Fields of :class:`TextArch` without ``num_heads``.

    Raises:
        ValueError: If a tensor that tells a size is missing or of other
            axes.
    """
    words, width = shape_of(state_dict, f'{prefix}token_embedding.weight')
    return dict(
        embed_dims=width, vocab_size=words,
        context_length=shape_of(
            state_dict, f'{prefix}positional_embedding')[0],
        output_dims=shape_of(state_dict, f'{prefix}text_projection')[1],
        **_depth_sizes(state_dict, prefix))


def _depth_sizes(state_dict: Mapping[str, Tensor],
                 prefix: str) -> dict[str, Any]:
    blocks = f'{prefix}transformer.resblocks.'
    hidden = shape_of(state_dict, f'{blocks}0.mlp.c_fc.weight')
    return dict(
        num_layers=len(indices_in(
            state_dict, re.escape(blocks) + r'(\d+)\.')),
        mlp_ratio=hidden[0] / hidden[1])


def indices_in(state_dict: Mapping[str, Tensor], pattern: str) -> list[int]:
    """The numbers in names of tensors.

    Args:
        state_dict (Mapping[str, Tensor]): The tensors.
        pattern (str): Regular expression with one group, for the number;
            names begin like it.

    Returns:
        list[int]: Each once, ascending.
    """
    found = (re.match(pattern, name) for name in state_dict)
    return sorted({int(match.group(1)) for match in found if match})


def clip_preprocessor() -> dict[str, Any]:
    """Config of a data preprocessor with the normalisation of CLIP.

    Returns:
        dict[str, Any]: For the ``data_preprocessor`` of a recognizer.
    """
    return _preprocessor(OPENAI_DATASET_MEAN, OPENAI_DATASET_STD)


def imagenet_preprocessor() -> dict[str, Any]:
    """Config of a data preprocessor with the normalisation of ImageNet.

    Returns:
        dict[str, Any]: For the ``data_preprocessor`` of a recognizer.
    """
    return _preprocessor(IMAGENET_MEAN, IMAGENET_STD)


def _preprocessor(mean: tuple[float, ...],
                  std: tuple[float, ...]) -> dict[str, Any]:
    return dict(
        # With its scope: load_official is called without one, too.
        type='mmaction.ActionDataPreprocessor',
        mean=[255 * value for value in mean],
        std=[255 * value for value in std],
        format_shape='NCTHW')
