"""What the converters of published checkpoints share."""

import re
from collections.abc import Mapping
from typing import Any

import torch
from open_clip import OPENAI_DATASET_MEAN, OPENAI_DATASET_STD
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


_WRAPPERS = re.compile(r'((module|_orig_mod)\.)+')


def without_wrappers(name: str) -> str:
    """The name of a tensor without what wrappers of the model put before it.

    Args:
        name (str): Such as ``module._orig_mod.visual.proj``: parallel
            training adds ``module.`` and compiling ``_orig_mod.``, each as
            often as it wraps.

    Returns:
        str: Such as ``visual.proj``.
    """
    found = _WRAPPERS.match(name)
    return name[found.end():] if found else name


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
    return dict(
        # With its scope: load_official is called without one, too.
        type='mmaction.ActionDataPreprocessor',
        mean=[255 * value for value in OPENAI_DATASET_MEAN],
        std=[255 * value for value in OPENAI_DATASET_STD],
        format_shape='NCTHW')
