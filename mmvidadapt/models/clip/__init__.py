"""The CLIP encoders; this room knows nothing of methods."""

from .arch import TextArch, VisionArch, text_arch, vision_arch
from .block import ResidualAttentionBlock, Transformer
from .layout import TokenLayout
from .text_encoder import CLIPTextEncoder
from .viclip import ViCLIPVisionEncoder
from .vision_encoder import CLIPVisionEncoder, EncoderOutput

__all__ = [
    'CLIPTextEncoder', 'CLIPVisionEncoder', 'EncoderOutput',
    'ResidualAttentionBlock', 'TextArch', 'TokenLayout', 'Transformer',
    'ViCLIPVisionEncoder', 'VisionArch', 'text_arch', 'vision_arch'
]
