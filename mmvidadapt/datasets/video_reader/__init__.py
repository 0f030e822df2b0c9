"""Read any frame of any video file."""

from .damage import BrokenVideoError, Source, find_damage
from .reader import VideoReader, identify

__all__ = ['BrokenVideoError', 'Source', 'VideoReader', 'find_damage',
           'identify']
