"""Remember in checkpoints what their shapes do not tell.

A module may have switches that change what it computes and no tensor of it:
the weight of a branch, the heads of an attention. A checkpoint that was
trained with one value and tested with another gives other numbers, and
nobody notices. :func:`remember_switches` keeps their values in a buffer, as
JSON text in bytes, which every road of a checkpoint carries
(``weights_only=True``, safetensors, EMA), and compares them on loading.
"""

import json
from collections.abc import Mapping
from typing import Any

import torch
from mmengine.logging import MMLogger
from torch import Tensor, nn

from .strict_loading import PartialLoadError

#: Name of the buffer.
SWITCHES = 'switches'


def switches_to_tensor(values: Mapping[str, Any]) -> Tensor:
    """Switches as an entry of a state dict.

    Args:
        values (Mapping[str, Any]): Numbers, strings or None by name.

    Returns:
        Tensor: Bytes ``(n, )``.
    """
    text = json.dumps(dict(values), sort_keys=True).encode()
    return torch.tensor(list(text), dtype=torch.uint8, device='cpu')


def switches_from_tensor(entry: Tensor) -> dict[str, Any]:
    """Read an entry of a state dict.

    Args:
        entry (Tensor): What :func:`switches_to_tensor` made.

    Returns:
        dict[str, Any]: The values by name.

    Raises:
        PartialLoadError: If it is none.
    """
    try:
        return dict(json.loads(bytes(entry.tolist())))
    except (ValueError, TypeError) as error:
        raise PartialLoadError(
            'the switches that this checkpoint was trained with cannot be '
            f'read ({error}): copy the file again, or save it anew with this '
            'version') from error


def remember_switches(module: nn.Module, check: bool,
                      values: Mapping[str, Any]) -> None:
    """Keep switches in checkpoints of a module, and compare on loading.

    A checkpoint without them, such as a published one, is not compared. After
    loading, the module has its own. Call it after ``refuse_partial_load``:
    tensors that are missing are the more serious fault and come first.

    Args:
        module (nn.Module): Gets the buffer ``switches`` and a hook.
        check (bool): Refuse a checkpoint that was trained with other values
            (:class:`PartialLoadError`); otherwise warn.
        values (Mapping[str, Any]): Numbers, strings or None by name of the
            option.
    """
    module.register_buffer(SWITCHES, switches_to_tensor(values))
    comparison = _Comparison(check, dict(values))
    module.register_load_state_dict_pre_hook(comparison.before_load)
    module.register_load_state_dict_post_hook(comparison.after_load)


class _Comparison:
    """The hooks; an object, so that copies of a module have their own."""

    def __init__(self, check: bool, values: dict[str, Any]) -> None:
        self.check = check
        self.values = values
        self._theirs: dict[str, Any] = {}

    def before_load(self, module: nn.Module, state_dict: dict[str, Any],
                    prefix: str, *_: Any) -> None:
        """Read what the checkpoint remembers; the module keeps its own.

        Args:
            module (nn.Module): The module that is about to be loaded.
            state_dict (dict[str, Any]): What it gets.
            prefix (str): Where its entries start.
        """
        entry = state_dict.get(prefix + SWITCHES)
        self._theirs = {} if entry is None else switches_from_tensor(entry)
        # Not the buffer: on the meta device it holds nothing.
        state_dict[prefix + SWITCHES] = switches_to_tensor(self.values)

    def after_load(self, module: nn.Module, _: Any) -> None:
        """Compare.

        Args:
            module (nn.Module): The module that was loaded.

        Raises:
            PartialLoadError: If values differ.
        """
        differing = [name for name, value in self.values.items()
                     if self._theirs.get(name, value) != value]
        if not differing:
            return
        trained, own = (
            ', '.join(f'{name}={values[name]!r}' for name in differing)
            for values in (self._theirs, self.values))
        said = (f'the checkpoint was trained with {trained}, and '
                f'{type(module).__name__} has {own}')
        if self.check:
            raise PartialLoadError(
                f'{said}: set them as in training, or check_switches=False '
                'to fine-tune with others')
        MMLogger.get_current_instance().warning(
            f'{said}, which check_switches=False allows: fine-tune before '
            'testing.')
