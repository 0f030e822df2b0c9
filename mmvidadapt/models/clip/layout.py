"""The shape of the token grid, which travels beside the tokens."""

from dataclasses import dataclass, replace
from typing import Tuple

from torch import Tensor

KINDS = ('framewise', 'joint', 'text')


@dataclass(frozen=True)
class TokenLayout:
    """What the axes of a token tensor mean.

    No module stores ``T``: an adapter that merges frames returns a new layout
    and every later block, adapter and reader follows it.

    Args:
        kind (str): ``'framewise'`` for tokens ``(B*T, 1+N, D)`` (clip-major,
            frame-minor, class token first), ``'joint'`` for
            ``(B, 1+N*T, D)`` (one class token per clip, then patches
            space-major, frame-minor: patch ``n`` of frame ``t`` is token
            ``1 + n*T + t``) or ``'text'`` for ``(B, L, D)``.
        num_frames (int): Frames ``T`` of a clip; 1 for text.
        grid_size (tuple[int, int]): Patch rows and columns, ``N = h*w``;
            ``(L, 1)`` for text.

    Raises:
        ValueError: If ``kind`` is unknown or a size is not positive.
    """

    kind: str
    num_frames: int
    grid_size: Tuple[int, int]

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f'unknown token layout {self.kind!r}: '
                             f'use one of {", ".join(KINDS)}')
        if self.num_frames < 1 or min(self.grid_size) < 1:
            raise ValueError(
                f'a token layout needs positive sizes, got num_frames='
                f'{self.num_frames} and grid_size={self.grid_size}: check the '
                'shape of the clip')

    @property
    def num_patches(self) -> int:
        """Patches ``N`` of one frame."""
        return self.grid_size[0] * self.grid_size[1]

    def with_frames(self, num_frames: int) -> 'TokenLayout':
        """The same layout for another frame count."""
        return replace(self, num_frames=num_frames)

    def split_frames(self, x: Tensor) -> Tensor:
        """View framewise tokens by clip.

        Shapes:
            - Input: ``(B*T, L, D)``.
            - Output: ``(B, T, L, D)``.
        """
        if self.kind != 'framewise' or x.shape[0] % self.num_frames:
            raise ValueError(
                f'cannot split {tuple(x.shape)} tokens of a {self.kind} '
                f'layout into clips of {self.num_frames} frames: pass the '
                'layout that belongs to these tokens')
        return x.unflatten(0, (-1, self.num_frames))

    def class_tokens(self, x: Tensor) -> Tensor:
        """View the class tokens by clip.

        Shapes:
            - Input: ``(B*T, 1+N, D)``, or ``(B, 1+N*T, D)`` in a joint
              layout.
            - Output: ``(B, T, D)``, or ``(B, 1, D)``.
        """
        if self.kind == 'joint':
            return x[:, :1]
        return self.split_frames(x)[:, :, 0]

    def mean_patches(self, x: Tensor) -> Tensor:
        """Average the patch tokens of each frame.

        Shapes:
            - Input: ``(B*T, 1+N, D)``.
            - Output: ``(B, T, D)``, without the class token.
        """
        return self.split_frames(x)[:, :, 1:].mean(dim=2)

    def split_patches(self, x: Tensor) -> Tensor:
        """View the patch tokens of a joint layout by place and frame.

        Shapes:
            - Input: ``(B, 1+N*T, D)``.
            - Output: ``(B, N, T, D)``, without the class token.
        """
        if self.kind != 'joint' or (
                x.shape[1] != 1 + self.num_patches * self.num_frames):
            raise ValueError(
                f'cannot split {tuple(x.shape)} tokens of a {self.kind} '
                f'layout into {self.num_patches} patches of '
                f'{self.num_frames} frames: pass the layout that belongs to '
                'these tokens')
        return x[:, 1:].unflatten(1, (self.num_patches, self.num_frames))
