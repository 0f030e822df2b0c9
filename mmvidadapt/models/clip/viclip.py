"""ViCLIP's video tower: joint attention over space and time."""

from typing import Any, Tuple

import torch
import torch.nn.functional as F
from mmaction.registry import MODELS
from torch import Tensor, nn

from .arch import VisionArch
from .layout import TokenLayout
from .vision_encoder import CLIPVisionEncoder, freeze
from .weights import TEMPORAL_RESIZES, resize_frames


class TubeletConv(nn.Conv3d):
    """Embed tubelets, which do not overlap, by one 2-D convolution.

    Its weight ``(D, 3, t, p, p)`` is that of a 3-D convolution, whose kernels
    are slower where ``t`` is 1.

    Args:
        embed_dims (int): Channels ``D``.
        tubelet_size (int): Frames ``t``.
        patch_size (int): Pixels ``p``.
    """

    def __init__(self, embed_dims: int, tubelet_size: int,
                 patch_size: int) -> None:
        size = (tubelet_size, patch_size, patch_size)
        super().__init__(3, embed_dims, size, size, bias=False)

    def forward(self, frames: Tensor) -> Tensor:
        """Map frames ``(B*T, 3, H, W)`` to ``(B*T/t, D, H/p, W/p)``."""
        frames = frames.unflatten(0, (-1, self.kernel_size[0])).flatten(1, 2)
        weight = self.weight.transpose(1, 2).flatten(1, 2)  # (D, t*3, p, p)
        return F.conv2d(frames, weight, stride=self.stride[1:])


@MODELS.register_module()
class ViCLIPVisionEncoder(CLIPVisionEncoder):
    """CLIP's image tower with attention over all frames of a clip.

    ::

        (B*T,3,H,W) -> tubelets + positions + temporal embedding
                    -> one class token, patches (n, t) in space-major order
                    -> ln_pre, blocks -> class token -> (B, 1, D)

    Parameter names are ViCLIP's. The blocks are those of
    :class:`CLIPVisionEncoder`, so adapters of kind ``'joint'`` work in them.
    Takes the other arguments of that class as well.

    Source: *InternVid*, ICLR 2024, Sec. 4 (ViCLIP), and facts about the
    released program (no code of it is used).

    Args:
        arch (str | dict | VisionArch): ``'ViCLIP-B-16'``, ``'ViCLIP-L-14'``,
            or as for :class:`CLIPVisionEncoder`.
        act (str): ``'quick_gelu'`` for the released weights.
        weights (str | None): A file of ViCLIP, or weights of CLIP as for
            :class:`CLIPVisionEncoder`, whose patch kernel then sees the
            middle frame of a tubelet and whose temporal embedding is zero.
            Tags are those of the CLIP of the same sizes.
        num_frames (int): Frames of a clip, for which there are temporal
            positions.
        tubelet_size (int): Frames ``t`` of a patch; 1 in released weights.
        temporal_resize (str | None): How a temporal embedding serves another
            number of frames, in eval mode and when weights are loaded. One
            frame gets its mean, fewer frames its first rows. More frames get
            it interpolated (``'linear'``), or zeros behind its rows
            (``'zeros'``, what ViCLIP's own loader does). ``None`` refuses any
            other number but one.

    Raises:
        ValueError: If an option is not valid.
    """

    kind = 'joint'

    def __init__(self,
                 arch: str | dict | VisionArch,
                 act: str,
                 weights: str | None = None,
                 num_frames: int = 8,
                 tubelet_size: int = 1,
                 temporal_resize: str | None = 'linear',
                 **kwargs: Any) -> None:
        if min(num_frames, tubelet_size) < 1 or num_frames % tubelet_size:
            raise ValueError(
                f'num_frames={num_frames} is no positive multiple of '
                f'tubelet_size={tubelet_size}: change one of them')
        if temporal_resize not in TEMPORAL_RESIZES:
            raise ValueError(
                f'unknown temporal_resize={temporal_resize!r}: use one of '
                f'{", ".join(map(repr, TEMPORAL_RESIZES))}')
        super().__init__(arch, act, weights, **kwargs)
        if not self.arch.pre_norm:
            raise ValueError(
                'pre_norm=False in arch is an image model that is no CLIP, '
                'and a ViCLIP begins with a norm: use a CLIPVisionEncoder')
        if (not self.arch.abs_pos_emb or self.arch.rel_pos_bias
                or self.out_type != 'cls_token'):
            raise ValueError(
                'a ViCLIP has positions, no relative ones, and one class '
                'token for a clip: remove abs_pos_emb and rel_pos_bias from '
                'arch and out_type from encoder, or use a CLIPVisionEncoder')
        self.tubelet_size = tubelet_size
        self.temporal_resize = temporal_resize
        width = self.arch.embed_dims
        self.conv1 = TubeletConv(width, tubelet_size, self.arch.patch_size)
        self.temporal_positional_embedding = nn.Parameter(
            torch.zeros(1, num_frames // tubelet_size, width))
        if self.frozen:
            freeze(self)

    def embed(self, frames: Tensor,
              num_frames: int) -> Tuple[Tensor, TokenLayout]:
        """Patches of all frames behind one class token, before ``ln_pre``.

        Args:
            frames (Tensor): ``(B*T, 3, H, W)``, clip-major, frame-minor.
            num_frames (int): Frames ``T`` of each clip.

        Returns:
            tuple[Tensor, TokenLayout]: Tokens ``(B, 1+N*T', D)`` with
            ``T' = T / tubelet_size``, and their layout.

        Raises:
            ValueError: If the encoder cannot serve so many frames.
        """
        temporal = self._temporal_positions(num_frames)  # (1, T', D)
        x, grid = self.patches(frames)  # (B*T', N, D)
        places = self.positional_embedding
        assert places is not None  # __init__ refuses abs_pos_emb=False
        layout = TokenLayout(self.kind, temporal.shape[1], grid)
        x = (x + places[1:]).unflatten(0, (-1, layout.num_frames))
        x = (x + temporal[:, :, None]).transpose(1, 2).flatten(1, 2)
        cls = (self.class_embedding + places[0]).to(x.dtype)
        return torch.cat([cls.expand(x.shape[0], 1, -1), x], dim=1), layout

    def _temporal_positions(self, num_frames: int) -> Tensor:
        table = self.temporal_positional_embedding
        if num_frames % self.tubelet_size:
            raise ValueError(
                f'clips of {num_frames} frames cannot be cut into tubelets of '
                f'{self.tubelet_size}: sample a multiple of it')
        count = num_frames // self.tubelet_size
        trained = table.shape[1]
        if count not in (1, trained) and (
                self.training or self.temporal_resize is None):
            raise ValueError(
                f'clips of {num_frames} frames have no positions in a '
                f'temporal embedding of {trained * self.tubelet_size} frames: '
                'sample as many, or '
                + (f'set num_frames={num_frames}' if self.training else
                   "set temporal_resize='linear'"))
        return resize_frames(table, count, self.temporal_resize)
