"""``mmengine.utils.is_installed`` and friends without ``pkg_resources``.

mmengine 0.10.7 asks ``pkg_resources`` which packages are installed, and
setuptools 82 removed it. ``_base_ = 'mmaction::...'`` in a config goes
through these functions.
"""

import sys
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from importlib.util import find_spec
from pathlib import Path

from .importing import replace_everywhere

HOME = 'mmengine.utils.package_utils'


def _folder_of_module(name: str) -> Path | None:
    """Return the folder of an importable package, ``None`` if there is none.

    Raises:
        RuntimeError: If it is a namespace package, which has no one folder.
    """
    spec = find_spec(name)
    if spec is None:
        return None
    if spec.origin is None:
        raise RuntimeError(
            f'{name} is a namespace package (a folder without __init__.py) '
            'and has no single installed path: name a regular package')
    return Path(spec.origin).parent


def _module_of(found: Distribution) -> str:
    """Return the name of the module that a distribution installs.

    Raises:
        ValueError: If its metadata does not tell.
    """
    listed = (found.read_text('top_level.txt') or '').split()
    if listed:
        return listed[0]
    for file in found.files or ():
        if len(file.parts) == 2 and file.name == '__init__.py':
            return file.parts[0]
    raise ValueError(
        f"the metadata of {found.metadata['Name']} does not say which module "
        'it installs: use the name of the module in its place')


def is_installed(package: str) -> bool:
    """Return whether a distribution or a module of this name is there.

    Args:
        package (str): Name of a distribution (``mmaction2``) or of a module
            (``mmaction``).

    Returns:
        bool: Whether there is one.
    """
    try:
        distribution(package)
    except PackageNotFoundError:
        spec = find_spec(package)
        return spec is not None and spec.origin is not None
    return True


def get_installed_path(package: str) -> str:
    """Return the folder of an installed package.

    Args:
        package (str): Name of a distribution (``mmaction2``) or of a module
            (``mmaction``).

    Returns:
        str: ``.../site-packages/mmaction`` by either name; the folder of
            the sources if the install is editable.

    Raises:
        PackageNotFoundError: If there is no such package.
        RuntimeError: If it is a namespace package.
    """
    try:
        found = distribution(package)
    except PackageNotFoundError:
        folder = _folder_of_module(package)
        if folder is None:
            raise
        return str(folder)
    folder = Path(str(found.locate_file(package)))
    if folder.is_dir():
        return str(folder)
    module = _module_of(found)
    # An editable install keeps its sources elsewhere: ask the importer.
    return str(_folder_of_module(module) or found.locate_file(module))


def package2module(package: str) -> str:
    """Return the module that a distribution installs.

    Args:
        package (str): Name of a distribution (``mmaction2``).

    Returns:
        str: Name of the module (``mmaction``).

    Raises:
        PackageNotFoundError: If there is no such distribution.
        ValueError: If its metadata does not tell.
    """
    return _module_of(distribution(package))


REPLACEMENTS = (is_installed, get_installed_path, package2module)


def needed() -> bool:
    """Whether mmengine asks for a ``pkg_resources`` that is not there."""
    if find_spec('pkg_resources') is not None:
        return False
    function = sys.modules[HOME].is_installed
    return 'pkg_resources' in function.__code__.co_names


def mend() -> None:
    """Replace the three functions wherever they were imported to."""
    home = sys.modules[HOME]
    for new in REPLACEMENTS:
        replace_everywhere(getattr(home, new.__name__), new)
