"""Backbones: clips in, frame features out."""

from .clip_vit import CLIPViT

__all__ = ['CLIPViT']
