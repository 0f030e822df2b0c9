"""When what was computed from weights is out of date."""

from torch import nn


def weight_versions(*modules: nn.Module | None) -> list[tuple[int, int]]:
    """What changes when weights are written to, or others take their place.

    The weights are those of all the modules that are given.

    Returns:
        list[tuple[int, int]]: Identity and version of each parameter.
        Inference tensors have no version; 0 stands for it.
    """
    return [(id(param), 0 if param.is_inference() else param._version)
            for module in modules if module is not None
            for param in module.parameters()]
