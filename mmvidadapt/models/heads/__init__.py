"""Heads: frame features in, float32 scores out."""

from .frame_head import FrameHead
from .linear_head import LinearHead
from .text_head import TextHead

__all__ = ['FrameHead', 'LinearHead', 'TextHead']
