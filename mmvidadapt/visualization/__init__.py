"""The pictures of the papers, drawn of any checkpoint.

Each picture is a module with ``SUMMARY`` and ``EXAMPLE`` for the command
line, ``add_options(parser)``, and ``draw(args)``, which writes files and
returns what to tell the user.
"""

from types import ModuleType

from . import experts

#: By the name that ``tools/visualize.py`` knows it by.
PICTURES: dict[str, ModuleType] = dict(experts=experts)

__all__ = ['PICTURES']
