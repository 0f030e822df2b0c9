"""What the adapters share that merge neighbouring frames two by two."""

import torch
from torch import Tensor

from ..clip.layout import TokenLayout
from .base import Adapter


class FramePairs(Adapter):
    """Base of the adapters that turn frames ``2j`` and ``2j+1`` into one.

    Args:
        num_frames (int): Frames that enter the adapter.
        layer (int | None): Block in front of which it sits; only for
            messages.
        pad_odd (bool): Repeat the last frame of a clip when ``num_frames`` is
            odd, instead of refusing it.

    Raises:
        ValueError: If ``num_frames`` is odd and ``pad_odd`` is off.
    """

    point = 'pre_block'
    kinds = ('framewise', )

    def __init__(self, num_frames: int, layer: int | None = None,
                 pad_odd: bool = False) -> None:
        super().__init__()
        self.layer = layer
        self.pad_odd = pad_odd
        self.frames_after(num_frames)

    def frames_after(self, num_frames: int) -> int:
        """Pairs of ``num_frames`` frames.

        Args:
            num_frames (int): Frames that enter.

        Returns:
            int: Frames that leave.

        Raises:
            ValueError: If the number is odd and ``pad_odd`` is off.
        """
        if num_frames % 2 and not self.pad_odd:
            place = '' if self.layer is None else f' before block {self.layer}'
            raise ValueError(
                f'{type(self).__name__}{place} cannot pair {num_frames} '
                'frames: use an even number of frames, divisible by 2^k for k '
                'adapters that merge frames, or set pad_odd=True')
        return (num_frames + 1) // 2

    def split_pairs(self, x: Tensor, layout: TokenLayout) -> Tensor:
        """View the tokens of clips as pairs of frames.

        Args:
            x (Tensor): ``(B*T, 1+N, C)``.
            layout (TokenLayout): Their layout.

        Returns:
            Tensor: ``(B, T/2, 2, 1+N, C)``.

        Raises:
            ValueError: If ``T`` is odd and ``pad_odd`` is off, or the tokens
                do not fit the layout.
        """
        self.frames_after(layout.num_frames)
        if x.shape[1] != 1 + layout.num_patches:
            raise ValueError(
                f'{type(self).__name__} got {x.shape[1]} tokens per frame '
                f'where the {layout.grid_size} grid and the class token make '
                f'{1 + layout.num_patches}: pass the layout that belongs to '
                'these tokens')
        x = layout.split_frames(x)  # (B, T, 1+N, C)
        if layout.num_frames % 2:
            x = torch.cat([x, x[:, -1:]], dim=1)
        return x.unflatten(1, (-1, 2))
