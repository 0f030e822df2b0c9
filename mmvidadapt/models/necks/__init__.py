"""Necks: frame features in, frame features and losses out."""

from .experts import merge_state_dict, without_experts
from .mote import MoTE

__all__ = ['MoTE', 'merge_state_dict', 'without_experts']
