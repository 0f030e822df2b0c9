"""mmvidadapt: image models turned into video models inside MMAction2.

Importing the package mends what the installed stack breaks (see
:mod:`mmvidadapt.compat`) and then registers every part into
``mmaction.registry``.
"""

from . import compat

compat.apply()

from . import datasets, engine, evaluation, models  # noqa: E402
from .version import __version__  # noqa: E402

__all__ = ['__version__', 'compat', 'datasets', 'engine', 'evaluation',
           'models']
