"""The weight of every frame in what InTI makes of a clip."""

from collections.abc import Sequence

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
    return path_weights(pair_weights(backbone, clip))


def path_weights(pairs: Sequence[Tensor]) -> Tensor:
    """The product of the weights along the path of each frame.

    Args:
        pairs (Sequence[Tensor]): Of :func:`pair_weights`.

    Returns:
        Tensor: ``(B, T, 1+N)``, as of :func:`frame_weights`.
    """
    # Which current frame each original frame went into.
    frame_of = torch.arange(pairs[0].shape[1], device=pairs[0].device)
    product = torch.ones_like(pairs[0])
    for weights in pairs:
        product = product * weights[:, frame_of]
        frame_of = frame_of // 2
    return product


def pair_weights(backbone: nn.Module, clip: Tensor) -> list[Tensor]:
    """The weight of each frame in its pair, at every merging adapter.

    Runs the backbone once, in eval mode, and leaves it as it was.

    Args:
        backbone (nn.Module): As for :func:`frame_weights`.
        clip (Tensor): ``(B, 3, T, H, W)``, as the backbone reads it.

    Returns:
        list[Tensor]: In the order of the blocks, ``(B, T_in, 1+N)`` of the
        ``T_in`` frames that enter the adapter, float32; class token first. A
        last frame that was repeated, to make a pair, has both weights.

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
    found: list[Tensor] = []

    def keep(module: nn.Module, args: tuple) -> None:
        x, layout = args[:2]
        weights = module.predict_weights(x, layout)  # (B, T/2, 1+N, 2)
        weights = weights.transpose(2, 3).flatten(1, 2)  # (B, T, 1+N)
        if layout.num_frames % 2:
            last = weights[:, -2:].sum(dim=1, keepdim=True)
            weights = torch.cat([weights[:, :-2], last], dim=1)
        found.append(weights)

    with watching(backbone, {m: keep for m in merging}, before=True):
        backbone(clip)
    return found
