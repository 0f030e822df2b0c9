"""MoTE: a temporal transformer over frame features, with merged experts.

Source: *MoTE: Reconciling Generalization with Specialization for
Visual-Language to Video Knowledge Transfer*, NeurIPS 2024, Sec. 3.2 and 3.3.
Written from the paper and from facts about the released program (no code of
it is used); where the two differ, the default is the program's.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from mmaction.registry import MODELS
from mmaction.utils import OptSampleList
from mmengine.dist import broadcast
from mmengine.model import BaseModule
from torch import Tensor, nn

from ..clip.block import Attention
from ..clip.layout import TokenLayout
from ..strict_loading import PartialLoadError, refuse_partial_load
from ..versions import weight_versions
from .experts import (
    DESIGNS,
    ExpertMLP,
    MergeWeights,
    Path,
    count_experts,
    layer_weights,
    softmax_weights,
)

ROUTINGS = ('multinomial', 'random', 'fixed', 'all')
MERGED_BRANCHES = ('head', 'mse')
TEMPERATURES = ('discrete', 'point', 'normal', 'uniform')
MSES = ('frame', 'pooled')
AGGREGATIONS = ('merge', 'random', 'ensemble')


class Draw(NamedTuple):
    """What one training step drew, by layer.

    Args:
        experts (list[tuple[int, int]]): Expert of the first and of the
            second linear layer; equal where whole FFNs are experts.
        temperatures (list[float]): Temperatures of the merged branch.
    """

    experts: list[tuple[int, int]]
    temperatures: list[float]


class _Cache(NamedTuple):
    """Merged paths, and the parameters that they were made of."""

    paths: list[Path]
    made_of: list[tuple[int, int]]


class TemporalBlock(nn.Module):
    """Attention over the frames of a clip, then experts.

    Args:
        embed_dims (int): Channels ``D``.
        num_heads (int): Attention heads.
        num_experts (int): Experts ``E``; 0 for a plain FFN.
        design (str): Key of :data:`.experts.DESIGNS`.
    """

    #: That of the text towers of this family of programs, inside the root.
    NORM_EPS = 1e-12

    def __init__(self, embed_dims: int, num_heads: int, num_experts: int,
                 design: str) -> None:
        super().__init__()
        self.attn = Attention(embed_dims, num_heads)
        self.ln_1 = nn.LayerNorm(embed_dims, eps=self.NORM_EPS)
        self.mlp = ExpertMLP(embed_dims, 4 * embed_dims, 'quick_gelu',
                             num_experts, design)
        self.ln_2 = nn.LayerNorm(embed_dims, eps=self.NORM_EPS)

    def attend(self, x: Tensor) -> Tensor:
        """The attention with its residual.

        Args:
            x (Tensor): ``(B, T, D)``.

        Returns:
            Tensor: ``(B, T, D)``.
        """
        # Frames in a row are to the attention what words in a row are.
        layout = TokenLayout('text', 1, (x.shape[1], 1))
        return x + self.attn(self.ln_1(x), layout, self)

    def feed(self, x: Tensor, paths: Sequence[Path]) -> Tensor:
        """The feed-forward layer with its residual.

        Args:
            x (Tensor): ``(B, T, D)``.
            paths (Sequence[Path]): What to run along; outputs of several
                are averaged.

        Returns:
            Tensor: ``(B, T, D)``.
        """
        normed = self.ln_2(x)
        out = self.mlp(normed, paths[0])
        for path in paths[1:]:
            out = out + self.mlp(normed, path)
        return x + out / len(paths) if len(paths) > 1 else x + out


@MODELS.register_module()
class MoTE(BaseModule):
    """A mixture of temporal experts over frame features.

    ::

        frames (B,T,D) + positions --> attention --> expert drawn ---> temporal
                                           |     (layer 2, 3, ...)
                                           +---> experts merged with weights
                                                 softmax((1..E) / temperature)
                                                 ---> temporal_merged

    In training each layer draws one expert for the whole batch (Eq. 5), and
    a second branch runs through all experts merged at a drawn temperature
    (Eq. 7); both branches share the first attention and are one batch in
    the others. In evaluation experts are merged once (Eq. 6), no random
    number is drawn, and the cost is that of the plain transformer.

    The output is for a head that adds ``frames`` and ``temporal``: the
    residual stream starts from frame features and positions, as published.

    Args:
        embed_dims (int): Channels ``D`` of the frame features, the joint
            image-text space.
        num_layers (int): Layers; 4 for ViT-B/16, 6 for ViT-L/14.
        num_experts (int): Experts ``E`` of each layer. 0 is the plain
            transformer (Text4Vis), which loads merged checkpoints; options
            of experts then have no effect.
        num_heads (int | None): Attention heads; one for 64 channels if not
            given.
        design (str): What an expert is (Table 7a): ``'ffn'``, ``'both'``
            (two routed projections), ``'up'`` or ``'down'`` (one projection,
            the other is shared).
        same_init (bool): Start all experts from the same weights (Table 2a).
        routing (str): How experts are drawn (Table 2d): ``'multinomial'``
            (Eq. 5), ``'random'`` (equal chances), ``'fixed'`` (always expert
            0), or ``'all'`` (no draw, the average of all outputs; Table 2a).
        synced_routing (bool): Draw the same on all processes. As published,
            each process draws its own.
        merged_branch (str | None): Who computes the loss of the merged
            branch, Weight Merging Regularization (Table 7c): ``'head'``,
            which gets its features as a third output; ``'mse'``, features
            of the merged branch follow those of the drawn experts; None,
            no such branch. A training step then leaves experts without
            gradient, and a distributed one needs
            ``find_unused_parameters=True`` in the config.
        merged_weight (float): Weight of the loss of ``'mse'``; a head has
            its own.
        temperature (str): How temperatures are drawn: ``'discrete'`` from
            ``{+-2^n beta, n = 0..4}`` and infinity, ``'point'`` always
            infinity (Table 2e), ``'normal'`` of variance 1, ``'uniform'``
            between the ends of the discrete set (Table 7f; the paper names
            no ends).
        beta (float): Smallest temperature of the discrete set.
        mse (str): ``'frame'``: mean over frames and channels of the squared
            merged feature, as published; ``'pooled'``: squared norm of its
            average over frames, as Eq. 9 is printed.
        mse_weight (float): Weight of that loss; 0 leaves it out.
        aggregation (str): What evaluation makes of the experts (Table 2c):
            ``'merge'``, one path of merged weights (Eq. 6); ``'random'``,
            each clip goes through one expert of each layer, drawn with equal
            chances from a generator of the neck's own, which starts anew
            whenever the neck is set to eval mode (each process has its own,
            so compare tests on the same number of them); ``'ensemble'``,
            each clip goes through every expert, at ``E`` times the cost, and
            the head averages the scores.
        merge_weights (MergeWeights): How experts are merged in evaluation:
            None for their mean, a temperature, a weight for each expert, or
            such lists for each layer. ``[0, 0, 1, 0]`` evaluates one expert.
        max_frames (int): Rows of the position table; the published has 77.
        init_cfg (dict | None): mmengine's initialisation config.

    Shapes:
        - Input: ``(B, T, D)``.
        - Output: a tuple of ``frames``, ``temporal`` and, in training with
          ``merged_branch='head'``, ``temporal_merged``, each ``(B, T, D)``;
          and a dict of losses. In evaluation with ``'ensemble'``,
          ``temporal`` is ``(B, E, T, D)``.

    Raises:
        ValueError: If an option makes no sense.
    """

    def __init__(self,
                 embed_dims: int,
                 num_layers: int,
                 num_experts: int = 4,
                 num_heads: int | None = None,
                 design: str = 'ffn',
                 same_init: bool = False,
                 routing: str = 'multinomial',
                 synced_routing: bool = False,
                 merged_branch: str | None = 'head',
                 merged_weight: float = 0.5,
                 temperature: str = 'discrete',
                 beta: float = 0.6,
                 mse: str = 'frame',
                 mse_weight: float = 0.1,
                 aggregation: str = 'merge',
                 merge_weights: MergeWeights = None,
                 max_frames: int = 77,
                 init_cfg: dict | None = None) -> None:
        super().__init__(init_cfg)
        for option, value, known in (
                ('design', design, tuple(DESIGNS)),
                ('routing', routing, ROUTINGS),
                ('merged_branch', merged_branch, (*MERGED_BRANCHES, None)),
                ('temperature', temperature, TEMPERATURES),
                ('mse', mse, MSES),
                ('aggregation', aggregation, AGGREGATIONS)):
            if value not in known:
                raise ValueError(f'unknown {option}={value!r}: use one of '
                                 f'{", ".join(map(repr, known))}')
        for option, size, least in (
                ('num_layers', num_layers, 1), ('max_frames', max_frames, 2),
                ('num_experts', num_experts, 0)):
            if size < least:
                raise ValueError(f'{option}={size} is too small: give at '
                                 f'least {least}')
        if num_heads is None:
            num_heads = max(embed_dims // 64, 1)
        if num_heads < 1 or embed_dims % num_heads:
            raise ValueError(
                f'{embed_dims} channels cannot be divided into {num_heads} '
                'heads: set num_heads to a divisor')
        if not beta > 0:
            raise ValueError(f'beta={beta} makes no temperatures: give a '
                             'positive number, such as 0.6')
        if routing == 'all' and design != 'ffn':
            raise ValueError(
                f"routing='all' averages whole experts, and design={design!r} "
                "has none: use design='ffn'")
        if (num_experts > 1 and routing == 'fixed' and merged_branch is None
                and merge_weights is None):
            raise ValueError(
                f"routing='fixed' without a merged branch trains 1 of "
                f'{num_experts} experts, and evaluation would average all: '
                'set merge_weights=[1, 0, ...]')
        if aggregation != 'merge' and merge_weights is not None:
            raise ValueError(
                f'aggregation={aggregation!r} merges nothing, and '
                'merge_weights tells how to: remove one of them')
        self.num_experts = num_experts
        self.design = design
        self.routing = routing
        self.synced_routing = synced_routing
        self.merged_branch = merged_branch
        self.merged_weight = merged_weight
        self.temperature = temperature
        self.beta = beta
        self.mse = mse
        self.mse_weight = mse_weight
        self.aggregation = aggregation
        self._test_draws = torch.Generator()
        self.merge_weights = layer_weights(
            merge_weights, num_experts, num_layers) if num_experts else []
        self._explicit: list[list[float]] | None = None
        self._cache: _Cache | None = None
        self.positional_embedding = nn.Parameter(
            torch.empty(max_frames, embed_dims))
        self.resblocks = nn.ModuleList(
            TemporalBlock(embed_dims, num_heads, num_experts, design)
            for _ in range(num_layers))
        self._init_parameters(same_init)
        self.register_load_state_dict_pre_hook(_refuse_other_experts)
        refuse_partial_load(self)

    def _init_parameters(self, same_init: bool) -> None:
        """As released: N(0, 0.02) but for the packed projections."""
        nn.init.normal_(self.positional_embedding, std=0.02)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, std=0.02)
                nn.init.zeros_(module.bias)
            elif isinstance(module, Attention):
                nn.init.xavier_uniform_(module.in_proj_weight)
        if same_init:
            for block in self.resblocks:
                block.mlp.copy_first_expert()

    # -- merging -------------------------------------------------------------

    @property
    def merged(self) -> bool:
        """Whether :meth:`merge` is in force."""
        return self._explicit is not None

    @torch.no_grad()
    def merge(self, weights: MergeWeights = None) -> None:
        """Merge the experts now, for evaluation, until :meth:`unmerge`.

        Parameters and the state dict stay as they are. Training unmerges.

        Args:
            weights (MergeWeights): As ``merge_weights``, which is used if
                not given.

        Raises:
            ValueError: If there are no experts, or weights do not fit.
        """
        if not self.num_experts:
            raise ValueError('MoTE has num_experts=0, nothing to merge: '
                             'evaluate it as it is')
        if self.aggregation != 'merge':
            raise ValueError(
                f'MoTE has aggregation={self.aggregation!r}, which evaluates '
                "experts apart: evaluate it as it is, or set aggregation="
                "'merge'")
        self._explicit = self.merge_weights if weights is None else (
            layer_weights(weights, self.num_experts, len(self.resblocks)))
        self._cache = None
        self._merged_paths()

    def unmerge(self) -> None:
        """Forget what was merged; evaluation merges anew."""
        self._explicit = None
        self._cache = None

    def train(self, mode: bool = True) -> 'MoTE':
        """Set the mode.

        Either mode drops what evaluation merged by itself, since weights may
        have been exchanged in ways that leave no trace (averages of weights
        are); training also ends a :meth:`merge`.

        Args:
            mode (bool): Whether to train.

        Returns:
            MoTE: This module.
        """
        if mode or not self.merged:
            self.unmerge()
        self._test_draws.manual_seed(0)
        return super().train(mode)

    def _apply(self, fn: Callable, recurse: bool = True) -> 'MoTE':
        """Also merge anew after a change of device or precision."""
        self._cache = None
        return super()._apply(fn, recurse)

    def _merged_paths(self) -> list[Path]:
        """Eq. 6, once for each change of the parameters."""
        weights = self._explicit or self.merge_weights
        if torch.is_grad_enabled() and not self.merged:
            return self._merge(weights)  # with gradient, hence not kept
        made_of = weight_versions(self.resblocks)
        if self._cache is None or self._cache.made_of != made_of:
            # Inference mode would leave tensors that nothing else can use.
            with torch.inference_mode(False), torch.no_grad():
                self._cache = _Cache(self._merge(weights), made_of)
        return self._cache.paths

    def _merge(self, weights: list[list[float]]) -> list[Path]:
        return [block.mlp.merge(row) for block, row in
                zip(self.resblocks, weights, strict=True)]

    # -- drawing -------------------------------------------------------------

    def draw(self) -> Draw:
        """Draw experts and temperatures for one training step.

        The numbers come from torch's generator of the process, so that
        whoever seeds steps (``SampleGuardHook`` does) makes a resumed run
        repeat an uninterrupted one.

        Returns:
            Draw: One expert and one temperature for each layer.
        """
        number = len(self.resblocks)
        ranks = torch.arange(1., self.num_experts + 1, device='cpu')
        chances = dict(
            multinomial=ranks.exp(), fixed=(ranks == 1).float()
        ).get(self.routing, torch.ones_like(ranks))
        experts = torch.multinomial(
            chances, 2 * number, replacement=True).view(number, 2)
        if self.design != 'both':
            experts = experts[:, :1].expand(-1, 2)
        drawn = torch.cat([experts.double(), self._temperatures(number)], 1)
        if self.synced_routing:
            broadcast(drawn)
        return Draw([(int(up), int(down)) for up, down, _ in drawn.tolist()],
                    drawn[:, 2].tolist())

    def _temperatures(self, number: int) -> Tensor:
        """Temperatures ``(number, 1)``, none of them zero."""
        shape, options = (number, 1), dict(dtype=torch.float64, device='cpu')
        if self.temperature == 'point':
            return torch.full(shape, math.inf, **options)
        if self.temperature == 'discrete':
            ends = [sign * 2**n * self.beta for n in range(5)
                    for sign in (1, -1)]
            places = torch.randint(len(ends) + 1, shape, device='cpu')
            return torch.tensor([*ends, math.inf], **options)[places]
        drawn = (torch.randn(shape, **options)
                 if self.temperature == 'normal' else
                 (2 * torch.rand(shape, **options) - 1) * 16 * self.beta)
        return drawn.masked_fill_(drawn == 0, math.inf)

    # -- running -------------------------------------------------------------

    def forward(self, x: Tensor, data_samples: OptSampleList = None
                ) -> tuple[tuple[Tensor, ...], dict[str, Tensor]]:
        """Add temporal features to frame features.

        Args:
            x (Tensor): Frame features ``(B, T, D)``.
            data_samples (OptSampleList): Given by the recognizer in
                training, not used.

        Returns:
            tuple[tuple[Tensor, ...], dict[str, Tensor]]: ``(frames,
            temporal)`` or ``(frames, temporal, temporal_merged)``, and
            weighted losses.

        Raises:
            ValueError: If these are not features of several frames, of the
                width of the neck, and of not more frames than positions.
        """
        self._check(x)
        # Under autocast the residual stream stays in float32.
        tokens = x + self.positional_embedding[:x.shape[1]]
        if not self.num_experts:
            return (x, self._run(tokens, [
                [[block.mlp.pick(0, 0)] for block in self.resblocks]])[0]), {}
        if not self.training:
            return (x, self._evaluate(tokens)), {}
        return self._train_step(x, tokens)

    def _check(self, x: Tensor) -> None:
        rows, width = self.positional_embedding.shape
        if x.dim() != 3 or x.shape[-1] != width:
            raise ValueError(
                f'MoTE reads frame features (B, T, {width}), got '
                f'{tuple(x.shape)}: set embed_dims to the width of the '
                'backbone, or project=True in its encoder')
        if x.shape[1] == 1:
            raise ValueError(
                'MoTE relates the frames of a clip, and the backbone gives '
                'one vector for each clip: use an encoder that returns a '
                'feature for each frame, without a reader that reads out the '
                'clip')
        if x.shape[1] > rows:
            raise ValueError(
                f'{x.shape[1]} frames do not fit {rows} positions: give MoTE '
                'a larger max_frames, or sample fewer frames')

    def _evaluate(self, tokens: Tensor) -> Tensor:
        """Temporal features ``(B, T, D)``; of experts ``(B, E, T, D)``."""
        if self.aggregation == 'random':
            return self._run_drawn(tokens)
        if self.aggregation == 'ensemble':
            return torch.stack(self._run(tokens, [
                [[block.mlp.pick(e, e)] for block in self.resblocks]
                for e in range(self.num_experts)]), dim=1)
        return self._run(
            tokens, [[[path] for path in self._merged_paths()]])[0]

    def _run_drawn(self, x: Tensor) -> Tensor:
        """Draw an expert for each clip and layer.

        The numbers of a clip do not depend on the clips beside it, so that
        scores do not depend on the size of batches.
        """
        drawn = torch.randint(
            self.num_experts, (len(x), len(self.resblocks), 2),
            generator=self._test_draws, device='cpu')
        if self.design != 'both':
            drawn = drawn[..., :1].expand(-1, -1, 2)
        for layer, block in enumerate(self.resblocks):
            x = block.attend(x)
            x = torch.cat([
                block.feed(clip, [block.mlp.pick(*experts)])
                for clip, experts in zip(
                    x.split(1), drawn[:, layer].tolist(), strict=True)])
        return x

    def _train_step(self, x: Tensor, tokens: Tensor
                    ) -> tuple[tuple[Tensor, ...], dict[str, Tensor]]:
        """Both branches and the losses between features."""
        drawn = self.draw()
        if self.routing == 'all':
            branch = [[block.mlp.pick(e, e) for e in range(self.num_experts)]
                      for block in self.resblocks]
        else:
            branch = [[block.mlp.pick(*experts)] for block, experts in
                      zip(self.resblocks, drawn.experts, strict=True)]
        if self.merged_branch is None:
            return (x, self._run(tokens, [branch])[0]), {}
        weights = [softmax_weights(self.num_experts, temperature)
                   for temperature in drawn.temperatures]
        temporal, merged = self._run(tokens, [
            branch, [[path] for path in self._merge(weights)]])
        losses = {}
        if self.mse_weight:
            losses['loss_mse'] = self.mse_weight * self._light(merged)
        if self.merged_branch == 'head':
            return (x, temporal, merged), losses
        losses['loss_merged'] = self.merged_weight * (
            merged - temporal.detach()).float().square().mean()
        return (x, temporal), losses

    def _light(self, merged: Tensor) -> Tensor:
        """Eq. 9; the difference to the frame features is this feature."""
        if self.mse == 'frame':
            return merged.float().square().mean()
        return merged.float().mean(dim=1).square().sum(dim=-1).mean()

    def _run(self, tokens: Tensor,
             branches: Sequence[Sequence[Sequence[Path]]]) -> list[Tensor]:
        """Run branches, which have the same attention in the first layer.

        Args:
            tokens (Tensor): Frames with positions ``(B, T, D)``.
            branches (Sequence[Sequence[Sequence[Path]]]): For each branch
                and layer the paths whose outputs are averaged.

        Returns:
            list[Tensor]: ``(B, T, D)`` for each branch.
        """
        parts = [tokens]
        for block, choices in zip(
                self.resblocks, zip(*branches, strict=True), strict=True):
            x = block.attend(torch.cat(parts) if len(parts) > 1 else parts[0])
            if len(parts) > 1:  # one part is whole, of any size (export)
                parts = list(x.chunk(len(parts)))
            else:
                parts = [x]
            if len(parts) < len(branches):  # in the first layer
                parts = parts * len(branches)
            parts = [block.feed(part, paths)
                     for part, paths in zip(parts, choices, strict=True)]
        return parts


def _refuse_other_experts(neck: MoTE, state_dict: Mapping[str, Tensor],
                          prefix: str, *_: Any) -> None:
    """Say which option fits a checkpoint, such as a merged one."""
    blocks = {key: value for key, value in state_dict.items()
              if key.startswith(f'{prefix}resblocks.')}
    given = count_experts(blocks)
    if blocks and given != neck.num_experts:
        raise PartialLoadError(
            f'the checkpoint has {given or "no"} experts'
            + ('' if given else ', as merged ones have none,')
            + f' and MoTE has num_experts={neck.num_experts}: set '
            f'num_experts={given} of the neck, as in --cfg-options '
            f'model.neck.num_experts={given}')
