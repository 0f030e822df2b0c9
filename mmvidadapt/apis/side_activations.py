"""Where in a clip the tokens of a side network are large."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, Dict

import torch
from torch import Tensor, nn

from ..models.backbones.side_clip_vit import SideCLIPViT
from .watching import watching


def side_activations(backbone: nn.Module, clip: Tensor) -> Dict[str, Tensor]:
    """L2 norm over the channels of every side token, part by part.

    Runs the backbone once, in eval mode, and leaves it as it was.

    Source: TDS-CLIP, arXiv 2408.10688, Fig. 5, which does not say which
    layer it shows.

    Args:
        backbone (nn.Module): A ``SideCLIPViT``.
        clip (Tensor): ``(B, 3, T*window, H, W)``, as the backbone reads it.

    Returns:
        dict[str, Tensor]: ``'stem'``, ``'block 0'``, ``'block 1'``, ... ->
        ``(B, T, rows, columns)``, float32.

    Raises:
        ValueError: If the backbone has no side network.
    """
    if not isinstance(backbone, SideCLIPViT):
        raise ValueError(f'{type(backbone).__name__} has no side network to '
                         'look into: use a model with SideCLIPViT')
    grid = backbone.encoder.arch.grid_size
    parts: Dict[str, nn.Module] = {'stem': backbone.stem}
    parts.update((f'block {i}', block)
                 for i, block in enumerate(backbone.blocks))
    found: Dict[str, Tensor] = {}

    def keep(name: str, module: nn.Module, args: Any, tokens: Tensor) -> None:
        norms = torch.linalg.vector_norm(
            tokens, dim=-1, dtype=torch.float32)  # (B*T, N)
        found[name] = norms.view(-1, backbone.num_frames, *grid)

    with watching(backbone, {module: partial(keep, name)
                             for name, module in parts.items()}):
        backbone(clip)
    return found


@contextmanager
def without_sme(backbone: SideCLIPViT) -> Iterator[None]:
    """Leave the frame differences of the SME-Adapter out for a while.

    Side tokens are then those of the centre frames alone (Eq. 3 with
    ``alpha=0``); no weight changes.

    Args:
        backbone (SideCLIPViT): A model with an SME-Adapter.

    Yields:
        None: While it is switched off.

    Raises:
        ValueError: If there is none.
    """
    stem = backbone.stem
    if stem.window == 1:
        raise ValueError('the side network has window=1, so no SME-Adapter '
                         'to switch off: use a model with a wider window')
    alpha = stem.alpha
    try:
        stem.alpha = 0.
        yield
    finally:
        stem.alpha = alpha
