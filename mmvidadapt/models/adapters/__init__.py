"""Adapters: layers that sit at the insertion points of an encoder."""

from .adaptformer import AdaptFormer
from .base import POINTS, Adapter, AdapterStack
from .global_uniblock import GlobalUniBlock
from .local_mhra import LocalMHRA, LocalMHRAPreBlock
from .lora import LoRA

__all__ = [
    'AdaptFormer', 'Adapter', 'AdapterStack', 'GlobalUniBlock', 'LocalMHRA',
    'LocalMHRAPreBlock', 'LoRA', 'POINTS'
]
