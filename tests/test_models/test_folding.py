"""Folding for evaluation: fewer steps, the same function."""

import copy

import pytest
import torch
from mmaction.apis import init_recognizer
from torch import Tensor, nn

from mmvidadapt.models.adapters import LoRA, MSTAVideo
from mmvidadapt.models.adapters.base import AdapterStack
from mmvidadapt.models.backbones import CLIPViT
from mmvidadapt.models.clip.layout import TokenLayout
from mmvidadapt.models.folding import FoldedStem, fold
from mmvidadapt.models.necks import MoTE
from mmvidadapt.models.side.stem import SideStem
from tests.small_models import SHALLOW, write_model


def scatter(module: nn.Module) -> nn.Module:
    """Numbers far from those of a new module, statistics included."""
    for name, value in [*module.named_parameters(),
                        *module.named_buffers()]:
        if value.is_floating_point():
            value.data = torch.randn(value.shape).to(value)
            if name.endswith('running_var'):
                value.data = value.data.square() + .1
    return module.eval()


def toy_backbone(adapters: list[dict]) -> CLIPViT:
    return CLIPViT(dict(arch=dict(
        embed_dims=8, num_layers=2, num_heads=2, patch_size=4, image_size=8,
        output_dims=8), act='quick_gelu'),
        num_frames=4, adapters=adapters)


def assert_near(found: Tensor, wanted: Tensor) -> None:
    torch.testing.assert_close(found, wanted, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize('window', [1, 2, 5])
def test_a_stem_becomes_one_convolution(window: int) -> None:
    stem = scatter(SideStem(8, 4, window, .5, .7, padding=1).double())
    clip = torch.randn(2, 3, 3 * window, 8, 8).double()
    folded = FoldedStem(stem).double()
    # The weights pass through float32 on the way; compare in its precision.
    torch.testing.assert_close(folded(clip), stem(clip), rtol=1e-4, atol=1e-3)
    assert not any(isinstance(one, nn.BatchNorm1d)
                   for one in folded.modules())


@pytest.fixture(scope='module')
def side(tmp_path_factory: pytest.TempPathFactory) -> nn.Module:
    model = write_model('tds_clip', tmp_path_factory.mktemp('side'),
                        **SHALLOW['tds_clip'])
    return scatter(init_recognizer(
        model.config, model.checkpoint, 'cpu').backbone)


def test_norms_of_a_side_network_go_into_its_layers(side: nn.Module) -> None:
    norms = [name for name, one in side.named_modules()
             if isinstance(one, nn.BatchNorm1d)]
    blocks = [name for name in norms if name.startswith('blocks.0.')]
    for name in sorted({name.rpartition('.')[0] for name in norms}):
        if not name or name == 'stem':
            continue
        part = copy.deepcopy(side.get_submodule(name)).double()
        layout = TokenLayout('framewise', side.num_frames, (2, 2))
        width = side.stem.centre_norm.num_features
        x = torch.randn(2 * side.num_frames, 4, width).double()
        args = [x, layout]
        if name.count('.') == 1:  # the block itself
            args = [x, torch.randn(len(x), 1, width).double(),
                    torch.randn(4, width).double(), layout]
        wanted = part(*args)
        parent = nn.Sequential(part)
        fold(parent)
        assert_near(parent[0](*args), wanted)
    count = fold(copied := copy.deepcopy(side))
    assert count == dict(stems=1, BatchNorms=len(norms) - 1)
    assert len(blocks) >= 4
    assert [name for name, one in copied.named_modules()
            if isinstance(one, nn.BatchNorm1d)] == ['post_norm']


def test_the_scale_of_msta_goes_into_its_projections() -> None:
    layout = TokenLayout('joint', 2, (2, 2))
    half = scatter(MSTAVideo(8, 4, scale=.3).double())
    x = torch.randn(3, 9, 8).double()
    with torch.no_grad():
        wanted = half(x, layout, nn.Identity())
        assert fold(nn.Sequential(half)) == {'scales of MSTA': 1}
        assert half.scale == 1
        # Its convolution runs in float32 on the CPU.
        torch.testing.assert_close(half(x, layout, nn.Identity()), wanted,
                                   rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize('adapter', [
    dict(type='LocalMHRA', layers=[0, 1]),
    dict(type='LocalMHRAPreBlock', layers=[1])], ids=lambda a: a['type'])
def test_norms_of_local_relations_go_into_their_first_layer(
        adapter: dict) -> None:
    backbone = scatter(toy_backbone([adapter]))
    clip = torch.randn(2, 3, 4, 8, 8)
    with torch.no_grad():
        wanted = backbone(clip)
        assert fold(backbone) == dict(BatchNorms=len(adapter['layers']))
        torch.testing.assert_close(backbone(clip), wanted, rtol=1e-4,
                                   atol=1e-4)
    assert not any(isinstance(one, nn.BatchNorm1d)
                   for one in backbone.modules())


@pytest.mark.parametrize('guest', [False, True])
def test_low_rank_terms_go_into_the_projections(guest: bool) -> None:
    adapters = [dict(type='LoRA', layers=[0, 1], rank=2, alpha=3.,
                     targets=['q', 'k', 'v', 'out']),
                dict(type='LoRA', layers=[1], targets=['v'])]
    backbone = toy_backbone([] if guest else adapters)
    stack = AdapterStack(adapters, **backbone.place)
    if guest:
        backbone.host(scatter(stack))
    scatter(backbone)
    clip = torch.randn(2, 3, 4, 8, 8)
    with torch.no_grad():
        wanted = backbone(clip)
        assert fold(backbone) == {'low-rank terms': 3}
        torch.testing.assert_close(backbone(clip), wanted, rtol=1e-4,
                                   atol=1e-4)
    assert not any(list(one.parameters()) for one in backbone.stacks)


class Gated(LoRA):
    """A user's adapter, which computes something else."""

    def forward(self, *args: object) -> Tensor | None:
        change = super().forward(*args)
        return None if change is None else change.tanh()


def test_what_computes_something_else_is_left_alone() -> None:
    backbone = toy_backbone([])
    stack = AdapterStack([dict(type=Gated, layers=[0, 1])], **backbone.place)
    backbone.host(scatter(stack))
    scatter(backbone)
    clip = torch.randn(2, 3, 4, 8, 8)
    with torch.no_grad():
        wanted = backbone(clip)
        assert fold(backbone) == {}
        assert torch.equal(backbone(clip), wanted)

    class Other(MSTAVideo):
        """A user's adapter of which `scale` may be something else."""

    half = Other(8, 4, scale=.3)
    assert fold(nn.Sequential(half)) == {} and half.scale == .3


def test_experts_become_the_merged_transformer() -> None:
    neck = scatter(MoTE(16, num_layers=2, num_experts=3, num_heads=2,
                        max_frames=4, merge_weights=[.2, .3, .5]))
    x = torch.randn(2, 4, 16)
    with torch.no_grad():
        wanted = neck(x)[0][1]
        holder = nn.Sequential(neck)
        assert fold(holder) == {'necks with merged experts': 1}
        assert holder[0].num_experts == 0
        torch.testing.assert_close(holder[0](x)[0][1], wanted)


def test_what_evaluates_experts_apart_is_kept_or_refused() -> None:
    holder = nn.Sequential(MoTE(8, 1, 2, aggregation='ensemble').eval())
    assert fold(holder) == {}
    holder = nn.Sequential(MoTE(8, 1, 2, aggregation='random').eval())
    with pytest.raises(ValueError, match='draws experts anew'):
        fold(holder)
