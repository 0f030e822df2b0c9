"""Adapters: layers that sit at the insertion points of an encoder."""

from .adaptformer import AdaptFormer
from .base import POINTS, Adapter, AdapterStack
from .lora import LoRA

__all__ = ['AdaptFormer', 'Adapter', 'AdapterStack', 'LoRA', 'POINTS']
