"""Train with bfloat16 autocast on CPU and GPU, by MMEngine's own wrapper.

MMEngine 0.10.7 refuses ``AmpOptimWrapper`` without a GPU, and takes float16
with loss scaling where no ``dtype`` is given, as with ``--amp``. Here the
CPU is accepted, and no ``dtype`` means bfloat16 wherever the device computes
with it: it has the range of float32, so the gradients need no scaling.
Parameters stay float32 in all cases.

MMAction2 1.2.0 turns scores into numpy arrays for its accuracy; numpy has
no bfloat16. Here every head of MMAction2 answers in float32.
"""

import warnings
from functools import wraps
from typing import Any

import torch

_LOW_PRECISION = (torch.bfloat16, torch.float16)


def default_amp_dtype() -> torch.dtype:
    """Return bfloat16, or float16 on a GPU that only emulates bfloat16."""
    if torch.cuda.is_available() and not torch.cuda.is_bf16_supported(
            including_emulation=False):
        return torch.float16
    return torch.bfloat16


def wrapper_needed() -> bool:
    """Return whether the wrapper refuses the CPU or prefers float16."""
    from mmengine.optim.optimizer.amp_optimizer_wrapper import AmpOptimWrapper
    parameter = torch.nn.Parameter(torch.zeros(1))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')  # torch renamed its scaler
            wrapper = AmpOptimWrapper(
                optimizer=torch.optim.SGD([parameter], lr=0.1))
    except AssertionError:
        return True
    return wrapper.cast_dtype is None


def wrapper_mend() -> None:
    """Let the wrapper accept the CPU and default to bfloat16."""
    from mmengine.device import get_device
    from mmengine.optim.optimizer import amp_optimizer_wrapper
    from mmengine.optim.optimizer.optimizer_wrapper import OptimWrapper
    wrapper = amp_optimizer_wrapper.AmpOptimWrapper
    old_init = wrapper.__init__

    @wraps(old_init)
    def __init__(self: Any, loss_scale: Any = 'dynamic', dtype: Any = None,
                 use_fsdp: bool = False, **kwargs: Any) -> None:
        device = get_device()
        if device not in ('cpu', 'cuda'):
            old_init(self, loss_scale, dtype, use_fsdp, **kwargs)
            return
        if dtype is None:
            dtype = default_amp_dtype()
        if device == 'cuda':
            old_init(self, loss_scale, dtype, use_fsdp, **kwargs)
        else:
            OptimWrapper.__init__(self, **kwargs)
            self.cast_dtype = _cpu_dtype(dtype)
            self._scale_update_param = (
                loss_scale if isinstance(loss_scale, float) else None)
            self.loss_scaler = _scaler(device, loss_scale)
        if self.cast_dtype == torch.bfloat16 and loss_scale == 'dynamic':
            self.loss_scaler = torch.amp.GradScaler(device, enabled=False)

    wrapper.__init__ = __init__


def _cpu_dtype(dtype: Any) -> torch.dtype:
    """Refuse what CPU autocast of MMEngine does not know.

    Raises:
        ValueError: For any other type than bfloat16.
    """
    if dtype not in ('bfloat16', torch.bfloat16):
        name = str(dtype).replace('torch.', '')
        raise ValueError(f'AmpOptimWrapper has no dtype {name!r} on the CPU: '
                         "set optim_wrapper.dtype='bfloat16', or train with "
                         'OptimWrapper in float32')
    return torch.bfloat16


def _scaler(device: str, loss_scale: Any) -> torch.amp.GradScaler:
    """Build the scaler that ``loss_scale`` asks for, as MMEngine does.

    Raises:
        TypeError: If ``loss_scale`` is neither number, dict nor 'dynamic'.
    """
    if loss_scale == 'dynamic':
        return torch.amp.GradScaler(device)
    if isinstance(loss_scale, float):
        return torch.amp.GradScaler(device, init_scale=loss_scale)
    if isinstance(loss_scale, dict):
        return torch.amp.GradScaler(device, **loss_scale)
    raise TypeError(f'loss_scale is {loss_scale!r}: give a float, a dict of '
                    "GradScaler's arguments, or 'dynamic'")


def heads_needed() -> bool:
    """Return whether a head hands its scores on in bfloat16."""
    from mmaction.models.heads.base import BaseHead

    class _Probe(BaseHead):

        def __init__(self) -> None:
            torch.nn.Module.__init__(self)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x

    scores = _Probe()(torch.zeros(1, 2, dtype=torch.bfloat16))
    return scores.dtype != torch.float32


def heads_mend() -> None:
    """Make every head of MMAction2 answer in float32."""
    from mmaction.models.heads.base import BaseHead
    old_call = BaseHead.__call__

    @wraps(old_call)
    def __call__(self: Any, *args: Any, **kwargs: Any) -> Any:
        return _to_float32(old_call(self, *args, **kwargs))

    BaseHead.__call__ = __call__


def _to_float32(scores: Any) -> Any:
    """Raise the precision of scores in tensors, tuples, lists and dicts."""
    if torch.is_tensor(scores):
        return scores.float() if scores.dtype in _LOW_PRECISION else scores
    if isinstance(scores, dict):
        return {key: _to_float32(value) for key, value in scores.items()}
    if type(scores) in (tuple, list):
        return type(scores)(_to_float32(value) for value in scores)
    return scores
