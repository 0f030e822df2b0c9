"""Mends of the installed stack, one small function for each fault."""


def apply() -> None:
    """Apply every mend that this stack needs; safe to call twice."""
