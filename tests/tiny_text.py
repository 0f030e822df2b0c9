"""A CLIP whose text tower reads CLIP's own tokens, of tiny width."""

from pathlib import Path

import open_clip
import torch
from torch import nn

from tests.tiny_clip import randomize

#: Sizes of the tower, as ``arch`` of ``text``.
TEXT = dict(embed_dims=16, num_layers=2, num_heads=2, output_dims=24)
NAMES = ['brush_hair', 'ApplyEyeMakeup', 'air drumming', 'tai chi',
         'surfing', 'YoYo', 'juggling']


def reference() -> nn.Module:
    """open_clip's model with the sizes above and random weights."""
    model = open_clip.CLIP(
        24,
        vision_cfg=dict(image_size=32, layers=1, width=32, head_width=16,
                        patch_size=16),
        text_cfg=dict(width=16, heads=2, layers=2), quick_gelu=True)
    return randomize(model).eval()


def text(folder: Path, **changes: object) -> dict:
    """``text`` of a head, with weights and cache in ``folder``."""
    path = folder / 'clip.pt'
    if not path.is_file():
        torch.save(reference().state_dict(), path)
    return {**dict(arch=TEXT, act='quick_gelu', weights=str(path),
                   cache_dir=str(folder / 'cache')), **changes}
