"""The pictures of the papers, drawn of any checkpoint.

Each picture is a module with ``SUMMARY`` and ``EXAMPLE`` for the command
line, ``add_options(parser)``, and ``draw(args)``, which writes files and
returns what to tell the user.
"""

from types import ModuleType

from . import attention, experts, inti, side

#: By the name that ``tools/visualize.py`` knows it by.
PICTURES: dict[str, ModuleType] = dict(
    inti=inti, side=side, experts=experts, attention=attention)

__all__ = ['PICTURES']
