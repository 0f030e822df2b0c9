"""CLIP's image tower over the frames of clips."""

from typing import NamedTuple, Sequence, Tuple

import torch
from mmaction.registry import MODELS
from mmengine.model import BaseModule
from torch import Tensor, nn

from ..frozen_weights import FrozenWeights
from .arch import VisionArch, arch_name, vision_arch
from .block import Transformer
from .layout import TokenLayout
from .weights import load_vision_weights

#: What a frame feature is read from, in mmpretrain's words.
OUT_TYPES = ('cls_token', 'avg_featmap')


class EncoderOutput(NamedTuple):
    """What an encoder returns: tokens, their layout, states of readers."""

    tokens: Tensor
    layout: TokenLayout
    states: list


def freeze(module: nn.Module) -> None:
    """Switch a module to eval mode without gradients, by object."""
    module.requires_grad_(False)
    module.train(False)


@MODELS.register_module()
class CLIPVisionEncoder(BaseModule):
    """A Vision Transformer with OpenAI's parameter names.

    Adapters are handed to :meth:`forward`; the encoder never owns any, so its
    state dict is CLIP's and loads strictly. With ``pre_norm=False`` in
    ``arch`` it is any other plain ViT with a class token (MAE, DINO, DeiT),
    with ``rel_pos_bias=True`` and ``abs_pos_emb=False`` as well a BEiT.

    Attributes:
        kind (str): Layout of its tokens.

    Args:
        arch (str | dict | VisionArch): An open_clip model name
            (``'ViT-B-16'``), the fields of :class:`VisionArch`, or both, as in
            ``dict(name='ViT-B-16', image_size=336)``.
        act (str): ``'quick_gelu'`` (OpenAI's weights) or ``'gelu'``; stated,
            never guessed, and checked against ``weights``.
        weights (str | None): An open_clip tag or a file, see
            :func:`mmvidadapt.models.clip.weights.load_vision_weights`. Read
            by :meth:`init_weights`.
        post_norm (bool): Whether to keep ``ln_post``.
        project (bool): Whether to map frame features into the joint
            image-text space.
        out_type (str): What the feature of a frame is read from:
            ``'cls_token'``, or the mean over its patches
            (``'avg_featmap'``), which ``ln_post`` then normalises. Checked
            against ``weights`` in mmpretrain's layout.
        frozen (bool): Keep every parameter as it is and stay in eval mode.
        drop_path_rate (float): Stochastic depth of the last block; it grows
            linearly from 0 at the first. Whole clips are dropped.
        with_cp (bool): Recompute blocks in backward to save memory.
        save_frozen (bool): Keep frozen tensors in checkpoints that
            ``weights`` could restore, see
            :mod:`mmvidadapt.models.frozen_weights`.
        init_cfg (dict | None): mmengine's initialisation config.

    Raises:
        ValueError: If a size, the activation or the weights are not valid.
    """

    kind = 'framewise'

    def __init__(self,
                 arch: str | dict | VisionArch,
                 act: str,
                 weights: str | None = None,
                 post_norm: bool = True,
                 project: bool = False,
                 out_type: str = 'cls_token',
                 frozen: bool = False,
                 drop_path_rate: float = 0.,
                 with_cp: bool = False,
                 save_frozen: bool = False,
                 init_cfg: dict | None = None) -> None:
        super().__init__(init_cfg)
        if out_type not in OUT_TYPES:
            raise ValueError(f'unknown out_type={out_type!r}: use '
                             f'{" or ".join(OUT_TYPES)}')
        self.out_type = out_type
        self.arch_name = arch_name(arch)
        self.arch = arch = vision_arch(arch)
        self.act = act
        self.weights = weights
        self.frozen = frozen
        width, scale = arch.embed_dims, arch.embed_dims**-0.5
        rows, cols = arch.grid_size
        self.conv1 = nn.Conv2d(3, width, arch.patch_size, arch.patch_size,
                               bias=not arch.pre_norm)
        self.class_embedding = nn.Parameter(scale * torch.randn(width))
        self.positional_embedding = nn.Parameter(
            scale * torch.randn(1 + rows * cols, width)
        ) if arch.abs_pos_emb else None
        self.ln_pre = nn.LayerNorm(width) if arch.pre_norm else nn.Identity()
        self.transformer = Transformer(
            width, arch.num_layers, arch.num_heads, act, arch.mlp_ratio,
            drop_path_rate=drop_path_rate, with_cp=with_cp,
            rel_pos_grid=arch.grid_size if arch.rel_pos_bias else None)
        self.ln_post = nn.LayerNorm(width) if post_norm else nn.Identity()
        self.proj = nn.Parameter(
            scale * torch.randn(width, arch.output_dims)) if project else None
        for module in self.modules():
            if isinstance(module, nn.LayerNorm):
                module.eps = arch.norm_eps
        if frozen:
            freeze(self)
        self.frozen_weights = FrozenWeights(
            self, load_vision_weights, save_frozen)

    @property
    def output_dims(self) -> int:
        """Channels of :meth:`class_features`."""
        return (self.arch.embed_dims
                if self.proj is None else self.arch.output_dims)

    def init_weights(self) -> None:
        """Load ``weights``, if any were named."""
        if not self._is_init:
            super().init_weights()
            if self.weights is not None:
                self.frozen_weights.load()

    def train(self, mode: bool = True) -> 'CLIPVisionEncoder':
        """Set the mode; a frozen encoder stays in eval mode."""
        return super().train(mode and not self.frozen)

    def embed(self, frames: Tensor,
              num_frames: int) -> Tuple[Tensor, TokenLayout]:
        """Patches with class token and positions, before ``ln_pre``.

        Args:
            frames (Tensor): ``(B*T, 3, H, W)``, clip-major, frame-minor.
            num_frames (int): Frames ``T`` of each clip.

        Returns:
            tuple[Tensor, TokenLayout]: Tokens ``(B*T, 1+N, D)`` and their
            layout.
        """
        x, grid = self.patches(frames)
        cls = self.class_embedding.to(x.dtype).expand(x.shape[0], 1, -1)
        x = torch.cat([cls, x], dim=1)
        if self.positional_embedding is not None:
            x = x + self.positional_embedding
        return x, TokenLayout(self.kind, num_frames, grid)

    def patches(self, frames: Tensor) -> Tuple[Tensor, Tuple[int, int]]:
        """Patches of frames, without positions.

        Args:
            frames (Tensor): ``(B*T, 3, H, W)``.

        Returns:
            tuple[Tensor, tuple[int, int]]: ``(B*T, N, D)`` and the patch
            grid.

        Raises:
            ValueError: If the frame size is not the one of the encoder.
        """
        size = (self.arch.image_size, ) * 2
        if tuple(frames.shape[-2:]) != size:
            raise ValueError(
                f'frames of {tuple(frames.shape[-2:])} pixels do not fit an '
                f'encoder built for {size}: change the crop size of the '
                'pipeline or image_size in arch')
        x = self.conv1(frames)  # (B*T, D, h, w)
        return x.flatten(2).transpose(1, 2), (x.shape[-2], x.shape[-1])

    def forward(self, frames: Tensor, num_frames: int,
                stacks: Sequence[nn.Module] = ()) -> EncoderOutput:
        """Encode the frames of clips.

        Args:
            frames (Tensor): ``(B*T, 3, H, W)``, clip-major, frame-minor.
            num_frames (int): Frames ``T`` of each clip.
            stacks (Sequence[nn.Module]): Adapters from every owner.

        Returns:
            EncoderOutput: Tokens after the last block in the shape of
            :meth:`embed`, their layout, and the states of the readers.

        Raises:
            ValueError: If the frames do not fit the encoder.
        """
        with torch.set_grad_enabled(torch.is_grad_enabled()
                                    and not self.frozen):
            x, layout = self.embed(frames, num_frames)
            # Under autocast the residual stream stays in the precision of
            # the weights, on any device.
            x = self.ln_pre(x.to(self.class_embedding.dtype))
        return EncoderOutput(
            *self.transformer(x, layout, stacks, frozen=self.frozen))

    def class_features(self, tokens: Tensor, layout: TokenLayout) -> Tensor:
        """Features of frames, from class tokens or from means over patches.

        Args:
            tokens (Tensor): Tokens after the last block.
            layout (TokenLayout): Their layout.

        Returns:
            Tensor: ``(B, T', output_dims)``, not L2-normalised; ``T'`` is 1
            in a joint layout.
        """
        return self.to_features(
            layout.class_tokens(tokens) if self.out_type == 'cls_token'
            else layout.mean_patches(tokens))

    def to_features(self, tokens: Tensor) -> Tensor:
        """What becomes of a class token: norm and projection.

        Args:
            tokens (Tensor): Tokens after the last block, ``(..., D)``.

        Returns:
            Tensor: ``(..., output_dims)``, not L2-normalised.
        """
        x = self.ln_post(tokens)
        return x if self.proj is None else x @ self.proj
