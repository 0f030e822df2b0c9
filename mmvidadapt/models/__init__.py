"""Encoders, adapters, side networks, backbones, necks, heads, recognizers."""

from . import adapters, backbones, clip, heads, necks, side, text

__all__ = ['adapters', 'backbones', 'clip', 'heads', 'necks', 'side',
           'text']
