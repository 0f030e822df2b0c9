"""Transforms of a whole clip: one draw for all of its frames."""

from .clip_color import ClipColorJitter, ClipGrayscale
from .clip_rand_augment import ClipRandAugment

__all__ = ['ClipColorJitter', 'ClipGrayscale', 'ClipRandAugment']
