"""Names that numpy 2 removed and the OpenMMLab packages still call.

Nothing is added to the numpy module, where other code could come to rely on
it. The few modules that use a removed name get a proxy of numpy as their own
global ``np``; it answers the old names and passes every other one through.
"""

import sys
from types import ModuleType
from typing import Any

import numpy


def in1d(ar1: Any, ar2: Any, **kwargs: Any) -> numpy.ndarray:
    """Return ``numpy.isin`` of the flattened ``ar1``, as in1d did."""
    return numpy.isin(numpy.ravel(ar1), ar2, **kwargs)


# The removed names, as numpy 2 spells them. numpy 1 has no ``trapezoid``
# but still has ``trapz``, and then answers for itself.
REMOVED = {
    'Inf': numpy.inf,
    'NAN': numpy.nan,
    'in1d': in1d,
    'trapz': getattr(numpy, 'trapezoid', None),
}

# The modules of mmaction2 1.2.0 and mmpretrain 1.2.0 with the removed names
# they use; a test scans the installed packages for others.
USERS = {
    'mmaction.datasets.transforms.pose_transforms': ('Inf', ),
    'mmaction.evaluation.functional.accuracy': ('trapz', ),
    'mmaction.evaluation.functional.ava_evaluation.metrics': ('NAN', ),
    'mmaction.evaluation.metrics.multimodal_metric': ('in1d', ),
    'mmaction.utils.misc': ('Inf', ),
    'mmpretrain.evaluation.metrics.retrieval': ('in1d', ),
}


class NumpyProxy(ModuleType):
    """Numpy as one module sees it, with the removed names.

    Every attribute is looked up in numpy first, so a numpy that still has
    an old name answers it itself.
    """

    def __init__(self) -> None:
        super().__init__('numpy', numpy.__doc__)

    def __getattr__(self, name: str) -> Any:
        """Answer for numpy, and for the names that it removed.

        Args:
            name (str): Name of an attribute.

        Returns:
            Any: Numpy's own attribute, or what stands for a removed one.

        Raises:
            AttributeError: From numpy itself if it never had ``name``.
        """
        if name in REMOVED and not hasattr(numpy, name):
            return REMOVED[name]
        return getattr(numpy, name)

    def __dir__(self) -> list[str]:
        """List numpy's names and the removed ones."""
        return sorted({*dir(numpy), *REMOVED})


def needed(module: str) -> bool:
    """Whether ``module`` uses a name that the installed numpy lacks.

    Args:
        module (str): A key of :data:`USERS`.

    Returns:
        bool: True if so.
    """
    return any(not hasattr(numpy, name) for name in USERS[module])


def mend(module: str) -> None:
    """Give a loaded module the proxy as its global ``np``.

    Args:
        module (str): A key of :data:`USERS`.
    """
    names = vars(sys.modules[module])
    if names.get('np') is numpy:
        names['np'] = NumpyProxy()
