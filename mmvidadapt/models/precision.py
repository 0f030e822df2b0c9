"""Where a computation must not follow autocast."""

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor


def no_autocast(x: Tensor) -> AbstractContextManager:
    """A context that keeps the precision of its tensors.

    Args:
        x (Tensor): A tensor on the device in question.

    Returns:
        AbstractContextManager: Autocast switched off; nothing on meta
        tensors, which have no autocast.
    """
    if x.is_meta:
        return nullcontext()
    return torch.autocast(x.device.type, enabled=False)
