"""Datasets, transforms and sampling."""

from .broken_video import BrokenVideoError, find_damage, guard_reading
from .sample_fetcher import TooManyBrokenVideosError
from .transforms import ClipColorJitter, ClipGrayscale, ClipRandAugment

__all__ = ['BrokenVideoError', 'ClipColorJitter', 'ClipGrayscale',
           'ClipRandAugment', 'TooManyBrokenVideosError', 'find_damage',
           'guard_reading']
