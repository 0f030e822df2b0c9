"""What users and tools call."""

from .official import METHODS, load_official

__all__ = ['METHODS', 'load_official']
