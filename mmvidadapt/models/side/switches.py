"""What a side network computes and its shapes do not tell."""

from collections.abc import Sequence
from typing import Any


def side_switches(*, num_frames: int, num_heads: int, window: int,
                  alpha: float | None, beta: float, stem_padding: int,
                  td_layers: Sequence[int], difference: str, kernel_size: int,
                  clip_heads: int, act: str,
                  out_type: str | None = None) -> dict[str, Any]:
    """The switches that a checkpoint of a side network remembers.

    What has no effect is left out: the weight of frame differences where a
    window has one frame, the TD-Adapter's difference where no layer has one.

    Args:
        num_frames (int): Windows ``T`` of a clip.
        num_heads (int): Heads of a side block.
        window (int): Frames of a local window.
        alpha (float | None): Weight of the frame differences.
        beta (float): Weight of the centre frame.
        stem_padding (int): Zeros around a frame in the stem.
        td_layers (Sequence[int]): Side blocks with the TD-Adapter.
        difference (str): Its difference.
        kernel_size (int): Frames of its pool or convolution.
        clip_heads (int): Heads of CLIP.
        act (str): CLIP's activation.
        out_type (str | None): What CLIP's frame features are read from, if
            they are read at all.

    Returns:
        dict[str, Any]: By the names of the options.
    """
    switches: dict[str, Any] = {
        'num_frames': num_frames, 'num_heads': num_heads, 'beta': beta,
        'stem_padding': stem_padding, 'encoder.arch.num_heads': clip_heads,
        'encoder.act': act}
    if out_type is not None:
        switches['encoder.out_type'] = out_type
    if window > 1:
        switches['alpha'] = alpha
    if td_layers:
        switches.update(difference=difference, kernel_size=kernel_size)
    return switches
