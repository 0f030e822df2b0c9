"""Refuse checkpoints that fit a module only in part.

MMEngine loads every checkpoint with ``strict=False``: missing, unexpected
and mis-shaped entries become a log line, the random weights stay, and a test
run prints an accuracy and ends well. A module that calls
:func:`refuse_partial_load` in its constructor turns that into an error, on
every road to it: ``Runner`` (load, resume, test), ``init_recognizer``,
``MMAction2Inferencer`` and plain ``load_state_dict``.
"""

from collections.abc import Collection
from typing import Any

import torch
from mmengine.logging import MMLogger
from torch import nn

from ..compat.averaging import whole_state_dicts
from .frozen_weights import fingerprints_in

KINDS = ('missing', 'unexpected', 'shape')


class PartialLoadError(RuntimeError):
    """A checkpoint that fits a module only in part."""


_SHOWN = 3  # keys named in a message; the rest are counted


def refuse_partial_load(module: nn.Module,
                        allow: Collection[str] = ()) -> None:
    """Make every load of a state dict into ``module`` all or nothing.

    Args:
        module (nn.Module): Guarded with everything inside it.
        allow (Collection[str]): Faults that only warn. ``'missing'`` and
            ``'shape'`` keep the module's own values for these entries,
            ``'unexpected'`` drops the entries. A module that kept own
            values refuses to run in eval mode until it has run in train
            mode, because its output would be noise.

    Raises:
        ValueError: If ``allow`` names an unknown kind.
    """
    unknown = sorted(set(allow) - set(KINDS))
    if unknown:
        raise ValueError(f'allow={unknown} is unknown, choose from '
                         f'{list(KINDS)}')
    guard = _LoadGuard(frozenset(allow))
    module.register_load_state_dict_pre_hook(guard.before_load)
    module.register_load_state_dict_post_hook(guard.after_load)
    if {'missing', 'shape'} & guard.allow:
        module.register_forward_pre_hook(guard.before_forward)


class _LoadGuard:
    """The hooks of one guarded module.

    The verdict falls after loading, when children had their say: their own
    hooks may rename or resize entries. Only the allowed faults are treated
    before loading. Hooks are methods, never closures, so that a deep copy
    of the module (EMA) gets a guard of its own.

    Args:
        allow (frozenset[str]): Faults that only warn.
    """

    def __init__(self, allow: frozenset[str]) -> None:
        self.allow = allow
        self.untrained = False
        self._prefix = ''
        self._errors: list[str] = []
        self._errors_before = 0

    def before_load(self, module: nn.Module, state_dict: dict[str, Any],
                    prefix: str, local_metadata: dict, strict: bool,
                    missing_keys: list[str], unexpected_keys: list[str],
                    error_msgs: list[str]) -> None:
        """Remember where this module starts and treat what is allowed."""
        self._prefix = prefix
        self._errors = error_msgs
        self._errors_before = len(error_msgs)
        self.untrained = False
        if self.allow:
            self._treat_allowed(module, state_dict)

    def _treat_allowed(self, module: nn.Module,
                       state_dict: dict[str, Any]) -> None:
        """Replace allowed entries in ``state_dict`` by the module's own."""
        with whole_state_dicts():
            own = module.state_dict(prefix=self._prefix, keep_vars=True)
        found = _compare(own, state_dict, self._prefix)
        # An encoder itself puts back what its checkpoint leaves out.
        encoders = tuple(fingerprints_in(state_dict))
        for kind, keys in found.items():
            found[kind] = [key for key in keys
                           if not key.startswith(encoders)]
        for kind in sorted(self.allow):
            if not found[kind]:
                continue
            for key in found[kind]:
                if kind == 'unexpected':
                    del state_dict[key]
                else:
                    state_dict[key] = own[key]
                    self.untrained = True
            MMLogger.get_current_instance().warning(
                f'{_place(module, self._prefix)} is not loaded whole: '
                f'{_listed(kind, found[kind])}; allowed by its config, so '
                + ('they are dropped.' if kind == 'unexpected' else
                   'they keep their initialisation and need training.'))

    def after_load(self, module: nn.Module, incompatible: Any) -> None:
        """Raise if anything of this module was not loaded.

        Args:
            module (nn.Module): The module that was loaded.
            incompatible (Any): Torch's lists of missing and unexpected keys.

        Raises:
            RuntimeError: If keys are missing, unexpected or of another
                shape; also for keys of modules that this model lacks.
        """
        errors = self._errors[self._errors_before:]
        self._errors = []
        # As mmengine and torch do: old checkpoints lack this counter.
        missing = [key for key in incompatible.missing_keys
                   if key.startswith(self._prefix)
                   and not key.endswith('num_batches_tracked')]
        # Not only under the own prefix: a neck that this model does not
        # have shows that the checkpoint comes from another model.
        unexpected = list(incompatible.unexpected_keys)
        faults = [_listed(kind, keys) for kind, keys in
                  (('missing', missing), ('unexpected', unexpected)) if keys]
        if errors:
            faults.append(f'{len(errors)} mis-shaped ('
                          + ' '.join(errors[0].split()).rstrip('.')
                          + (', ...)' if len(errors) > 1 else ')'))
        if faults:
            raise PartialLoadError(
                f'This checkpoint does not fit {_place(module, self._prefix)}'
                f': {"; ".join(faults)}. Load the checkpoint that was '
                'trained with this config, or take one part of it by '
                "init_cfg=dict(type='Pretrained', checkpoint=FILE, "
                "prefix='backbone.') on that part.")

    def before_forward(self, module: nn.Module, args: tuple) -> None:
        """Refuse to predict with weights that were never trained.

        Args:
            module (nn.Module): The module that is about to run.
            args (tuple): Its positional arguments, not looked at.

        Raises:
            RuntimeError: In eval mode, if entries kept their
                initialisation and the module has not been trained since.
        """
        if module.training:
            self.untrained = False
        elif self.untrained:
            raise PartialLoadError(
                f'{type(module).__name__} was not loaded whole from the '
                'checkpoint and has not been trained since, so its '
                'predictions would be noise; test the checkpoint with the '
                'config that it was trained with, or train first.')


def _compare(own: dict[str, Any], state_dict: dict[str, Any],
             prefix: str) -> dict[str, list[str]]:
    """Sort the differences between two state dicts by their kind."""
    return {
        'missing': [key for key in own if key not in state_dict],
        'unexpected': [key for key in state_dict
                       if key.startswith(prefix) and key not in own],
        'shape': [key for key, value in own.items()
                  if torch.is_tensor(value)
                  and torch.is_tensor(state_dict.get(key))
                  and state_dict[key].shape != value.shape],
    }


def _listed(kind: str, keys: list[str]) -> str:
    """Count the keys of a kind and name the first ones."""
    shown = ', '.join(keys[:_SHOWN]) + (', ...' if len(keys) > _SHOWN else '')
    word = 'mis-shaped' if kind == 'shape' else kind
    return f'{len(keys)} {word} ({shown})'


def _place(module: nn.Module, prefix: str) -> str:
    """Name a module by its place in the model and its class."""
    name = type(module).__name__
    return f"'{prefix[:-1]}' ({name})" if prefix else name
