"""Watch what happens inside a model during one pass."""

from contextlib import contextmanager
from typing import Any, Callable, Dict, Iterator

import torch
from torch import nn


@contextmanager
def watching(model: nn.Module,
             hooks: Dict[nn.Module, Callable[..., Any]],
             before: bool = False) -> Iterator[None]:
    """Hook modules of a model that runs in eval mode without gradient.

    Afterwards the hooks are gone, and every module is in the mode it was.

    Args:
        model (nn.Module): Model that holds the modules.
        hooks (Dict[nn.Module, Callable[..., Any]]): Forward hook of each
            module.
        before (bool): They are forward pre-hooks.

    Yields:
        None: Run the model.
    """
    modes = [(module, module.training) for module in model.modules()]
    handles = [(module.register_forward_pre_hook if before else
                module.register_forward_hook)(hook)
               for module, hook in hooks.items()]
    try:
        model.eval()
        # A compiled block would not see the hooks.
        with torch.no_grad(), torch.compiler.set_stance('force_eager'):
            yield
    finally:
        for handle in handles:
            handle.remove()
        for module, training in modes:
            module.training = training
