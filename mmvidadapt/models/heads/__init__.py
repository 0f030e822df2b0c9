"""Heads: frame features in, float32 scores out."""

from .linear_head import LinearHead

__all__ = ['LinearHead']
