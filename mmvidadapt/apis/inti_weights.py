"""The weight of every frame in what InTI makes of a clip."""

from typing import List

import torch
from torch import Tensor, nn

from .watching import watching


def frame_weights(backbone: nn.Module, clip: Tensor) -> Tensor:
    """Weights of the original frames after all merging adapters.

    A frame's weight at a token place is the product of the weights along its
    path, so the weights of all frames that end in one token sum to 1 (with
    InTI's sigmoid head they need not). Runs the backbone once, in eval mode,
    and leaves it as it was.

    Source: *Dynamic and Compressive Adaptation of Transformers From Images to
    Videos*, ECCV 2024, Fig. 4 ("cascadedly multiplying the predicted
    weights").

    Args:
        backbone (nn.Module): A backbone with InTI or LinearPooling inside
            (several, and other adapters, are fine).
        clip (Tensor): ``(B, 3, T, H, W)``, as the backbone reads it.

    Returns:
        Tensor: ``(B, T, 1+N)``, float32; class token first.

    Raises:
        ValueError: If nothing in the backbone predicts weights, or something
            merges frames without any.
    """
    merging = [
        m for m in backbone.modules()
        if hasattr(m, 'frames_after') and m.frames_after(2) < 2
    ]
    for adapter in merging:
        if not hasattr(adapter, 'predict_weights'):
            raise ValueError(
                f'{type(adapter).__name__} merges frames without weights: '
                'look at a model whose frames only InTI or LinearPooling '
                'merge')
    if not merging:
        raise ValueError(f'{type(backbone).__name__} holds no adapter that '
                         'weighs frames: add InTI or LinearPooling')
    path = _Path(clip.shape[2])
    with watching(backbone, {m: path.follow for m in merging}, before=True):
        backbone(clip)
    return path.weights()


class _Path:
    """Follows the frames of a clip through the adapters that merge them.

    Args:
        num_frames (int): Frames of the clip.
    """

    def __init__(self, num_frames: int) -> None:
        # Which current frame each original frame went into.
        self.frame_of = torch.arange(num_frames)
        self.factors: List[Tensor] = []

    def follow(self, module: nn.Module, args: tuple) -> None:
        """Forward pre-hook: predict the weights, and step to the pairs."""
        x, layout = args[:2]
        weights = module.predict_weights(x, layout)  # (B, T/2, 1+N, 2)
        weights = weights.transpose(2, 3).flatten(1, 2)  # (B, T, 1+N)
        if layout.num_frames % 2:
            # The last frame was repeated: it has both weights of its pair.
            last = weights[:, -2:].sum(dim=1, keepdim=True)
            weights = torch.cat([weights[:, :-2], last], dim=1)
        self.factors.append(weights[:, self.frame_of.to(weights.device)])
        self.frame_of = self.frame_of // 2

    def weights(self) -> Tensor:
        """The product of all factors, ``(B, T, 1+N)``."""
        return torch.stack(self.factors).prod(dim=0)
