"""CLIP's text tower."""

from typing import Sequence

import torch
from mmaction.registry import MODELS
from mmengine.model import BaseModule
from torch import Tensor, nn

from ..frozen_weights import FrozenWeights
from .arch import TextArch, arch_name, text_arch
from .block import Transformer
from .layout import TokenLayout
from .vision_encoder import freeze
from .weights import load_text_weights


@MODELS.register_module()
class CLIPTextEncoder(BaseModule):
    """A causal transformer over tokens with OpenAI's parameter names.

    Args:
        arch (str | dict | TextArch): An open_clip model name
            (``'ViT-B-16'``), the fields of :class:`TextArch`, or both, as in
            ``dict(name='ViT-B-16', context_length=32)``.
        act (str): ``'quick_gelu'`` (OpenAI's weights) or ``'gelu'``.
        weights (str | None): As for :class:`CLIPVisionEncoder`.
        frozen (bool): Keep every parameter as it is and stay in eval mode.
        with_cp (bool): Recompute blocks in backward to save memory.
        save_frozen (bool): As for :class:`CLIPVisionEncoder`.
        init_cfg (dict | None): mmengine's initialisation config.

    Raises:
        ValueError: If a size, the activation or the weights are not valid.
    """

    def __init__(self,
                 arch: str | dict | TextArch,
                 act: str,
                 weights: str | None = None,
                 frozen: bool = False,
                 with_cp: bool = False,
                 save_frozen: bool = False,
                 init_cfg: dict | None = None) -> None:
        super().__init__(init_cfg)
        self.arch_name = arch_name(arch)
        self.arch = arch = text_arch(arch)
        self.act = act
        self.weights = weights
        self.frozen = frozen
        width = arch.embed_dims
        self.token_embedding = nn.Embedding(arch.vocab_size, width)
        self.positional_embedding = nn.Parameter(
            torch.empty(arch.context_length, width))
        self.transformer = Transformer(
            width, arch.num_layers, arch.num_heads, act, arch.mlp_ratio,
            causal=True, with_cp=with_cp)
        self.ln_final = nn.LayerNorm(width)
        self.text_projection = nn.Parameter(
            torch.empty(width, arch.output_dims))
        nn.init.normal_(self.token_embedding.weight, std=0.02)
        nn.init.normal_(self.positional_embedding, std=0.01)
        nn.init.normal_(self.text_projection, std=width**-0.5)
        if frozen:
            freeze(self)
        self.frozen_weights = FrozenWeights(
            self, load_text_weights, save_frozen)

    @property
    def output_dims(self) -> int:
        """Channels of the text features."""
        return self.arch.output_dims

    def init_weights(self) -> None:
        """Load ``weights``, if any were named."""
        if not self._is_init:
            super().init_weights()
            if self.weights is not None:
                self.frozen_weights.load()

    def train(self, mode: bool = True) -> 'CLIPTextEncoder':
        """Set the mode; a frozen encoder stays in eval mode."""
        return super().train(mode and not self.frozen)

    def forward(self, tokens: Tensor,
                stacks: Sequence[nn.Module] = ()) -> Tensor:
        """Encode texts.

        Args:
            tokens (Tensor): ``(B, L)`` token ids; the end token has the
                largest id of its row, as CLIP's tokenizer writes it.
            stacks (Sequence[nn.Module]): Adapters from every owner.

        Returns:
            Tensor: ``(B, output_dims)``, not L2-normalised.

        Raises:
            ValueError: If the texts are longer than the context.
        """
        if tokens.shape[1] > self.arch.context_length:
            raise ValueError(
                f'texts of {tokens.shape[1]} tokens do not fit a context of '
                f'{self.arch.context_length}: tokenize with context_length='
                f'{self.arch.context_length}')
        end = tokens.argmax(dim=-1)  # (B,)
        # Nothing after the end token reaches it under the causal mask, so
        # the padding that all rows share is not computed.
        length = int(end.max()) + 1
        with torch.set_grad_enabled(torch.is_grad_enabled()
                                    and not self.frozen):
            x = self.token_embedding(tokens[:, :length])
            x = x + self.positional_embedding[:length]
        layout = TokenLayout('text', 1, (length, 1))
        x, _, _ = self.transformer(x, layout, stacks, frozen=self.frozen)
        x = x[torch.arange(x.shape[0], device=x.device), end]
        return self.ln_final(x) @ self.text_projection
