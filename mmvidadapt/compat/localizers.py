"""A stand-in for ``mmaction.models.localizers.drn``.

The ``mmaction2`` 1.2.0 wheel was built without that folder (it has no
``__init__.py``), yet ``mmaction/models/localizers/__init__.py`` imports it,
so ``import mmaction.models`` fails for every model.
"""

import sys
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

PACKAGE = 'mmaction.models.localizers.drn'


class DRN:
    """Stands for the localizer that the wheel does not contain.

    Raises:
        ImportError: Always, when it is built.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        raise ImportError(
            'DRN cannot be built because the installed mmaction2 lacks the '
            'folder mmaction/models/localizers/drn (left out of the 1.2.0 '
            'wheel): to use this localizer, clone the MMAction2 repository '
            'and install it with `pip install -e .`')


def localizers_folder() -> Path | None:
    """Return the folder of MMAction2's localizers, found without import."""
    spec = find_spec('mmaction')
    if spec is None or not spec.submodule_search_locations:
        return None
    return Path(spec.submodule_search_locations[0], 'models', 'localizers')


def needed() -> bool:
    """Whether MMAction2 imports a DRN that it was installed without."""
    folder = localizers_folder()
    if folder is None or not (folder / '__init__.py').is_file():
        return False
    imports_drn = '.drn' in (folder / '__init__.py').read_text()
    return imports_drn and not (folder / 'drn' / 'drn.py').is_file()


def mend() -> None:
    """Put the stand-in where ``from .drn.drn import DRN`` looks for it."""
    from mmaction.registry import MODELS

    package = ModuleType(PACKAGE, 'Stand-in put here by mmvidadapt.compat.')
    package.__path__ = []
    module = ModuleType(PACKAGE + '.drn', package.__doc__)
    vars(package)['drn'] = module
    vars(module)['DRN'] = DRN
    sys.modules[package.__name__] = package
    sys.modules[module.__name__] = module
    MODELS.register_module(name='DRN', module=DRN)
