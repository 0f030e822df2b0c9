"""Encoders, adapters, backbones, necks, heads and recognizers."""

from . import adapters, backbones, clip, heads

__all__ = ['adapters', 'backbones', 'clip', 'heads']
