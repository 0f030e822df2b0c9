"""Fold what only training needs into the weights around it.

All of it is exact algebra on the weights of an evaluation model: the same
function, up to rounding, in fewer steps.
"""

from collections import Counter

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_linear_bn_eval

from .adapters import LocalMHRA, LocalMHRAPreBlock, LoRA
from .adapters.msta import MSTAText, MSTAVideo
from .backbones import CLIPViT
from .clip.block import Attention
from .necks import MoTE, merge_state_dict
from .side.block import SideBlock
from .side.stem import PatchConv3d, SideStem
from .side.temporal import DifferenceGate, TemporalBranch


class FoldedStem(nn.Module):
    """A :class:`SideStem` in evaluation, as one convolution over windows.

    ::

        window of frames --patchify--> one conv --> side tokens

    The weight of the differences meets the frames themselves: what multiplies
    ``x[m+1] - x[m]`` is added to frame ``m+1`` and subtracted from frame
    ``m``. Norms, ``alpha`` and ``beta`` scale rows of the weights.

    Args:
        stem (SideStem): The stem, which is left as it is.

    Shapes:
        - Input: ``(B, 3, T*window, H, W)``.
        - Output: ``(B*T, N, D)``.
    """

    patchify = SideStem.patchify

    def __init__(self, stem: SideStem) -> None:
        super().__init__()
        self.patch_size = stem.patch_size
        self.window = stem.window
        self.padding = stem.padding
        width = stem.centre_norm.num_features
        self.conv = PatchConv3d(stem.window * stem.frame_dims, width)
        weight, bias = _after_norm(stem.centre, stem.centre_norm, stem.beta)
        frames = weight.new_zeros(len(weight), stem.window, stem.frame_dims)
        frames[:, stem.window // 2] = weight
        if stem.window > 1:
            weight, change = _after_norm(
                stem.difference, stem.difference_norm, stem.alpha)
            steps = weight.unflatten(1, (stem.window - 1, stem.frame_dims))
            frames[:, 1:] += steps
            frames[:, :-1] -= steps
            bias = bias + change
        with torch.no_grad():
            self.conv.weight.copy_(frames.flatten(1))
            self.conv.bias.copy_(bias)

    def forward(self, clip: Tensor) -> Tensor:
        """Make the side tokens of a batch of clips."""
        patches = self.patchify(clip)  # (B, T, N, window, 3*P*P)
        return self.conv(patches.flatten(3)).flatten(0, 1)


def _affine(norm: nn.BatchNorm1d) -> tuple[Tensor, Tensor]:
    """Factor and shift ``(C)`` of a norm in evaluation, in float64."""
    factor = norm.weight.double() / (
        norm.running_var.double() + norm.eps).sqrt()
    return factor, norm.bias.double() - norm.running_mean.double() * factor


def _after_norm(conv: PatchConv3d, norm: nn.BatchNorm1d,
                scale: float) -> tuple[Tensor, Tensor]:
    """Weight and bias of a convolution, its norm and a scale."""
    factor, shift = _affine(norm)
    return (conv.weight.double() * factor.repeat(3)[:, None] * scale,
            (conv.bias.double() * factor + shift) * scale)


def _fold_before(norm: nn.BatchNorm1d, linear: nn.Linear) -> nn.Identity:
    """Fold a norm into the linear layer that reads it."""
    factor, shift = _affine(norm)
    weight = linear.weight.double()
    bias = linear.bias.double() + F.linear(shift, weight)
    linear.weight.copy_(weight * factor)
    linear.bias.copy_(bias)
    return nn.Identity()


def _ours(module: nn.Module) -> bool:
    """Whether this package says what a module computes."""
    return type(module).__module__.startswith(f'{__package__}.')


def _merged(neck: MoTE) -> MoTE:
    """The plain transformer that a neck with experts evaluates."""
    positions = neck.positional_embedding
    plain = MoTE(positions.shape[1], len(neck.resblocks), num_experts=0,
                 num_heads=neck.resblocks[0].attn.num_heads,
                 max_frames=len(positions))
    plain.load_state_dict(
        merge_state_dict(neck.state_dict(), neck.merge_weights))
    return plain.eval()


def _fold_low_rank_terms(backbone: CLIPViT) -> int:
    """Fold every ``LoRA`` that runs in a backbone; return how many."""
    found = [(adapter, block.attn) for stack in backbone.stacks
             for layer, block in enumerate(
                 backbone.encoder.transformer.resblocks)
             for adapter in stack.at(layer).get('attn_proj', ())
             if isinstance(adapter, LoRA) and _ours(adapter)]
    for adapter, attention in found:
        _fold_low_rank(adapter, attention)
    return len(found)


def _fold_low_rank(adapter: LoRA, attention: Attention) -> None:
    """Add ``s * B A`` to the projections, and leave nothing to add."""
    rows = dict(zip('qkv', attention.in_proj_weight.chunk(3), strict=True),
                out=attention.out_proj.weight)
    for name in adapter.targets:
        term = adapter.low_rank[name]
        change = term.up.weight.double() @ term.down.weight.double()
        rows[name].copy_(rows[name] + adapter.scale * change)
    adapter.targets = ()
    adapter.low_rank = nn.ModuleDict()


@torch.no_grad()
def fold(model: nn.Module) -> dict[str, int]:
    """Merge and fold a model for evaluation, in place.

    ===================  =================================================
    experts of ``MoTE``  become the merged transformer (NeurIPS 2024, Eq. 6)
    stems of a side      one convolution, see :class:`FoldedStem`
    network
    BatchNorms of side   go into the linear layers beside them; the last
    blocks and of        one, behind all side blocks, has none beside it
    ``LocalMHRA``
    ``lambda`` of MSTA   goes into ``up`` and the temporal convolution
    ``LoRA`` of a        goes into the projections of the attention
    ``CLIPViT``
    ===================  =================================================

    It can neither be trained, loaded nor folded any more. Classes derived
    from these may compute something else, and are left as they are.

    Args:
        model (nn.Module): In eval mode.

    Returns:
        dict[str, int]: How many of what were folded.

    Raises:
        ValueError: If the model draws random experts.
    """
    count: Counter[str] = Counter()
    for name, module in list(model.named_modules()):
        if not _ours(module):
            continue
        if isinstance(module, MoTE) and module.num_experts:
            if module.aggregation == 'random':
                raise ValueError(
                    "MoTE has aggregation='random', which draws experts anew "
                    "for each clip: set aggregation='merge'")
            if module.aggregation == 'merge':
                model.set_submodule(name, _merged(module))
                count['necks with merged experts'] += 1
        elif isinstance(module, SideStem):
            count['BatchNorms'] += 2 if module.window > 1 else 1
            model.set_submodule(name, FoldedStem(module))
            count['stems'] += 1
        elif isinstance(module, SideBlock):
            module.mlp_norm = _fold_before(module.mlp_norm, module.mlp.c_fc)
            count['BatchNorms'] += 1
        elif isinstance(module, TemporalBranch):
            module.norm = _fold_before(module.norm, module.fc1)
            count['BatchNorms'] += 1
        elif isinstance(module, (LocalMHRA, LocalMHRAPreBlock)):
            module.norm = _fold_before(module.norm, module.reduce)
            count['BatchNorms'] += 1
        elif isinstance(module, DifferenceGate):
            for place in ('1', '2'):
                linear, norm = f'fc{place}', f'norm{place}'
                setattr(module, linear, fuse_linear_bn_eval(
                    getattr(module, linear), getattr(module, norm)))
                setattr(module, norm, nn.Identity())
                count['BatchNorms'] += 1
        elif isinstance(module, (MSTAText, MSTAVideo)):
            for child in ('up', 'temporal_up'):
                if hasattr(module, child):
                    getattr(module, child).weight.mul_(module.scale)
                    getattr(module, child).bias.mul_(module.scale)
            module.scale = 1.
            count['scales of MSTA'] += 1
        elif isinstance(module, CLIPViT):
            count['low-rank terms'] += _fold_low_rank_terms(module)
    return dict(+count)  # without what there is none of
