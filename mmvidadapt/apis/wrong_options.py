"""What a config that names no part, or no option of a part, is told.

Python ends such a config with a ``TypeError`` of some ``__init__``, and
mmengine's registry with a ``KeyError`` that points to its documentation.
"""

import inspect
import re
from difflib import get_close_matches
from traceback import walk_tb

import mmaction.registry
from mmengine.registry import Registry

_UNKNOWN = re.compile(
    r"(\w+)\.__init__\(\) got an unexpected keyword argument '(\w+)'")
_MISSING = re.compile(
    r'(\w+)\.__init__\(\) missing \d+ required [\w-]+ arguments?: (.*)')
_UNREGISTERED = re.compile(r'(\w+) is not in the [\w-]+::([\w ]+) registry')


def wrong_option(error: TypeError | KeyError) -> str | None:
    """The sentence of an error that a wrong name in a config ends with.

    Args:
        error (TypeError | KeyError): As it was caught.

    Returns:
        str | None: What is wrong and what to use; ``None`` if the error is
        of another kind, a fault of the program.
    """
    text = str(error)
    if found := _UNKNOWN.search(text):
        return _unknown(_named_class(error, found[1]), *found.groups())
    if found := _MISSING.search(text):
        cls = _named_class(error, found[1])
        return (f'{cls.__name__ if cls else found[1]} needs {found[2]}: add '
                'it in the config')
    if found := _UNREGISTERED.search(text):
        return _unregistered(*found.groups())
    return None


def _named_class(error: Exception, name: str) -> type | None:
    """The class that the config names; ``name`` may be a base of it."""
    for frame, _ in walk_tb(error.__traceback__):
        own = frame.f_locals.get('obj_cls')  # in mmengine's build_from_cfg
        cls = own if isinstance(own, type) else type(
            frame.f_locals.get('self'))
        if name in [base.__name__ for base in cls.__mro__]:
            return cls
    return mmaction.registry.MODELS.module_dict.get(name)


def _options(cls: type) -> list[str]:
    """What ``cls`` takes, and what it hands on to its bases."""
    found: list[str] = []
    for base in cls.__mro__:
        if '__init__' not in vars(base):
            continue
        own = inspect.signature(vars(base)['__init__'])
        known = [*own.parameters.values()][1:]  # without self
        found += [p.name for p in known
                  if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
        if not any(p.kind is p.VAR_KEYWORD for p in known):
            break
    return [*dict.fromkeys(found)]


def _unknown(cls: type | None, base: str, option: str) -> str:
    name = cls.__name__ if cls else base
    known = _options(cls) if cls else []
    owners = sorted(
        other.__name__ for other in
        mmaction.registry.MODELS.module_dict.values()
        if other.__module__.startswith('mmvidadapt.')
        and option in _options(other))
    if close := get_close_matches(option, known, 1):
        advice = f'use {close[0]}'
    elif 0 < len(owners) < 4:
        advice = f'it is one of {" and ".join(owners)}'
    elif known:
        advice = f'use {", ".join(known)}'
    else:
        advice = 'remove it'
    return f'{name} has no option {option!r}: {advice}'


def _unregistered(name: str, kind: str) -> str:
    names = [found for registry in vars(mmaction.registry).values()
             if isinstance(registry, Registry) and registry.name == kind
             for found in registry.module_dict]
    by_case = {found.lower(): found for found in names}
    close = get_close_matches(name.lower(), by_case, 1, 0.75)
    advice = f'use {by_case[close[0]]}, or' if close else (
        'correct its name, or')
    return (f'no {kind} is called {name}: {advice} name the module that '
            'registers it in custom_imports')
