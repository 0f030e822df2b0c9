"""Encoders, adapters, side networks, backbones, necks, heads, recognizers."""

from . import adapters, backbones, clip, heads, necks, recognizers, side, text

__all__ = ['adapters', 'backbones', 'clip', 'heads', 'necks',
           'recognizers', 'side', 'text']
