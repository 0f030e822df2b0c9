"""Necks: frame features in, frame features and losses out."""

from .mote import MoTE

__all__ = ['MoTE']
