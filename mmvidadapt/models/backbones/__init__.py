"""Backbones: clips in, frame features out."""

from .clip_vit import CLIPViT
from .side_clip_vit import PRESETS, SideCLIPViT

__all__ = ['PRESETS', 'CLIPViT', 'SideCLIPViT']
