"""Torchvision without its compiled operators still imports.

A torchvision wheel built for another torch (for CUDA, beside a CPU-only
torch) cannot load its extension. It means to go on without, but two modules
of its own register Python companions of operators that then do not exist,
and the import ends in ``operator torchvision::nms does not exist``. Without
operators there is nothing to accompany, so these modules may be empty.
"""

import sys
from importlib import import_module
from types import ModuleType

from .importing import when_imported

EXTENSION = 'torchvision.extension'
REGISTRATIONS = ('torchvision._meta_registrations',
                 'torchvision._autograd_registrations')


def needed() -> bool:
    """Whether torchvision could not load its compiled operators."""
    return not sys.modules[EXTENSION]._has_ops()


def mend() -> None:
    """Put an empty module in place of each one that fails to import.

    Nothing else changes: the operators stay undefined, and calling one
    raises torchvision's own explanation (``Couldn't load custom C++ ops``).
    """
    package = sys.modules.get('torchvision')
    if package is None:
        # An earlier import failed and left its submodules behind, which a
        # second import would not bind to the package: start afresh.
        for name in [key for key in sys.modules
                     if key.startswith('torchvision.')]:
            del sys.modules[name]
        when_imported(EXTENSION, mend)
        return
    # Bound by the import system only after this call; needed just below.
    vars(package)['extension'] = sys.modules[EXTENSION]
    for name in REGISTRATIONS:
        try:
            import_module(name)
        except ModuleNotFoundError:
            continue  # this torchvision has no such module
        except (RuntimeError, ValueError):  # ValueError before torch 2.3
            sys.modules[name] = ModuleType(
                name, 'Left empty by mmvidadapt.compat: torchvision has no '
                'compiled operators to register companions for.')
