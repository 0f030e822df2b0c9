"""The side network's own way into the pixels, with the SME-Adapter."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class PatchConv3d(nn.Module):
    """``Conv3d`` with a kernel of (3, P, P) and stride (1, P, P) on patches.

    One matrix product gives what each patch adds to the frame before, its own
    and the one after; three shifted views of it are added up.

    Args:
        patch_dims (int): Values of a patch, ``C*P*P``.
        embed_dims (int): Output channels ``D``.
    """

    def __init__(self, patch_dims: int, embed_dims: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(3 * embed_dims, patch_dims))
        self.bias = nn.Parameter(torch.empty(embed_dims))
        bound = 1 / math.sqrt(3 * patch_dims)  # that of nn.Conv3d
        nn.init.uniform_(self.weight, -bound, bound)
        nn.init.uniform_(self.bias, -bound, bound)

    def forward(self, patches: Tensor) -> Tensor:
        """Convolve.

        Args:
            patches (Tensor): ``(B, T, N, C*P*P)``.

        Returns:
            Tensor: ``(B, T, N, D)``; zeros stand for frames beyond the clip.
        """
        y = F.linear(patches, self.weight)
        # Tap k of frame t belongs to the output of frame t + 1 - k.
        after, here, before = y.chunk(3, dim=-1)
        before = F.pad(before[:, 1:], (0, 0, 0, 0, 0, 1))
        after = F.pad(after[:, :-1], (0, 0, 0, 0, 1, 0))
        return here + before + after + self.bias


class SideStem(nn.Module):
    """Centre frames plus motion (the SME-Adapter) as side tokens.

    ::

        window of frames --patchify--> centre --conv--> BatchNorm -- beta --+
                              |                                             +-> tokens
                              +-> x[m+1] - x[m] --conv--> BatchNorm - alpha-+

    Source: TDS-CLIP, Eq. 2 and 3. The kernels, the norms and the padding are
    those of the released program: patches start ``padding`` pixels above and
    left of CLIP's.

    Args:
        embed_dims (int): Side channels ``D``.
        patch_size (int): Side ``P`` of a patch in pixels.
        window (int): Frames of a local window; 1 leaves the motion out.
        alpha (float): Weight of the motion (difference) path.
        beta (float): Weight of the centre path.
        padding (int): Zeros around a frame, in pixels.
    """  # noqa: E501

    def __init__(self, embed_dims: int, patch_size: int, window: int,
                 alpha: float, beta: float, padding: int) -> None:
        super().__init__()
        self.patch_size = patch_size
        self.window = window
        self.alpha = alpha
        self.beta = beta
        self.padding = padding
        self.frame_dims = 3 * patch_size**2
        self.centre = PatchConv3d(self.frame_dims, embed_dims)
        self.centre_norm = nn.BatchNorm1d(embed_dims)
        if window > 1:
            self.difference = PatchConv3d(
                (window - 1) * self.frame_dims, embed_dims)
            self.difference_norm = nn.BatchNorm1d(embed_dims)

    def patchify(self, clip: Tensor) -> Tensor:
        """Cut every frame of every window into patches.

        Args:
            clip (Tensor): ``(B, 3, T*window, H, W)``.

        Returns:
            Tensor: ``(B, T, N, window, 3*P*P)``.
        """
        size = self.patch_size
        if self.padding:
            # The last rows and columns make room for the zeros of the first.
            height, width = clip.shape[-2:]
            clip = F.pad(clip, (self.padding, 0, self.padding, 0))
            clip = clip[..., :height, :width]
        x = clip.unflatten(-1, (-1, size)).unflatten(-3, (-1, size))
        x = x.unflatten(2, (-1, self.window))  # (B, 3, T, m, h, P, w, P)
        x = x.permute(0, 2, 4, 6, 3, 1, 5, 7)  # (B, T, h, w, m, 3, P, P)
        return x.flatten(5).flatten(2, 3)

    def forward(self, clip: Tensor) -> Tensor:
        """Make the side tokens of a batch of clips.

        Args:
            clip (Tensor): ``(B, 3, T*window, H, W)``, normalised; frame
                ``t*window + m`` is frame ``m`` of window ``t``.

        Returns:
            Tensor: ``(B*T, N, D)``.
        """
        patches = self.patchify(clip)
        x = self.centre(patches[..., self.window // 2, :])  # (B, T, N, D)
        shape = x.shape
        x = self.centre_norm(x.flatten(0, 2))
        if self.beta != 1:
            x = x * self.beta
        if self.window > 1:
            motion = patches[..., 1:, :] - patches[..., :-1, :]  # Eq. 2
            motion = self.difference(motion.flatten(3))
            motion = self.difference_norm(motion.flatten(0, 2))
            x = x + self.alpha * motion  # Eq. 3
        return x.view(-1, *shape[2:])
