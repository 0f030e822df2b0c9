"""Numbers of the released ViCLIP at toy size.

What the file holds is described in the README beside it.
"""

from pathlib import Path
from typing import Any

import torch

#: Sizes of its towers, in our terms.
VISION = dict(embed_dims=64, num_layers=3, num_heads=4, patch_size=16,
              image_size=48, output_dims=32)
TEXT = dict(embed_dims=48, num_layers=3, num_heads=4, output_dims=32,
            context_length=32, vocab_size=512)
FRAMES = 4


def load_golden(folder: Path) -> dict[str, Any]:
    """Read the file.

    Args:
        folder (Path): Folder of the parity data.

    Returns:
        dict[str, Any]: Weights, inputs, outputs and facts about loading.
    """
    return torch.load(folder / 'viclip_tiny.pt', weights_only=True)
