"""Adapters: layers that sit at the insertion points of an encoder."""

from .adaptformer import AdaptFormer
from .base import POINTS, Adapter, AdapterStack
from .conv_pooling import ConvPooling
from .global_uniblock import GlobalUniBlock
from .inti import InTI
from .linear_pooling import LinearPooling
from .local_mhra import LocalMHRA, LocalMHRAPreBlock
from .lora import LoRA
from .msta import MSTA, MSTAText, MSTAVideo

__all__ = [
    'AdaptFormer', 'Adapter', 'AdapterStack', 'ConvPooling', 'GlobalUniBlock',
    'InTI', 'LinearPooling', 'LocalMHRA', 'LocalMHRAPreBlock', 'LoRA',
    'MSTA', 'MSTAText', 'MSTAVideo', 'POINTS'
]
