"""Datasets, transforms and sampling."""

from .broken_video import BrokenVideoError, find_damage, guard_reading
from .sample_fetcher import TooManyBrokenVideosError

__all__ = ['BrokenVideoError', 'TooManyBrokenVideosError', 'find_damage',
           'guard_reading']
