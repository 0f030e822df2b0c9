"""MMAction2's VindLU models beside a current ``transformers``.

They import helpers that transformers 5 no longer has, and MMAction2 imports
them whenever transformers is installed, so that ``import mmaction.models``
fails for every model.
"""

from importlib.util import find_spec
from pathlib import Path
from typing import Any, NoReturn

#: A helper that VindLU imports from ``transformers.modeling_utils``.
HELPER = 'apply_chunking_to_forward'


def _transformers_lack(helper: str) -> bool:
    """Whether transformers is installed without a helper; imports nothing."""
    spec = find_spec('transformers')
    if spec is None or not spec.submodule_search_locations:
        return False
    source = Path(spec.submodule_search_locations[0], 'modeling_utils.py')
    return source.is_file() and helper not in source.read_text()


def needed() -> bool:
    """Whether MMAction2 would import VindLU and fail."""
    from mmaction.utils import dependency
    return dependency.WITH_MULTIMODAL and _transformers_lack(HELPER)


def mend() -> None:
    """Leave VindLU out; building it says why it cannot be built."""
    from mmaction.utils import dependency

    def register_placeholders(names: list, registry: Any) -> None:
        for name in names:
            registry.register_module(name=name, module=_placeholder(name))

    dependency.WITH_MULTIMODAL = False
    dependency.register_multimodal_placeholder = register_placeholders


def _placeholder(name: str) -> type:
    def refuse(self: Any, *args: Any, **kwargs: Any) -> NoReturn:
        raise ImportError(
            f'{name} cannot be built because the installed transformers '
            f'lacks {HELPER}: to use it, install an older release with '
            'pip install "transformers<4.49"')

    return type(name, (), {'__init__': refuse})
