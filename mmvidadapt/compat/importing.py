"""Two helpers that every mend may use: act on import, replace a name.

The mends must not import heavy packages themselves, and must work both
before and after somebody else imported them. :func:`when_imported` covers
both cases: it acts now, or right after the module has been executed.
"""

import sys
from collections.abc import Callable, Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

Callback = Callable[[], None]


class _ImportWatcher:
    """A meta path finder that calls back after a named module has run.

    It finds nothing itself: it asks the finders behind it and wraps only
    ``exec_module`` of the loader they answer with, so that the module
    keeps its own loader and spec.
    """

    def __init__(self) -> None:
        self.callbacks: dict[str, list[Callback]] = {}

    def find_spec(self, name: str, path: Sequence[str] | None = None,
                  target: ModuleType | None = None) -> ModuleSpec | None:
        """Return the spec of a watched module, ``None`` for all others."""
        if name not in self.callbacks:
            return None
        spec = None
        for finder in sys.meta_path:
            if finder is not self and hasattr(finder, 'find_spec'):
                spec = finder.find_spec(name, path, target)
                if spec is not None:
                    break
        if spec is None or spec.loader is None:
            return spec
        loader = spec.loader
        execute = loader.exec_module

        def exec_module(module: ModuleType) -> None:
            # A reload runs the loader's own method.
            del vars(loader)['exec_module']
            execute(module)
            for callback in self.callbacks.pop(name, []):
                callback()

        vars(loader)['exec_module'] = exec_module
        return spec


_watcher = _ImportWatcher()


def when_imported(name: str, callback: Callback) -> None:
    """Call ``callback`` now if module ``name`` is loaded, else once it is.

    Args:
        name (str): Full name of a module, as in ``sys.modules``.
        callback (Callback): Called without arguments, once. When the
            module is not loaded yet, the call comes after its code has run
            and before anything that imported it goes on.
    """
    if name in sys.modules:
        callback()
        return
    if _watcher not in sys.meta_path:
        sys.meta_path.insert(0, _watcher)
    _watcher.callbacks.setdefault(name, []).append(callback)


def replace_everywhere(old: Any, new: Any) -> None:
    """Rebind every module-global name that holds ``old`` to ``new``.

    ``from package import function`` copies the reference, so replacing the
    function in its home module alone would miss the modules that were
    imported earlier.

    Args:
        old (Any): The object to be replaced, compared by identity.
        new (Any): The object to put in its place.
    """
    for module in list(sys.modules.values()):
        names = getattr(module, '__dict__', None)
        if not isinstance(names, dict):
            continue
        for key, value in list(names.items()):
            if value is old:
                names[key] = new
