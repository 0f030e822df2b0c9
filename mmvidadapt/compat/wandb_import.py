"""Weights & Biases is loaded by those who use it.

timm and MMAction2's visualisation import wandb whenever it is installed, to
call it in functions that few runs reach. Its import looks through all loaded
modules for each field that it describes, so that beside torch it took 3 of
the 8 seconds that ``import mmvidadapt`` takes.
"""

import sys
from importlib.util import find_spec, module_from_spec
from types import ModuleType
from typing import Any

NAME = 'wandb'


class WaitingModule(ModuleType):
    """A module whose code runs when something of it is asked for.

    ``importlib.util.LazyLoader`` would not do: it also runs the code for
    what every module has, such as the ``__file__`` that :mod:`inspect` asks
    all loaded modules for.
    """

    def __getattr__(self, name: str) -> Any:
        # A plain module from here on, for what its own code asks of it.
        self.__class__ = ModuleType  # type: ignore[assignment]
        spec = self.__spec__
        assert spec is not None and spec.loader is not None
        if spec.submodule_search_locations is not None:
            self.__path__ = spec.submodule_search_locations
        try:
            spec.loader.exec_module(self)
        except BaseException:
            sys.modules.pop(spec.name, None)  # as a failed import leaves it
            raise
        return getattr(self, name)


def needed() -> bool:
    """Whether wandb is installed and nobody has loaded it."""
    return NAME not in sys.modules and find_spec(NAME) is not None


def mend() -> None:
    """Let ``import wandb`` wait for the first use of it."""
    spec = find_spec(NAME)
    assert spec is not None  # needed
    module = module_from_spec(spec)
    module.__class__ = WaitingModule
    # Asked for by `import wandb.part`, which needs the whole.
    vars(module).pop('__path__', None)
    sys.modules[NAME] = module
