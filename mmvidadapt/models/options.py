"""Options that a config names, compared with those that a part has."""

import inspect
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

T = TypeVar('T')


def build_part(cls: Callable[..., T], config: Mapping[str, Any],
               place: Mapping[str, Any], entry: str) -> T:
    """Build a part from its options and where it sits.

    Args:
        cls (Callable[..., T]): Its class.
        config (Mapping[str, Any]): Options of the user, without ``type``.
        place (Mapping[str, Any]): Arguments that it gets if it has them.
        entry (str): What the user calls the options.

    Returns:
        T: The part.

    Raises:
        ValueError: If an option is not known, or lacks.
    """
    name = getattr(cls, '__name__', str(cls))
    known = inspect.signature(cls).parameters
    if not any(p.kind is p.VAR_KEYWORD for p in known.values()):
        for key in config:
            if key not in known:
                options = sorted(set(known) - set(place))
                raise ValueError(f'{name} has no option {key!r}: use '
                                 f'{", ".join(options)}')
    filled = {key: value for key, value in place.items() if key in known}
    arguments = {**filled, **config}
    for key, parameter in known.items():
        if (parameter.default is parameter.empty and key not in arguments
                and parameter.kind in (parameter.POSITIONAL_OR_KEYWORD,
                                       parameter.KEYWORD_ONLY)):
            raise ValueError(f'{name} needs the option {key!r}: add '
                             f'it to {entry}')
    return cls(**arguments)
