"""MSTA: two halves beside the blocks of two towers, a layer in common."""

from collections import Counter

import pytest
import torch
import torch.nn.functional as F
from mmaction.registry import MODELS

import mmvidadapt.models  # noqa: F401
from mmvidadapt.models.adapters import MSTA, AdapterStack, MSTAText, MSTAVideo
from mmvidadapt.models.clip import TokenLayout, ViCLIPVisionEncoder
from tests import tiny_clip as tiny

VISUAL = dict(embed_dims=32, num_heads=2, num_layers=2, num_frames=2,
              grid_size=(2, 2))
TEXT = dict(embed_dims=16, num_heads=2, num_layers=2, num_frames=1,
            grid_size=(12, 1), kind='text')
#: Frames 4, grid 2 x 2: framewise clips and a joint clip.
FRAMEWISE = TokenLayout('framewise', 4, (2, 2))
JOINT = TokenLayout('joint', 4, (2, 2))


def _b16(**options) -> MSTA:
    """At the sizes of ViCLIP-B/16, without memory."""
    with torch.device('meta'):
        return MSTA(
            visual=dict(embed_dims=768, num_heads=12, num_layers=12,
                        num_frames=8, grid_size=(14, 14), kind='joint'),
            text=dict(embed_dims=512, num_heads=8, num_layers=12,
                      num_frames=1, grid_size=(32, 1), kind='text'),
            **options)


def _msta(**options) -> MSTA:
    return MSTA(**{**dict(layers=[0, 1], visual=VISUAL, text=TEXT,
                          bottleneck_dims=8), **options})


def _count(module) -> int:
    return sum(p.numel() for p in module.parameters())


def _video(**options) -> MSTAVideo:
    layer = tiny.randomize(MSTAVideo(32, **{**dict(
        bottleneck_dims=8, scale=0.5), **options}))
    return layer.eval()


def _joint(framewise: torch.Tensor) -> torch.Tensor:
    """Patches of framewise tokens in joint order, the first frame's class
    token before them."""
    clips = framewise.unflatten(0, (-1, 4))  # (B, T, 1+N, C)
    patches = clips[:, :, 1:].transpose(1, 2).flatten(1, 2)
    return torch.cat([clips[:, 0, :1], patches], dim=1)


# -- parameters (fact sheet 2.4) -------------------------------------------


@pytest.mark.parametrize('dims, layers, count', [
    (256, range(12), 8_712_192), (128, range(7, 12), 1_744_000),
    (64, range(12), 2_069_760), (128, range(9, 12), 1_046_400),
    (256, range(6, 12), 4_356_096)])
def test_parameters_of_the_paper(dims, layers, count):
    assert _count(_b16(layers=layers, bottleneck_dims=dims)) == count


def test_parameters_without_shared_layers_and_with_512_dims():
    assert _count(_b16(layers=range(12), bottleneck_dims=256,
                       shared=False)) == 7_922_688
    # 512 groups would not divide 768; there are gcd(512, 768) = 256.
    assert _count(_b16(layers=range(12), bottleneck_dims=512)) == 18_972_672


def test_one_tower_alone():
    full = _b16(layers=range(12), bottleneck_dims=256)
    assert _count(_b16(layers=range(12), bottleneck_dims=256,
                       towers=['text'])) == (
        _count(full) - _count(full.visual))
    assert _count(_b16(layers=range(12), bottleneck_dims=256,
                       towers='visual')) == _count(full) - _count(full.text)


# -- equations -------------------------------------------------------------


@pytest.mark.parametrize('norm', ['none', 'ln_1'])
def test_text_half_matches_equation_13_restated(norm):
    block = tiny.randomize(tiny.text()).transformer.resblocks[0]
    layer = tiny.randomize(MSTAText(
        16, bottleneck_dims=8, scale=0.3, adapter_norm=norm)).eval()
    x = torch.randn(2, 5, 16)
    read = x if norm == 'none' else F.layer_norm(
        x, (16, ), block.ln_1.weight, block.ln_1.bias)
    h = torch.relu(read @ layer.down.weight.T + layer.down.bias)
    h = torch.relu(h @ layer.project.weight.T + layer.project.bias)
    torch.testing.assert_close(
        layer(x, TokenLayout('text', 1, (5, 1)), block),
        0.3 * (h @ layer.up.weight.T + layer.up.bias))


def _temporal_loop(layer: MSTAVideo, h: torch.Tensor) -> torch.Tensor:
    """The temporal term of one patch's ``(T, m)``, output by output."""
    weight, bias = layer.temporal_up.weight, layer.temporal_up.bias
    width, inputs = weight.shape[:2]
    per_group = width // layer.temporal_up.groups
    out = torch.zeros(len(h), width)
    for t in range(len(h)):
        for c in range(width):
            first = c // per_group * inputs
            out[t, c] = bias[c]
            for tap in range(3):
                if 0 <= t + tap - 1 < len(h):
                    out[t, c] += weight[c, :, tap, 0, 0] @ h[
                        t + tap - 1, first:first + inputs]
    return out


@pytest.mark.parametrize('dims', [8, 12])  # 12 in groups of 3, 8 outputs
def test_video_half_matches_equations_11_and_12_restated(dims):
    layer = _video(bottleneck_dims=dims)
    x = torch.randn(8, 5, 32)  # two clips of four frames, four patches
    h = torch.relu(x @ layer.down.weight.T + layer.down.bias)
    h = torch.relu(h @ layer.project.weight.T + layer.project.bias)
    wanted = h @ layer.up.weight.T + layer.up.bias
    spatial = wanted.clone()
    for clip in range(2):
        for patch in range(1, 5):
            frames = slice(4 * clip, 4 * clip + 4)
            wanted[frames, patch] += _temporal_loop(layer, h[frames, patch])
    with torch.no_grad():
        out = layer(x, FRAMEWISE, None)
        torch.testing.assert_close(out, 0.5 * wanted)
        # The class token gets the spatial part only.
        torch.testing.assert_close(out[:, 0], 0.5 * spatial[:, 0])
        # The joint order of tokens: the same patches at other places.
        torch.testing.assert_close(
            layer(_joint(x), JOINT, None)[:, 1:], _joint(out)[:, 1:])


@pytest.mark.parametrize('layout', [JOINT, FRAMEWISE], ids=['joint', 'frames'])
def test_gradients_are_those_of_the_equations(layout):
    layer = _video(scale_gradient=False)
    x = torch.randn(4, 5, 32)
    x = (_joint(x) if layout is JOINT else x).requires_grad_()

    def restated():
        h = torch.relu(x @ layer.down.weight.T + layer.down.bias)
        h = torch.relu(h @ layer.project.weight.T + layer.project.bias)
        grid = h[:, 1:]  # to (B, m, T, N, 1)
        grid = (grid.unflatten(1, (4, 4)).permute(0, 3, 2, 1)
                if layout is JOINT else grid.permute(2, 0, 1)[None])
        temporal = layer.temporal_up(grid.unsqueeze(-1)).squeeze(-1)
        temporal = (temporal.permute(0, 3, 2, 1).flatten(1, 2)
                    if layout is JOINT else temporal[0].permute(1, 2, 0))
        return 0.5 * (layer.up(h) + F.pad(temporal, (0, 0, 1, 0)))

    out, wanted = layer(x, layout, None), restated()
    torch.testing.assert_close(out, wanted)
    grad, inputs = torch.randn_like(out), [x, *layer.parameters()]
    for found, right in zip(torch.autograd.grad(out, inputs, grad),
                            torch.autograd.grad(wanted, inputs, grad),
                            strict=True):
        torch.testing.assert_close(found, right)


def test_frames_matter_through_the_temporal_projection_only():
    layer, x = _video(), torch.randn(4, 5, 32)

    def reversed_after(y):
        return layer(y.flip(0), FRAMEWISE, None).flip(0)

    assert not torch.allclose(reversed_after(x), layer(x, FRAMEWISE, None))
    torch.nn.init.zeros_(layer.temporal_up.weight)
    torch.testing.assert_close(
        reversed_after(x), layer(x, FRAMEWISE, None))


# -- neutral case ----------------------------------------------------------


def test_scale_zero_is_the_frozen_tower_to_the_bit():
    adapter = tiny.randomize(_msta(scale=0.)).eval()
    images, vision, text = tiny.frames(), tiny.vision(), tiny.text(
        arch=dict(tiny.TEXT, num_layers=2))
    assert torch.equal(vision(images, 2, stacks=[adapter.visual]).tokens,
                       vision(images, 2).tokens)
    assert torch.equal(text(tiny.TOKENS, stacks=[adapter.text]),
                       text(tiny.TOKENS))


def test_blocks_below_the_first_adapted_are_as_before():
    adapter, vision = tiny.randomize(_msta(layers=[1])), tiny.vision()
    seen = []
    vision.transformer.resblocks[0].register_forward_hook(
        lambda module, args, out: seen.append(out[0]))
    for stacks in ([], [adapter.visual]):
        vision(tiny.frames(), 2, stacks=stacks)
    assert torch.equal(*seen)


def test_starts_as_kaiming_says():
    torch.manual_seed(0)
    adapter = MSTA([0], dict(VISUAL, embed_dims=768), TEXT,
                   bottleneck_dims=256)
    half = adapter.visual.at(0)['beside_block'][0]
    for layer, std in ((half.down, (2 / 256)**0.5), (half.up, (2 / 768)**0.5),
                       (half.temporal_up, 0.0295),
                       (adapter.shared['0'], (2 / 256)**0.5)):
        assert layer.weight.std().item() == pytest.approx(std, rel=0.05)
        assert not layer.bias.any()


# -- the shared layer and gradients ----------------------------------------


def _losses(adapter: MSTA) -> dict:
    vision = tiny.vision(frozen=True)
    text = tiny.text(arch=dict(tiny.TEXT, num_layers=2), frozen=True)
    return dict(
        video=vision(tiny.frames(), 2, stacks=[adapter.visual]).tokens,
        text=text(tiny.TOKENS, stacks=[adapter.text]))


@pytest.mark.parametrize('tower', ['video', 'text'])
def test_each_tower_reaches_the_shared_layers(tower):
    adapter = tiny.randomize(_msta())
    _losses(adapter)[tower].square().mean().backward()
    for layer in adapter.shared.values():
        assert layer.weight.grad.any() and layer.bias.grad.any()


def test_the_shared_layer_is_one_object_and_saved_once():
    adapter = _msta()
    for layer in '01':
        used = [stack.at(int(layer))['beside_block'][0]._lent[0]
                for stack in (adapter.visual, adapter.text)]
        assert used[0] is used[1] is adapter.shared[layer]
    names = [key for key in adapter.state_dict() if 'project' in key
             or 'shared' in key]
    assert names == [f'shared.{layer}.{kind}' for layer in '01'
                     for kind in ('weight', 'bias')]
    fresh = tiny.randomize(_msta())
    fresh.load_state_dict(adapter.state_dict())
    assert all(torch.equal(a, b) for a, b in zip(
        fresh.parameters(), adapter.parameters()))


def test_every_parameter_gets_gradient():
    adapter = tiny.randomize(_msta())
    sum(out.square().mean() for out in _losses(adapter).values()).backward()
    assert [name for name, param in adapter.named_parameters()
            if param.grad is None or not param.grad.any()] == []


def test_gradient_scaling_changes_those_of_parameters_only():
    x = torch.randn(4, 5, 32)
    found = {}
    for scaled in (True, False):
        torch.manual_seed(0)
        layer = tiny.randomize(MSTAVideo(
            32, bottleneck_dims=8, scale=0.005, dropout=0.,
            scale_gradient=scaled))
        read = x.clone().requires_grad_()
        out = layer(read, FRAMEWISE, None)
        out.square().mean().backward()
        found[scaled] = (out, read.grad, [
            p.grad for p in layer.parameters()])
    torch.testing.assert_close(found[True][0], found[False][0])
    torch.testing.assert_close(found[True][1], found[False][1])
    for with_it, without in zip(found[True][2], found[False][2]):
        torch.testing.assert_close(with_it, without / 0.005)


def test_dropout_acts_in_training_only():
    layer, x = _video(dropout=0.5), torch.randn(4, 5, 32)
    assert torch.equal(layer(x, FRAMEWISE, None), layer(x, FRAMEWISE, None))
    layer.train()
    assert not torch.equal(
        layer(x, FRAMEWISE, None), layer(x, FRAMEWISE, None))


# -- what a step costs -----------------------------------------------------


def _towers(layers) -> tuple:
    """Both towers, of twelve blocks, and the adapters."""
    arch = dict(tiny.VISION, num_layers=12)
    vision = ViCLIPVisionEncoder(arch, 'quick_gelu', num_frames=2,
                                 frozen=True)
    text = tiny.text(arch=dict(tiny.TEXT, num_layers=12), frozen=True)
    adapter = _msta(layers=layers, visual=dict(
        VISUAL, num_layers=12, kind='joint'), text=dict(TEXT, num_layers=12))
    return tiny.randomize(vision), tiny.randomize(text), adapter.train()


@pytest.mark.parametrize('first', [0, 7])
def test_below_the_first_adapted_block_nothing_is_kept(first):
    vision, text, adapter = _towers(range(first, 12))
    kept, entered, inside = Counter(), {}, ['outside']

    def follow(module, *key):
        def enter(_, args):
            entered[key] = args[0].requires_grad
            inside.append(key)

        module.register_forward_pre_hook(enter)
        module.register_forward_hook(lambda *_: [inside.pop(), None][1])

    def pack(tensor):
        kept[inside[-1]] += 1
        return tensor

    for name, tower, stack in (('video', vision, adapter.visual),
                               ('text', text, adapter.text)):
        for index, block in enumerate(tower.transformer.resblocks):
            follow(block, name, index)
            for half in stack.at(index).get('beside_block', []):
                follow(half, name, index, 'adapter')
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
        features = (vision(tiny.frames(), 2, stacks=[adapter.visual]).tokens,
                    text(tiny.TOKENS, stacks=[adapter.text]))
    assert all(out.requires_grad for out in features)
    for name in ('video', 'text'):
        # The first adapted block itself is frozen, so it keeps nothing, and
        # its input, patches and embeddings among them, needs no gradient.
        for index in range(12):
            assert entered[name, index] == (index > first)
            assert (kept[name, index] > 0) == (index > first)
            assert (kept[name, index, 'adapter'] > 0) == (index >= first)


@pytest.mark.parametrize('train', [False, True])
def test_1569_joint_tokens_go_through_the_fused_kernel(train):
    arch = dict(tiny.VISION, embed_dims=16, image_size=224)
    vision = ViCLIPVisionEncoder(arch, 'quick_gelu', frozen=True)
    adapter = _msta(visual=dict(
        VISUAL, embed_dims=16, num_frames=8, grid_size=(14, 14),
        kind='joint')).train(train)
    frames = torch.randn(8, 3, 224, 224)
    with torch.profiler.profile(record_shapes=True) as seen:
        with torch.set_grad_enabled(train):
            tokens = vision(frames, 8, stacks=[adapter.visual]).tokens
        if train:
            tokens.mean().backward()
    calls = {event.key: (event.count, event.input_shapes[0])
             for event in seen.key_averages(group_by_input_shape=True)
             if 'attention' in event.key}
    fused = 'aten::_scaled_dot_product_flash_attention_for_cpu'
    assert calls[fused] == (2, [1, 2, 1569, 8])
    # The first block is frozen, and so is what enters it.
    assert calls.get(f'{fused}_backward', (0, ))[0] == train
    assert not any('math' in key for key in calls)


@pytest.mark.parametrize('halves', [True, False])
def test_compiled_blocks_and_autocast_answer_alike(halves, compiler):
    options = dict(
        type='CLIPViT', num_frames=2,
        encoder=dict(type='ViCLIPVisionEncoder', arch=tiny.VISION,
                     act='quick_gelu', frozen=True),
        adapters=[dict(type='MSTAVideo', layers=[0, 1], bottleneck_dims=8,
                       scale=0.5, dropout=0.)])
    plain = tiny.randomize(MODELS.build(options))
    clips = torch.randn(2, 3, 2, 32, 32)
    other = plain
    if not halves:
        torch._dynamo.reset()
        other = MODELS.build(dict(options, compile=dict(
            backend='eager', fullgraph=True)))
        other.load_state_dict(plain.state_dict())
    found = []
    for model, cast in ((plain, False), (other, halves)):
        with torch.autocast('cpu', torch.bfloat16, enabled=cast):
            out = model.train()(clips)
        model.zero_grad()
        out.float().square().mean().backward()
        found.append([out.detach(), *(
            p.grad for p in model.adapters.parameters())])
    torch._dynamo.reset()
    for a, b in zip(*found, strict=True):
        if halves:
            assert (a - b).norm() <= 0.1 * a.norm()
        else:
            torch.testing.assert_close(a, b)


# -- towers of different depth ---------------------------------------------


def test_twice_as_many_image_blocks_are_paired_two_to_one():
    adapter = _msta(layers=range(4), visual=dict(VISUAL, num_layers=4))
    assert sorted(adapter.shared) == ['0', '1', '2', '3']
    for block, partner in ((0, 0), (2, 1)):
        assert adapter.text.at(partner)['beside_block'][0]._lent[0] is (
            adapter.shared[str(block)])
    assert _count(adapter.text) == _count(_msta(layers=[0, 1]).text)


@pytest.mark.parametrize('options, message', [
    (dict(visual=dict(VISUAL, num_layers=3)),
     '3 blocks of the image tower cannot be paired with 2 of the text '
     'tower: .*use MSTAVideo and MSTAText'),
    (dict(layers=[1], visual=dict(VISUAL, num_layers=4)),
     r'none of the blocks \[1\] has a partner among the 2'),
    (dict(layers=[2]), r'layers=\[2\]: 2 is outside the blocks 0 to 1'),
    (dict(towers=['audio']), r"unknown towers=\['audio'\]"),
    (dict(towers=[]), r'unknown towers=\[\]'),
    (dict(bottleneck_dims=0), 'positive bottleneck_dims, got 0'),
    (dict(adapter_norm='ln_2'), "unknown adapter_norm='ln_2'")])
def test_what_cannot_be_built(options, message):
    with pytest.raises(ValueError, match=message):
        _msta(**options)


def test_in_a_list_of_adapters_it_names_its_halves():
    with pytest.raises(ValueError, match='MSTA does not sit in one tower: use '
                       'MSTAVideo .image tower. or MSTAText'):
        AdapterStack([dict(type='MSTA', layers=[0])], **VISUAL)
    stack = AdapterStack([dict(type='MSTAVideo', layers=[0, 1],
                               bottleneck_dims=8)], **VISUAL)
    out = tiny.vision(frozen=True)(tiny.frames(), 2, stacks=[
        tiny.randomize(stack)]).tokens
    out.square().mean().backward()
    assert all(p.grad is not None and p.grad.any()
               for p in stack.parameters())
