"""InTI: equations (6)-(13) in plain loops, and the checks of its reference."""

import math
from typing import Dict, List

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmvidadapt.apis.inti_weights import frame_weights, pair_weights
from mmvidadapt.models.adapters import InTI
from mmvidadapt.models.backbones import CLIPViT
from mmvidadapt.models.clip.layout import TokenLayout

C, GRID = 8, (2, 3)
N = GRID[0] * GRID[1]
VARIANTS = {
    'F': {},
    'D': dict(global_pointwise=0),
    'literal': dict(shared_token=True, cube='dw', global_pointwise=0),
    'mean pairing': dict(cube_pairing='mean'),
    'shared token': dict(shared_token=True),
    'token only': dict(contexts=()),
    'cube only': dict(contexts=('cube', )),
    'frame only': dict(contexts=('frame', )),
    'global only': dict(contexts=('global', )),
    'no frame': dict(contexts=('global', 'cube')),
    'add': dict(fusion='add'),
    'add, literal cube': dict(fusion='add', cube='dw'),
    'add, no cube': dict(fusion='add', contexts=('frame', 'global')),
    'cat': dict(fusion='cat'),
    'cat, no cube': dict(fusion='cat', contexts=('frame', 'global')),
    'cat, token only': dict(fusion='cat', contexts=()),
    'sigmoid': dict(head='sigmoid'),
    'attention': dict(head='attention'),
}
ARCH = dict(embed_dims=C, num_layers=4, num_heads=2, patch_size=4,
            image_size=8, output_dims=C)


def layout(num_frames: int) -> TokenLayout:
    return TokenLayout('framewise', num_frames, GRID)


def perturbed(num_frames: int = 4, **kwargs) -> InTI:
    """An InTI none of whose parameters is zero or constant."""
    inti = InTI(C, num_frames, **kwargs)
    with torch.no_grad():
        for p in inti.parameters():
            p.add_(0.4 * torch.randn_like(p))
    return inti.eval()


def tokens(num_frames: int = 4, clips: int = 2) -> Tensor:
    return torch.randn(clips * num_frames, 1 + N, C)


# --- The equations once more, one token at a time, straight from the paper.


def transform(x: Tensor, t: nn.Module) -> Tensor:
    x = (x - x.mean()) / (x.var(unbiased=False) + 1e-5).sqrt()
    x = t.fc.weight @ (x * t.norm.weight + t.norm.bias) + t.fc.bias
    return x * 0.5 * (1 + torch.erf(x / math.sqrt(2)))


def gelu(x: Tensor) -> Tensor:
    return x * 0.5 * (1 + torch.erf(x / math.sqrt(2)))


def depthwise(x: Tensor, conv: nn.Module, t: int, row: int,
              col: int) -> Tensor:
    """One output of a 3x3x3 convolution on ``x[t][row][col]`` vectors."""
    out = conv.bias
    for dt in (-1, 0, 1):
        for dr in (-1, 0, 1):
            for dc in (-1, 0, 1):
                at = (t + dt, row + dr, col + dc)
                if (0 <= at[0] < len(x) and 0 <= at[1] < GRID[0]
                        and 0 <= at[2] < GRID[1]):
                    out = out + x[at] * conv.weight[:, 0, dt + 1, dr + 1,
                                                    dc + 1]
    return out


def cube_context(x: Tensor, m: nn.Module, kw: dict) -> Dict[tuple, Tensor]:
    """``F_cube`` by (pair, token)."""
    num_frames = len(x)
    grid = x[:, 1:].unflatten(1, GRID)
    if kw.get('cube') == 'dw':
        return {(j, 1 + r * GRID[1] + c): depthwise(grid, m.dw, 2 * j, r, c)
                for j in range(num_frames // 2)
                for r in range(GRID[0]) for c in range(GRID[1])}
    inner = F.layer_norm(grid, (C, ), m.norm.weight, m.norm.bias)
    inner = inner @ m.pw1.weight.T + m.pw1.bias
    result = {}
    for j in range(num_frames // 2):
        for r in range(GRID[0]):
            for c in range(GRID[1]):
                both = [m.pw2.weight @ depthwise(inner, m.dw, t, r, c)
                        + m.pw2.bias for t in (2 * j, 2 * j + 1)]
                result[j, 1 + r * GRID[1] + c] = (
                    (both[0] + both[1]) / 2
                    if kw.get('cube_pairing') == 'mean' else
                    torch.cat([transform(v, m.pair) for v in both]))
    return result


def global_context(cls: Tensor, m: nn.Module, kw: dict) -> Tensor:
    """``F_global`` from ``(T, C)``."""
    pointwise = kw.get('global_pointwise', 2)
    x = [m.pw1.weight @ v + m.pw1.bias if pointwise else v for v in cls]

    def convolve(x: List[Tensor], conv: nn.Module) -> List[Tensor]:
        padded = [torch.zeros(C), *x, torch.zeros(C)]
        return [sum(conv.weight[:, 0, i] * padded[t + i] for i in range(3))
                + conv.bias for t in range(len(x))]

    for conv in m.convs[:2]:
        x = convolve(x, conv)
        x = [gelu(torch.stack(x[t:t + 2]).amax(0))
             for t in range(0, len(x), 2)]
    x = torch.stack(convolve(x, m.convs[2])).mean(0)
    return gelu(m.pw2.weight @ x + m.pw2.bias if pointwise else x)


def reference(m: InTI, x: Tensor, kw: dict) -> Dict[str, Tensor]:
    """InTI on one clip ``(T, 1+N, C)``."""
    num_frames = len(x)
    x = x + m.sigma * m.position  # (8)
    contexts = kw.get('contexts', ('cube', 'frame', 'global'))
    fusion, head = kw.get('fusion', 'sep'), kw.get('head', 'softmax')
    if 'cube' in contexts:
        cube = cube_context(x, m.context['cube'], kw)
    if 'global' in contexts:
        clip = global_context(x[:, 0], m.context['global'], kw)
    merged = torch.zeros(num_frames // 2, 1 + N, C)
    weights = torch.zeros(num_frames // 2, 1 + N, 2)
    for j in range(num_frames // 2):
        for k in range(1 + N):
            pair = x[2 * j, k], x[2 * j + 1, k]
            token = torch.cat([transform(pair[0], m.token[0]),
                               transform(pair[1], m.token[-1])])  # (9)
            levels = []
            if 'cube' in contexts:
                levels.append(cube[j, k] if k else torch.zeros(C))  # (10)
            if 'frame' in contexts:  # (11)
                f = m.context['frame']
                levels.append(transform(torch.cat([
                    transform(x[2 * j, 0], f.frames[0]),
                    transform(x[2 * j + 1, 0], f.frames[-1])]), f.joint))
            if 'global' in contexts:
                levels.append(clip)  # (12)
            inputs = {
                'sep': [token, sum(levels, torch.zeros(C))],
                'add': [sum(levels, token)],
                'cat': [token, *levels],
            }[fusion]
            hidden = gelu(m.fc1.weight @ torch.cat(inputs) + m.fc1.bias)
            if head == 'attention':
                logits = torch.stack([hidden[:C // 2] @ m.query,
                                      hidden[C // 2:] @ m.query])
            else:
                logits = m.fc2.weight @ hidden + m.fc2.bias
            w = (1 / (1 + torch.exp(-logits)) if head == 'sigmoid' else
                 torch.exp(logits) / torch.exp(logits).sum())  # (6), (13)
            weights[j, k] = w
            merged[j, k] = w[0] * pair[0] + w[1] * pair[1]  # (7)
    return dict(merged=merged, weights=weights)


@pytest.mark.parametrize('name, num_frames', [
    *((name, num_frames) for name in VARIANTS for num_frames in (2, 4)),
    *((name, 8) for name in ('F', 'D', 'literal')),
])
def test_matches_the_equations_in_plain_loops(name, num_frames):
    kw = VARIANTS[name]
    inti, x = perturbed(num_frames, **kw), tokens(num_frames)
    for train in (False, True):
        with torch.set_grad_enabled(train):
            z, out = inti(x, layout(num_frames), None)
            weights = inti.predict_weights(x, layout(num_frames))
        assert z.shape == (num_frames, 1 + N, C)
        assert out == layout(num_frames // 2)
        with torch.no_grad():
            for i, clip in enumerate(x.unflatten(0, (2, num_frames))):
                expected = reference(inti, clip, kw)
                torch.testing.assert_close(
                    z.unflatten(0, (2, -1))[i], expected['merged'],
                    atol=1e-5, rtol=1e-4)
                torch.testing.assert_close(
                    weights[i], expected['weights'], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize('num_frames', [2, 4, 8, 16])
def test_halves_the_frames(num_frames):
    inti = InTI(C, num_frames)
    z, out = inti(tokens(num_frames, clips=3), layout(num_frames), None)
    assert z.shape == (3 * num_frames // 2, 1 + N, C)
    assert out.num_frames == inti.frames_after(num_frames) == num_frames // 2
    assert out.grid_size == GRID


@pytest.mark.parametrize('name', VARIANTS)
def test_starts_as_the_mean_of_each_pair(name):
    x = tokens()
    z, _ = InTI(C, 4, **VARIANTS[name])(x, layout(4), None)
    mean = x.unflatten(0, (-1, 2)).mean(1)
    torch.testing.assert_close(z, mean, atol=1e-6, rtol=0)


def test_weights_sum_to_one_and_the_output_lies_between_the_tokens():
    inti, x = perturbed(), tokens()
    with torch.no_grad():
        inti.sigma.zero_()
    weights = inti.predict_weights(x, layout(4))
    assert weights.dtype == torch.float32
    torch.testing.assert_close(weights.sum(-1), torch.ones(2, 2, 1 + N))
    assert weights.std() > 0.01
    z = inti(x, layout(4), None)[0]
    even, odd = x.unflatten(0, (-1, 2)).unbind(1)
    assert (z >= torch.minimum(even, odd) - 1e-6).all()
    assert (z <= torch.maximum(even, odd) + 1e-6).all()


def test_sigmoid_weights_need_not_sum_to_one():
    sums = perturbed(head='sigmoid').predict_weights(tokens(), layout(4))
    assert ((sums.sum(-1) - 1).abs() > 0.05).any()


@pytest.mark.parametrize('frame', [0, 1])
def test_extreme_logits_select_one_frame(frame):
    inti, x = perturbed(), tokens()
    with torch.no_grad():
        inti.sigma.zero_()
        inti.fc2.bias.copy_(torch.tensor([1e4, -1e4]) * (1 - 2 * frame))
    z = inti(x, layout(4), None)[0]
    assert torch.equal(z, x[frame::2])


def test_a_still_video_stays_as_it_is():
    inti, frame = perturbed(), torch.randn(1, 1 + N, C)
    with torch.no_grad():
        inti.sigma.zero_()
    z = inti(frame.expand(4, -1, -1), layout(4), None)[0]
    assert torch.equal(z, frame.expand(2, -1, -1))


def test_sigma_has_a_gradient_at_the_first_step_and_then_all_have():
    inti = InTI(C, 4)
    goal = torch.randn(4, 1 + N, C)
    optimizer = torch.optim.SGD(inti.parameters(), lr=0.1)
    for step in range(3):
        optimizer.zero_grad()
        (inti(tokens(), layout(4), None)[0] * goal).sum().backward()
        missing = [name for name, p in inti.named_parameters()
                   if p.grad is None]
        assert not missing  # None would stop distributed training
        zero = [name for name, p in inti.named_parameters()
                if not p.grad.any()]
        if step == 0:
            assert 'sigma' not in zero and 'fc2.weight' not in zero
            assert 'position' in zero
        optimizer.step()
    assert not zero


@pytest.mark.parametrize('name', VARIANTS)
def test_every_parameter_gets_a_gradient(name):
    inti = perturbed(**VARIANTS[name])
    inti(tokens(), layout(4), None)[0].square().sum().backward()
    assert not [n for n, p in inti.named_parameters()
                if p.grad is None or not p.grad.any()]
    if name == 'token only':  # the documented structural zeros
        assert not inti.fc1.weight.grad[:, C:].any()


@pytest.mark.parametrize('contexts, changed', [
    ((), {2}),
    (('frame', ), {2}),
    (('cube', ), {2, 3}),  # frame 6 is a neighbour of frame 5
    (('global', ), {0, 1, 2, 3}),
])
def test_pairs_meet_only_in_cube_and_global_context(contexts, changed):
    inti, x = perturbed(8, contexts=contexts), tokens(8, clips=1)
    other = x.clone()
    # A strong change: global pooling keeps only maxima.
    other[5] += 3 * torch.randn(1 + N, C)
    weights = [inti.predict_weights(v, layout(8))[0] for v in (x, other)]
    assert {j for j in range(4)
            if not torch.equal(weights[0][j], weights[1][j])} == changed


@pytest.mark.parametrize('cube', ['pw_dw_pw', 'dw'])
def test_nothing_crosses_clips(cube):
    inti, x = perturbed(cube=cube), tokens(clips=3)
    other = x.clone()
    other[4:8] = torch.randn(4, 1 + N, C)
    z, other_z = (inti(v, layout(4), None)[0] for v in (x, other))
    assert torch.equal(z[:2], other_z[:2])
    assert torch.equal(z[4:], other_z[4:])
    assert not torch.equal(z[2:4], other_z[2:4])


# Two modules, in front of which 16 and 8 frames arrive: reference, section 3.
@pytest.mark.parametrize('kwargs, base, large', [
    (dict(), 11.324166, 20.079622),  # F
    (dict(global_pointwise=0), 8.961798, 15.881222),  # D
    (dict(shared_token=True, cube='dw', global_pointwise=0), 4.82, 8.52),
])
def test_parameter_counts_of_the_designs(kwargs, base, large):
    for dims, millions in ((768, base), (1024, large)):
        count = parameters(dims, **kwargs) / 1e6
        assert count == pytest.approx(millions, abs=0.006)


@pytest.mark.parametrize('kwargs, total', [
    # Table 5a, then 5b, as predicted for the default design.
    (dict(contexts=()), 118.1),
    (dict(contexts=['cube']), 121.1),
    (dict(contexts=['frame']), 120.5),
    (dict(contexts=['global']), 120.5),
    (dict(contexts=['cube', 'frame']), 123.5),
    (dict(contexts=['frame', 'global']), 122.9),
    (dict(), 125.9),
    (dict(fusion='add'), 124.7),
    (dict(fusion='cat'), 128.2),
    (dict(head='sigmoid'), 125.9),
    (dict(head='attention'), 125.9),
])
def test_parameter_counts_of_the_ablations(kwargs, total):
    count = 114.55 + parameters(768, **kwargs) / 1e6
    assert count == pytest.approx(total, abs=0.1)


def parameters(dims: int, **kwargs) -> int:
    with torch.device('meta'):
        return sum(p.numel() for num_frames in (16, 8)
                   for p in InTI(dims, num_frames, **kwargs).parameters())


def test_position_is_interpolated_for_another_frame_count():
    inti = perturbed(4)
    with torch.no_grad():
        inti.position.copy_(torch.arange(4.)[:, None, None].expand(4, 1, C))
        inti.sigma.fill_(1)
        inti.fc2.weight.zero_()
        inti.fc2.bias.zero_()
    z, out = inti(torch.zeros(8, 1 + N, C), layout(8), None)
    assert out.num_frames == 4
    # Rows 0, .25, .75, 1.25, 1.75, 2.25, 2.75, 3 of the longer table.
    torch.testing.assert_close(
        z[:, 0, 0], torch.tensor([0.125, 1, 2, 2.875]))
    z, out = inti(torch.zeros(2, 1 + N, C), layout(2), None)
    torch.testing.assert_close(z[:, 0, 0], torch.tensor([1.5]))


def test_checkpoint_of_another_frame_count_loads():
    source, target = perturbed(4), perturbed(8)
    state = source.state_dict()
    target.load_state_dict(state)
    assert state['position'].shape == (4, 1, C)  # the caller's is untouched
    assert target.position.shape == (8, 1, C)
    x = tokens(8)
    torch.testing.assert_close(target(x, layout(8), None)[0],
                               source(x, layout(8), None)[0])


def test_checkpoint_of_another_width_is_refused():
    with pytest.raises(RuntimeError, match='size mismatch for position'):
        InTI(2 * C, 4).load_state_dict(perturbed(4).state_dict())


def test_odd_frame_counts_are_refused_at_construction_and_at_run_time():
    message = (r'InTI before block 5 cannot pair 7 frames: use an even number '
               r'of frames, divisible by 2\^k .*, or set pad_odd=True')
    with pytest.raises(ValueError, match=message):
        InTI(C, 7, layer=5)
    with pytest.raises(ValueError, match=message):
        InTI(C, 8, layer=5)(tokens(7), layout(7), None)
    with pytest.raises(ValueError, match='InTI cannot pair 3 frames'):
        InTI(C, 4).predict_weights(tokens(3), layout(3))


def test_pad_odd_repeats_the_last_frame():
    inti, x = perturbed(5, pad_odd=True), tokens(5, clips=2)
    assert inti.frames_after(5) == 3 and len(inti.position) == 6
    z, out = inti(x, layout(5), None)
    clips = x.unflatten(0, (2, 5))
    padded = torch.cat([clips, clips[:, -1:]], dim=1).flatten(0, 1)
    expected, expected_out = inti(padded, layout(6), None)
    assert torch.equal(z, expected)
    assert out == expected_out == layout(3)


@pytest.mark.parametrize('kwargs, message', [
    (dict(contexts=('cube', 'scene')),
     "no contexts='scene': use 'cube' or 'frame' or 'global'"),
    (dict(fusion='sum'), "no fusion='sum': use 'sep' or 'add' or 'cat'"),
    (dict(head='tanh'),
     "no head='tanh': use 'softmax' or 'sigmoid' or 'attention'"),
    (dict(cube='full'), "no cube='full': use 'pw_dw_pw' or 'dw'"),
    (dict(cube_pairing='max'),
     "no cube_pairing='max': use 'concat' or 'mean'"),
    (dict(global_pointwise=1), 'no global_pointwise=1: use 0 or 2'),
    (dict(embed_dims=7), 'embed_dims=7 is odd: use an even width'),
])
def test_bad_options_are_named(kwargs, message):
    with pytest.raises(ValueError, match=message):
        InTI(**{'embed_dims': C, 'num_frames': 4, **kwargs})


def test_tokens_that_do_not_fit_the_layout_are_refused():
    with pytest.raises(ValueError, match='got 6 tokens per frame where the '
                       r'\(2, 3\) grid and the class token make 7'):
        InTI(C, 4)(torch.randn(4, 6, C), layout(4), None)


@pytest.mark.parametrize('name', ['F', 'attention', 'sigmoid', 'literal'])
def test_bfloat16_stays_close_and_weights_are_float32(name):
    inti, x = perturbed(**VARIANTS[name]), tokens()
    z = inti(x, layout(4), None)[0]
    with torch.autocast('cpu', torch.bfloat16):
        mixed = inti(x, layout(4), None)[0]
        weights = inti.predict_weights(x, layout(4))
    assert mixed.dtype == weights.dtype == torch.float32
    torch.testing.assert_close(mixed, z, atol=0.1, rtol=0)
    if name != 'sigmoid':  # exact only where the softmax is in float32
        torch.testing.assert_close(weights.sum(-1), torch.ones(2, 2, 1 + N),
                                   atol=1e-6, rtol=0)
    pure = inti.bfloat16()(x.bfloat16(), layout(4), None)[0]
    assert pure.dtype == torch.bfloat16
    torch.testing.assert_close(pure.float(), z, atol=0.3, rtol=0)


def test_gradients_flow_under_bfloat16_autocast():
    inti = perturbed()
    with torch.autocast('cpu', torch.bfloat16):
        z = inti(tokens(), layout(4), None)[0]
    z.square().sum().backward()
    assert not [n for n, p in inti.named_parameters()
                if p.grad is None or not p.grad.any()]


# --- In the encoder.


def backbone(*adapters: dict, num_frames: int = 8, perturb: bool = True,
             **kwargs) -> CLIPViT:
    model = CLIPViT(
        encoder=dict(arch=ARCH, act='quick_gelu', **kwargs),
        num_frames=num_frames, adapters=adapters)
    if perturb:
        with torch.no_grad():
            for p in model.adapters.parameters():
                p.add_(0.4 * torch.randn_like(p))
    return model.eval()


def clip(num_frames: int = 8) -> Tensor:
    return torch.randn(2, 3, num_frames, 8, 8)


def test_backbone_halves_time_at_each_layer():
    model = backbone(dict(type='InTI', layers=[1, 3]))
    assert model(clip()).shape == (2, 2, C)
    first, second = (m for m in model.modules() if isinstance(m, InTI))
    assert (len(first.position), len(second.position)) == (8, 4)
    assert (first.layer, second.layer) == (1, 3)


def test_without_inti_the_backbone_is_plain_clip():
    plain = backbone()
    adapted = backbone(dict(type='InTI', layers=[2]))
    adapted.encoder.load_state_dict(plain.encoder.state_dict())
    x = clip()
    assert not torch.allclose(adapted(x).mean(1), plain(x).mean(1))
    # A clip of equal frames stays one frame: InTI then changes nothing.
    for m in adapted.modules():
        if isinstance(m, InTI):
            nn.init.zeros_(m.sigma)
    still = x[:, :, :1].expand(-1, -1, 8, -1, -1)
    torch.testing.assert_close(adapted(still), plain(still)[:, :4])


def test_backbone_refuses_inti_after_the_last_block():
    with pytest.raises(ValueError, match=r'InTI at layers=\[2, 4\]: 4 is '
                       'outside the blocks 0 to 3 .*use 0-based indices'):
        backbone(dict(type='InTI', layers=[2, 4]))


def test_backbone_refuses_frames_that_cannot_be_halved_often_enough():
    with pytest.raises(ValueError, match='InTI before block 1 cannot pair 7 '
                       'frames: use an even number'):
        backbone(dict(type='InTI', layers=[1]), num_frames=7)
    with pytest.raises(ValueError, match='InTI before block 3 cannot pair 3 '
                       r'frames: .* divisible by 2\^k'):
        backbone(dict(type='InTI', layers=[1, 3]), num_frames=6)
    model = backbone(dict(type='InTI', layers=[1, 3]))
    with pytest.raises(ValueError, match='before block 3 cannot pair 5'):
        model(clip(10))


def test_checkpointing_changes_nothing():
    model = backbone(dict(type='InTI', layers=[1, 3])).train()
    x = clip()
    z = model(x)
    z.square().sum().backward()
    grads = [p.grad.clone() for p in model.adapters.parameters()]
    model.zero_grad()
    model.encoder.transformer.with_cp = True
    again = model(x)
    again.square().sum().backward()
    torch.testing.assert_close(again, z)
    for grad, p in zip(grads, model.adapters.parameters()):
        torch.testing.assert_close(p.grad, grad)


def test_compiles_to_one_graph(compiler):
    inti, x = perturbed(), tokens()
    expected = inti(x, layout(4), None)[0]
    inti.compile(backend='eager', fullgraph=True)
    torch.testing.assert_close(inti(x, layout(4), None)[0], expected)


# --- Weight maps.


def test_weights_of_all_frames_sum_to_one_for_every_final_token():
    model = backbone(dict(type='LoRA', layers=[0, 2]),
                     dict(type='InTI', layers=[1, 3]))
    weights = frame_weights(model, clip())
    assert weights.shape == (2, 8, 5) and weights.dtype == torch.float32
    sums = weights.unflatten(1, (2, 4)).sum(2)
    torch.testing.assert_close(sums, torch.ones(2, 2, 5))
    assert weights.std() > 0.01


def test_weights_are_those_of_the_merging_itself():
    # Without attention and MLP between, the output is the weighted sum.
    model = backbone(dict(type='InTI', layers=[1, 3]))
    with torch.no_grad():
        for block in model.encoder.transformer.resblocks:
            for p in (*block.attn.out_proj.parameters(),
                      *block.mlp.c_proj.parameters()):
                p.zero_()
        for m in model.modules():
            if isinstance(m, InTI):
                m.sigma.zero_()
    x = clip()
    with torch.no_grad():
        frames = model.encoder.ln_pre(
            model.encoder.embed(x.transpose(1, 2).flatten(0, 1), 8)[0])
        out = model.encoder(x.transpose(1, 2).flatten(0, 1), 8,
                            stacks=[model.adapters])
    weighted = frames.unflatten(0, (2, 8)) * frame_weights(
        model, x).unsqueeze(-1)
    torch.testing.assert_close(
        out.tokens.unflatten(0, (2, 2)),
        weighted.unflatten(1, (2, 4)).sum(2))


def test_weights_in_pairs_are_those_that_each_adapter_used():
    model = backbone(dict(type='InTI', layers=[1, 3]))
    first, second = (m for m in model.modules() if isinstance(m, InTI))
    with torch.no_grad():  # the first frame of each pair, then the second
        first.fc2.bias.copy_(torch.tensor([9., -9.]))
        second.fc2.bias.copy_(torch.tensor([-9., 9.]))
    pairs = pair_weights(model, clip())
    assert [weights.shape for weights in pairs] == [(2, 8, 5), (2, 4, 5)]
    assert (pairs[0][:, 0::2] > .99).all() and (pairs[1][:, 1::2] > .99).all()
    for weights in pairs:
        torch.testing.assert_close(weights[:, 0::2] + weights[:, 1::2],
                                   torch.ones_like(weights[:, 0::2]))
    # Frame 2 wins the second pair, which wins the first four frames.
    together = frame_weights(model, clip())
    assert (together[:, [2, 6]] > .98).all()
    torch.testing.assert_close(together[:, 2], pairs[0][:, 2] * pairs[1][:, 1])


def test_looking_at_weights_leaves_the_model_as_it_was():
    model = backbone(dict(type='InTI', layers=[1]), dict(
        type='LinearPooling', layers=[3])).train()
    model.encoder.ln_pre.eval()
    modes = [m.training for m in model.modules()]
    state = {k: v.clone() for k, v in model.state_dict().items()}
    frame_weights(model, clip())
    assert modes == [m.training for m in model.modules()]
    assert not any(m._forward_pre_hooks for m in model.adapters.modules())
    for key, value in model.state_dict().items():
        assert torch.equal(value, state[key])
    assert all(p.grad is None for p in model.parameters())


def test_a_repeated_last_frame_has_the_weight_of_both():
    model = backbone(dict(type='InTI', layers=[1, 3], pad_odd=True),
                     num_frames=5)
    weights = frame_weights(model, clip(5))
    assert weights.shape == (2, 5, 5)
    # 5 frames -> (01)(23)(44) -> (0123)(4444)
    torch.testing.assert_close(weights[:, :4].sum(1), torch.ones(2, 5))
    torch.testing.assert_close(weights[:, 4], torch.ones(2, 5))


def test_weights_of_a_compiled_model_are_those_of_the_plain_one(compiler):
    model = backbone(dict(type='LinearPooling', layers=[0]))
    del model.encoder.transformer.resblocks[1:]
    x = clip()
    expected = frame_weights(model, x)
    model.encoder.transformer.compile_blocks(backend='eager')
    with torch.no_grad():
        model(x)
    torch.testing.assert_close(frame_weights(model, x), expected)


@pytest.mark.parametrize('adapters, message', [
    ((), 'holds no adapter that weighs frames: add InTI or LinearPooling'),
    ((dict(type='InTI', layers=[1]), dict(type='ConvPooling', layers=[2])),
     'ConvPooling merges frames without weights: look at a model'),
])
def test_weights_need_adapters_that_weigh(adapters, message):
    with pytest.raises(ValueError, match=message):
        frame_weights(backbone(*adapters), clip())
