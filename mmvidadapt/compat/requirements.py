"""What must be installed, checked before anything is imported.

MMAction2 asserts the version of mmcv while it is imported and knows nothing
of the maintained forks, so the check is made here, in one sentence, and a
fork is introduced to MMAction2 under the version whose interface it keeps.
"""

import sys
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec

# MMAction2 1.2.0's own bounds on mmcv.
MINIMUM, MAXIMUM = '2.0.0rc4', '2.2.0'
MMCV_DISTRIBUTIONS = ('mmcv', 'mmcv-lite')
MMCV_FORK = 'onedl-mmcv'
ADVICE = (f'install one, mmcv or mmcv-lite >={MINIMUM},<{MAXIMUM}, for '
          'instance with `pip install mmcv-lite==2.1.0`')


def installed_version(name: str) -> str | None:
    """Return the version of a distribution, ``None`` if it is absent."""
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _is_accepted(found: str) -> bool:
    """Return whether MMAction2 accepts this version of mmcv."""
    from packaging.version import Version
    return Version(MINIMUM) <= Version(found) < Version(MAXIMUM)


def is_importable(module: str) -> bool:
    """Return whether there is a module of this name, without import."""
    return module in sys.modules or find_spec(module) is not None


def problem() -> str | None:
    """Return what stops MMAction2 from being imported, as one sentence."""
    for module, advice in (
            ('torch', 'see https://pytorch.org/get-started/locally'),
            ('mmengine', 'run `pip install mmengine==0.10.7`')):
        if not is_importable(module):
            return (f'mmvidadapt needs {module}, which is not installed: '
                    f'{advice}')
    if not is_importable('mmcv'):
        return (f'mmvidadapt needs mmcv, and neither mmcv nor mmcv-lite is '
                f'installed: {ADVICE}')
    if installed_version(MMCV_FORK) is None:
        for name in MMCV_DISTRIBUTIONS:
            found = installed_version(name)
            if found and not _is_accepted(found):
                return (f'{name} {found} is installed, which MMAction2 '
                        f'does not accept: {ADVICE}')
    if not is_importable('mmaction'):
        return ('mmvidadapt needs MMAction2, which is not installed: run '
                '`pip install mmaction2==1.2.0`')
    return None


def unmet() -> bool:
    """Whether something that MMAction2 needs is not there."""
    return problem() is not None


def refuse() -> None:
    """Say what is missing.

    Raises:
        ImportError: Always, with the one sentence of :func:`problem`.
    """
    raise ImportError(problem())


def fork_needs_introduction() -> bool:
    """Whether mmcv is a fork whose version MMAction2 would refuse."""
    found = installed_version(MMCV_FORK)
    return found is not None and not _is_accepted(found)


def introduce_fork() -> None:
    """Import MMAction2 while the fork states a version that it accepts.

    ``onedl-mmcv`` counts on from mmcv 2.2.0 and keeps its interface.
    ``mmcv.__version__`` is the fork's own again afterwards.
    """
    import mmcv
    own = mmcv.__version__
    mmcv.__version__ = '2.1.0'
    try:
        import mmaction  # noqa: F401
    finally:
        mmcv.__version__ = own
