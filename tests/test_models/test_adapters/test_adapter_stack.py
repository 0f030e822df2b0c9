"""Adapters are built from config, placed by block and called in list order."""

import copy
from types import SimpleNamespace

import pytest
import torch
from mmaction.registry import MODELS
from mmengine.model import ExponentialMovingAverage
from mmengine.registry import MODELS as ROOT_MODELS
from torch import Tensor, nn

from mmvidadapt.models.adapters import POINTS, Adapter, AdapterStack
from mmvidadapt.models.clip import TokenLayout
from tests import tiny_clip as tiny


class Halve(Adapter):
    """Keeps every other frame."""

    point = 'pre_block'

    def __init__(self, embed_dims: int, num_frames: int,
                 scale: float = 1.) -> None:
        super().__init__()
        self.num_frames = num_frames
        self.scale = nn.Parameter(torch.full((embed_dims, ), scale))

    def frames_after(self, num_frames: int) -> int:
        return num_frames // 2

    def forward(self, x: Tensor, layout: TokenLayout,
                block: nn.Module) -> tuple[Tensor, TokenLayout]:
        kept = layout.split_frames(x)[:, ::2].flatten(0, 1) * self.scale
        return kept, layout.with_frames(layout.num_frames // 2)


class Note(Adapter):
    """Writes down when it is called; adds nothing."""

    kinds = ('framewise', 'joint', 'text')
    calls: list = []

    def __init__(self, mark: str = '', layer: int = -1) -> None:
        super().__init__()
        self.mark, self.layer = mark, layer

    def forward(self, x: Tensor, layout: TokenLayout, *rest):
        Note.calls.append((self.point, self.mark, self.layer))
        if self.point == 'pre_block':
            return x, layout
        return None if self.point == 'attn_proj' else torch.zeros_like(x)


class Place(Adapter):
    """Remembers all that the stack told it."""

    point = 'pre_mlp'

    def __init__(self, embed_dims: int, num_heads: int, num_layers: int,
                 num_frames: int, grid_size: tuple, layer: int,
                 must: int = 0) -> None:
        super().__init__()
        self.place = (embed_dims, num_heads, num_layers, num_frames,
                      grid_size, layer, must)

    def forward(self, x: Tensor, layout: TokenLayout,
                block: nn.Module) -> Tensor:
        return torch.zeros_like(x)


class Tap(Adapter):
    """Sums up what it reads."""

    point = 'reader'

    def __init__(self, layers: list, embed_dims: int) -> None:
        super().__init__()
        self.layers = layers
        self.weight = nn.Parameter(torch.ones(embed_dims))

    def forward(self, x: Tensor, layout: TokenLayout, layer: int, state):
        read = (x * self.weight).mean(dim=(0, 1))
        return [(layer, layout.num_frames, read)] + (state or [])


class Needy(Place):

    def __init__(self, rate: float) -> None:
        nn.Module.__init__(self)


class Nowhere(Adapter):
    point = 'before_lunch'


NOTES = {point: type(f'Note_{point}', (Note, ), dict(point=point))
         for point in POINTS if point != 'reader'}


@pytest.fixture(autouse=True)
def registered(monkeypatch: pytest.MonkeyPatch) -> None:
    """A user's adapters, registered for the length of one test."""
    for cls in (Halve, Place, Tap, Needy, Nowhere, *NOTES.values()):
        monkeypatch.setitem(MODELS.module_dict, cls.__name__, cls)
    Note.calls = []


def _stack(*configs: dict, **changes) -> AdapterStack:
    return AdapterStack(configs, **{
        **dict(embed_dims=32, num_heads=2, num_layers=4, num_frames=8,
               grid_size=(2, 2)), **changes})


def _encoder(**changes) -> nn.Module:
    return tiny.vision(arch=dict(tiny.VISION, num_layers=4), **changes)


# -- errors ----------------------------------------------------------------


@pytest.mark.parametrize('config, message', [
    (dict(type='Intl', layers=[0]), r"unknown adapter 'Intl': use one of "
     r'.*AdaptFormer, .*LoRA.*, or register a class with an insertion point'),
    (dict(layers=[0]), 'unknown adapter None: use one of'),
    (dict(type='ResNet', layers=[0]), "unknown adapter 'ResNet': use one of"),
    (dict(type='Nowhere', layers=[0]), 'Nowhere asks for the unknown '
     "insertion point 'before_lunch': use one of pre_block, attn_proj, "),
    (dict(type='LoRA', layers=[0], rnak=4), "LoRA has no option 'rnak': use "
     'alpha, dropout, rank, targets'),
    (dict(type='Needy', layers=[0]), "Needy needs the option 'rate': add it "
     'to its entry in adapters'),
    (dict(type='LoRA'), r'LoRA needs layers=\[...\], a list of 0-based block '
     'indices, got None'),
    (dict(type='LoRA', layers=5), 'list of 0-based block indices, got 5'),
    (dict(type='LoRA', layers=[]), r'block indices, got \[\]'),
    (dict(type='LoRA', layers=[2, 4]), r'LoRA at layers=\[2, 4\]: 4 is '
     'outside the blocks 0 to 3 of this encoder .* use 0-based indices'),
    (dict(type='LoRA', layers=[-1]), '-1 is outside the blocks 0 to 3'),
    (dict(type='LoRA', layers=['1']), "'1' is no whole number: use 0-"),
    (dict(type='LoRA', layers=[1, 1]), r'LoRA has a repeated index in layers='
     r'\[1, 1\]: name each block once, or add a second entry'),
])
def test_wrong_entries_are_named_with_the_remedy(config, message):
    with pytest.raises(ValueError, match=message):
        _stack(config)


def test_adapters_are_a_list_of_dicts():
    for configs in (dict(type='LoRA', layers=[0]), ['LoRA']):
        with pytest.raises(ValueError, match=r'adapters is a list of dict\('
                           r'type=..., layers=\[...\], ...\), got '):
            AdapterStack(configs, 32, 2, 4, 8, (2, 2))


def test_adapter_for_frames_is_refused_by_a_text_encoder():
    with pytest.raises(ValueError, match='Halve works on framewise tokens, '
                       'not on a text encoder: use AdaptFormer or LoRA or '
                       'MSTAText, or another encoder'):
        _stack(dict(type='Halve', layers=[0]), kind='text')


# -- building --------------------------------------------------------------


def test_one_instance_per_layer_and_one_reader_for_all():
    stack = _stack(dict(type='LoRA', layers=[3, 1]),
                   dict(type='Tap', layers=[0, 2, 3]))
    assert sorted(stack[0]) == ['1', '3']
    assert stack[0]['1'] is not stack[0]['3']
    assert stack.readers == [stack[1]]
    assert stack[1].layers == [0, 2, 3]
    assert [sorted(stack.at(layer)) for layer in range(4)] == [
        ['reader'], ['attn_proj'], ['reader'], ['attn_proj', 'reader']]


def test_a_class_may_stand_for_its_name():
    assert isinstance(_stack(dict(type=Halve, layers=[0]))[0]['0'], Halve)


def test_place_is_filled_in_and_config_wins():
    stack = _stack(dict(type='Place', layers=[0, 2], must=5, num_heads=7),
                   dict(type='Halve', layers=[1]))
    assert stack[0]['0'].place == (32, 7, 4, 8, (2, 2), 0, 5)
    assert stack[0]['2'].place == (32, 7, 4, 4, (2, 2), 2, 5)


def test_frames_are_tracked_through_adapters_that_merge_them():
    # Two at block 1: the second sees what the first leaves.
    stack = _stack(dict(type='Halve', layers=[1, 3]),
                   dict(type='Halve', layers=[1]))
    assert stack[0]['1'].num_frames == 8
    assert stack[1]['1'].num_frames == 4
    assert stack[0]['3'].num_frames == 2
    assert stack.num_frames == [8, 8, 2, 2, 1]
    tokens = torch.randn(16, 5, 32)  # two clips
    layout = TokenLayout('framewise', 8, (2, 2))
    x, layout, _ = _encoder().transformer(tokens, layout, [stack])
    assert (x.shape[0], layout.num_frames) == (2, 1)


# -- calling ---------------------------------------------------------------


def test_points_are_called_in_order_and_lists_in_theirs():
    configs = [dict(type=f'Note_{point}', mark=mark, layers=[1])
               for point in reversed(NOTES) for mark in 'ba']
    other = _stack(dict(type='Note_pre_mlp', mark='other owner', layers=[1]))
    images = tiny.frames()
    encoder = _encoder()
    plain = encoder(images, 2).tokens
    out = encoder(images, 2, stacks=[_stack(*configs), other])
    assert torch.equal(out.tokens, plain)
    calls = [(point, mark) for point, mark, _ in Note.calls]
    projections = [('attn_proj', 'b')] * 3 + [('attn_proj', 'a')] * 3 + [
        ('attn_proj', 'b'), ('attn_proj', 'a')]  # q, k, v; then out
    assert calls == [
        ('pre_block', 'b'), ('pre_block', 'a'), *projections,
        ('pre_mlp', 'b'), ('pre_mlp', 'a'), ('pre_mlp', 'other owner'),
        ('beside_mlp', 'b'), ('beside_mlp', 'a'),
        ('beside_block', 'b'), ('beside_block', 'a')]
    assert {layer for _, _, layer in Note.calls} == {1}


def test_what_each_point_reads_and_where_it_adds():
    """A block restated in plain steps, with one adapter at every point."""
    block = _encoder().transformer.resblocks[0]
    x = torch.randn(2, 5, 32)
    reads: dict[str, Tensor] = {}

    def adapter(point: str) -> SimpleNamespace:

        def call(tokens, layout, owner, *name):
            assert owner is block
            key = point + ''.join(name)
            reads[key] = tokens
            residual = torch.full_like(tokens, 0.1 * len(reads))
            return (tokens + residual, layout) if point == 'pre_block' \
                else residual

        return call

    layout = TokenLayout('framewise', 1, (2, 2))
    out, _ = block(x, layout, {
        point: [adapter(point)] for point in NOTES})
    first = x + 0.1
    normed = block.ln_1(first)
    q, k, v = torch.nn.functional.linear(
        normed, block.attn.in_proj_weight,
        block.attn.in_proj_bias).chunk(3, -1)
    heads = [t.view(2, 5, 2, 16).transpose(1, 2)
             for t in (q + 0.2, k + 0.3, v + 0.4)]
    weights = (heads[0] @ heads[1].mT / 4).softmax(-1)
    mixed = (weights @ heads[2]).transpose(1, 2).reshape(2, 5, 32)
    second = first + block.attn.out_proj(mixed) + 0.5
    third = second + 0.6
    fourth = third + block.mlp(block.ln_2(third)) + 0.7
    torch.testing.assert_close(out, fourth + 0.8, atol=1e-5, rtol=1e-5)
    for key, read in (('pre_block', x), ('attn_projq', normed),
                      ('attn_projv', normed), ('attn_projout', mixed),
                      ('pre_mlp', second), ('beside_mlp', block.ln_2(third)),
                      ('beside_block', first)):
        torch.testing.assert_close(reads[key], read, atol=1e-5, rtol=1e-5)


def test_reader_carries_its_state_and_follows_the_frames():
    stack = _stack(dict(type='Tap', layers=[0, 3]),
                   dict(type='Halve', layers=[2]))
    out = _encoder()(tiny.frames(8), 8, stacks=[stack])
    (reader, state), = out.states
    assert reader is stack[0]
    assert [(layer, frames) for layer, frames, _ in state] == [(3, 4), (0, 8)]


# -- gradients -------------------------------------------------------------


def _grad_record(encoder: nn.Module, *stacks) -> list[bool]:
    """Which blocks run with gradients switched on."""
    record: list[bool] = []

    def note(block: nn.Module, args: tuple, out: tuple) -> None:
        record.append(torch.is_grad_enabled())
        assert out[0].requires_grad == record[-1]

    hooks = [block.register_forward_hook(note)
             for block in encoder.transformer.resblocks]
    encoder(tiny.frames(8), 8, stacks=stacks)
    for hook in hooks:
        hook.remove()
    return record


def test_no_gradient_below_the_first_trained_adapter_of_a_frozen_encoder():
    encoder = _encoder(frozen=True)
    lora, halve = dict(type='LoRA', layers=[2]), dict(type='Halve', layers=[1])
    no, yes = False, True
    assert _grad_record(encoder) == [no, no, no, no]
    assert _grad_record(encoder, _stack(lora)) == [no, no, yes, yes]
    assert _grad_record(encoder, _stack(lora, halve)) == [no, yes, yes, yes]
    # Every owner's stack counts.
    assert _grad_record(encoder, _stack(lora), _stack(halve)) == [
        no, yes, yes, yes]
    # A frozen adapter is as good as none.
    both = _stack(lora, halve)
    both[1].requires_grad_(False)
    assert _grad_record(encoder, both) == [no, no, yes, yes]
    assert _grad_record(_encoder(), _stack(lora)) == [yes] * 4


def test_readers_train_without_a_gradient_in_the_encoder():
    encoder = _encoder(frozen=True)
    stack = _stack(dict(type='Tap', layers=[1, 3]))
    assert _grad_record(encoder, stack) == [False] * 4
    (_, state), = encoder(tiny.frames(8), 8, stacks=[stack]).states
    sum(read.sum() for _, _, read in state).backward()
    assert stack[0].weight.grad.any()


def test_a_frozen_encoder_keeps_no_tensor_below_the_first_adapter():
    encoder = _encoder(frozen=True)
    kept: list[Tensor] = []

    def pack(tensor: Tensor) -> Tensor:
        kept.append(tensor)
        return tensor

    counts = []
    for layer in (0, 2, 3):
        kept.clear()
        with torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
            encoder(tiny.frames(8), 8,
                    stacks=[_stack(dict(type='AdaptFormer', layers=[layer]))])
        counts.append(len(kept))
    assert counts[0] > counts[1] > counts[2] > 0
    kept.clear()
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
        encoder(tiny.frames(8), 8)
    assert kept == []


# -- copies ----------------------------------------------------------------


def _mixed() -> AdapterStack:
    return tiny.randomize(_stack(
        dict(type='AdaptFormer', layers=[0, 3], dropout=0.),
        dict(type='Halve', layers=[2]), dict(type='LoRA', layers=[1]),
        dict(type='Tap', layers=[3])))


def test_state_dict_round_trip_and_names():
    old, new = _mixed(), _mixed()
    state = old.state_dict()
    assert {'0.3.up.weight', '1.2.scale', '2.1.low_rank.q.down.weight',
            '3.weight'} <= set(state)
    new.load_state_dict(state, strict=True)
    encoder, images = _encoder(), tiny.frames(8)
    assert torch.equal(encoder(images, 8, stacks=[old]).tokens,
                       encoder(images, 8, stacks=[new]).tokens)


def test_deep_copy_and_moving_average_are_independent():
    stack = _mixed().eval()
    twin = copy.deepcopy(stack)
    average = ExponentialMovingAverage(stack, momentum=0.5)
    encoder, images = _encoder(), tiny.frames(8)
    before = encoder(images, 8, stacks=[stack]).tokens
    with torch.no_grad():
        stack[1]['2'].scale.add_(1)
    average.update_parameters(stack)  # the first update copies
    with torch.no_grad():
        stack[1]['2'].scale.add_(1)
    average.update_parameters(stack)
    torch.testing.assert_close(average.module[1]['2'].scale,
                               stack[1]['2'].scale - 0.5)
    assert torch.equal(encoder(images, 8, stacks=[twin]).tokens, before)
    assert not torch.allclose(
        encoder(images, 8, stacks=[average.module]).tokens, before)


def test_names_do_not_hide_what_mmaction_registers():
    for name in ('LoRA', 'AdaptFormer'):
        assert MODELS.get(name).__module__.startswith('mmvidadapt.')
        assert name not in ROOT_MODELS.module_dict
