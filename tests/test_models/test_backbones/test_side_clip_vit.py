"""The side network: its parts restated, its switches, the frozen contract."""

import copy

import pytest
import torch
import torch.nn.functional as F
from mmaction.registry import MODELS
from mmaction.structures import ActionDataSample
from mmengine.logging import MMLogger
from mmengine.model import ExponentialMovingAverage
from mmengine.optim import build_optim_wrapper
from mmengine.registry import init_default_scope
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from mmvidadapt.apis.memory import saved_bytes
from mmvidadapt.models.backbones import (
    PRESETS,
    SideCLIPViT,
    side_clip_vit,
)
from mmvidadapt.models.clip import TokenLayout
from mmvidadapt.models.side import (
    DifferenceGate,
    SideBlock,
    SideStem,
    Tap,
    TemporalBranch,
)
from mmvidadapt.models.side.block import SideAttention, shift_class_tokens
from mmvidadapt.models.strict_loading import PartialLoadError
from mmvidadapt.models.switches import switches_from_tensor
from tests.tiny_clip import randomize

ARCH = dict(embed_dims=48, num_layers=3, num_heads=3, patch_size=8,
            image_size=24, output_dims=16)
LAYOUT = TokenLayout('framewise', 4, (3, 3))
B, T, N, D = 2, 4, 9, 32


def side(**changes) -> SideCLIPViT:
    """A side network of 32 channels with values that no default has."""
    torch.manual_seed(0)
    return randomize(started(**changes))


def started(**changes) -> SideCLIPViT:
    """The same as it starts."""
    config = dict(encoder=dict(arch=ARCH, act='quick_gelu'), num_frames=T,
                  side_dims=D, num_heads=2)
    return SideCLIPViT(**{**config, **changes})


def clip(window: int = 5, frames: int = T) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(B, 3, frames * window, 24, 24, generator=generator)


def tokens(*shape: int) -> Tensor:
    generator = torch.Generator().manual_seed(2)
    return torch.randn(*shape, generator=generator)


def volume(x: Tensor) -> Tensor:
    """Tokens ``(B*T, N, C)`` as ``(B, C, T, h, w)``."""
    return x.view(B, T, 3, 3, -1).permute(0, 4, 1, 2, 3)


def loss_of(model: SideCLIPViT, x: Tensor) -> Tensor:
    """A loss that reaches every output channel differently."""
    y = model(x)
    return (y * tokens(*y.shape)).sum()


# -- parts -----------------------------------------------------------------


@pytest.mark.parametrize('padding', [0, 1])
def test_stem_is_two_padded_convolutions_with_batch_norms(padding) -> None:
    stem = randomize(SideStem(D, 8, 5, alpha=0.7, beta=1.3,
                              padding=padding)).train()
    frames = clip().view(B, 3, T, 5, 24, 24)

    def path(x: Tensor, part: nn.Module, norm: nn.Module) -> Tensor:
        weight = part.weight.view(3, D, -1, 8, 8).permute(1, 2, 0, 3, 4)
        y = F.conv3d(x, weight, part.bias, stride=(1, 8, 8),
                     padding=(1, padding, padding))
        y = F.batch_norm(y, None, None, norm.weight, norm.bias, True)
        return y.permute(0, 2, 3, 4, 1).reshape(B * T, N, D)

    steps = [frames[:, :, :, m + 1] - frames[:, :, :, m] for m in range(4)]
    wanted = (
        1.3 * path(frames[:, :, :, 2], stem.centre, stem.centre_norm)
        + 0.7 * path(torch.cat(steps, dim=1), stem.difference,
                     stem.difference_norm))
    torch.testing.assert_close(stem(clip()), wanted, rtol=1e-4, atol=1e-4)


def test_stem_sees_no_motion_in_a_still_window() -> None:
    stem = randomize(SideStem(D, 8, 3, 1., 1., 0)).eval()
    still = clip(1).repeat_interleave(3, dim=2)
    stem.difference.bias.data.zero_()
    stem.difference_norm.bias.data.zero_()
    without = SideStem(D, 8, 1, 1., 1., 0).eval()
    without.load_state_dict(
        {k: v for k, v in stem.state_dict().items() if 'difference' not in k})
    stem.difference_norm.running_mean.zero_()
    torch.testing.assert_close(stem(still), without(clip(1)))


def test_temporal_branch_is_a_stack_of_convolutions() -> None:
    branch = randomize(TemporalBranch(D)).train()
    x = tokens(B * T, N, D)
    y = F.batch_norm(volume(x), None, None, branch.norm.weight,
                     branch.norm.bias, True)
    for part in (branch.fc1, branch.conv, branch.fc2):
        weight = part.weight.view(*part.weight.shape[:2], -1, 1, 1)
        groups = D if part is branch.conv else 1
        y = F.conv3d(y, weight, part.bias, groups=groups,
                     padding=(1 if groups > 1 else 0, 0, 0))
    torch.testing.assert_close(volume(branch(x, LAYOUT)), y, rtol=1e-4,
                               atol=1e-4)


@pytest.mark.parametrize('kernel', [3, 5, 7])
@pytest.mark.parametrize('kind', ['pool', 'conv', 'direct'])
def test_difference_is_that_of_its_name(kind, kernel) -> None:
    gate = randomize(DifferenceGate(D, kind, kernel))
    q = tokens(B * T, N, D // 16)
    clips = q.view(B, T, N, -1)
    wanted = torch.zeros_like(clips)
    for t in range(T):
        near = range(max(t - kernel // 2, 0), min(t + kernel // 2 + 1, T))
        if kind == 'pool':
            other = torch.stack([clips[:, s] for s in near]).amax(0)
            wanted[:, t] = clips[:, t] - other
        elif kind == 'conv':
            other = gate.conv.bias + sum(
                clips[:, s] * gate.conv.weight[:, 0, s - t + kernel // 2]
                for s in near)
            wanted[:, t] = clips[:, t] - other
        elif t + 1 < T:
            wanted[:, t] = clips[:, t + 1] - clips[:, t]
    found = gate.subtract(q, LAYOUT).view_as(clips)
    torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize('kind', ['pool', 'direct'])
def test_gate_scales_a_still_video_alike_everywhere(kind) -> None:
    gate = randomize(DifferenceGate(D, kind, 3)).eval()
    u = tokens(B, 1, N, D).expand(B, T, N, D).reshape(B * T, N, D)
    scale = gate(u, LAYOUT) / u
    wanted = 0.5 + torch.sigmoid(gate.norm2(torch.zeros(1, D)))
    torch.testing.assert_close(scale, wanted.expand_as(scale))


def test_class_token_halves_come_from_the_neighbouring_frames() -> None:
    cls = tokens(B * T, 1, D)
    clips, half = cls.view(B, T, D), D // 2
    found = shift_class_tokens(cls, LAYOUT).view(B, T, D)
    for t in range(T):
        after = clips[:, t + 1, :half] if t + 1 < T else 0 * clips[:, 0, :half]
        before = clips[:, t - 1, half:] if t else 0 * clips[:, 0, half:]
        assert torch.equal(found[:, t], torch.cat([after, before], dim=1))


def test_attention_is_multi_head_attention_with_patches_as_queries() -> None:
    attention = randomize(SideAttention(D, 2))
    stock = nn.MultiheadAttention(D, 2, batch_first=True)
    stock.load_state_dict(attention.state_dict())
    x = tokens(B * T, 1 + N, D)
    wanted, _ = stock(x[:, 1:], x, x, need_weights=False)
    torch.testing.assert_close(attention(x), wanted, rtol=1e-5, atol=1e-5)


def test_tap_is_norm_and_linear_also_in_backward() -> None:
    tap = randomize(Tap(48, D))
    x = tokens(B * T, 1 + N, 48)
    found = tap(tap.normalise(x))
    wanted = tap.proj(tap.norm(x))
    torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-5)
    weight = tokens(*found.shape)
    parameters = list(tap.parameters())
    for ours, theirs in zip(
            torch.autograd.grad((found * weight).sum(), parameters),
            torch.autograd.grad((wanted * weight).sum(), parameters),
            strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


def test_positions_reach_the_attention_only() -> None:
    block = SideBlock(D, 2, 4.0, TemporalBranch(D)).eval()
    nn.init.zeros_(block.attn.out_proj.weight)
    x, cls = tokens(B * T, N, D), tokens(B * T, 1, D)
    with_positions = block(x, cls, tokens(N, D), LAYOUT)
    assert torch.equal(with_positions,
                       block(x, cls, torch.zeros(N, D), LAYOUT))


def test_weights_start_as_in_the_released_program() -> None:
    torch.manual_seed(0)
    block = SideBlock(256, 4, 4.0, TemporalBranch(256))
    std = {name: p.std().item() for name, p in block.named_parameters()}
    assert std['mlp.c_fc.weight'] == pytest.approx(512**-0.5, rel=0.02)
    for name in ('mlp.c_proj.weight', 'attn.out_proj.weight'):
        assert std[name] == pytest.approx((256 * 24)**-0.5, rel=0.02)
    assert std['attn.in_proj_weight'] == pytest.approx(256**-0.5, rel=0.02)
    stem = SideStem(64, 8, 5, 1., 1., 1)
    stock = nn.Conv3d(12, 64, (3, 8, 8))
    assert stem.difference.weight.abs().max().item() == pytest.approx(
        stock.weight.abs().max().item(), rel=0.01)


# -- the network -----------------------------------------------------------


@pytest.mark.parametrize('window', [1, 3, 5])
@pytest.mark.parametrize('frames', [1, 2, 4])
def test_output_is_one_feature_for_each_window(window, frames) -> None:
    model = side(window=window, num_frames=frames).eval()
    y = model(clip(window, frames))
    assert y.shape == (B, frames, D)
    assert torch.isfinite(y).all()


def test_clip_sees_the_centre_of_each_window_only() -> None:
    model = side().eval()
    seen = []
    model.encoder.conv1.register_forward_pre_hook(
        lambda _, args: seen.append(args[0]))
    x = clip()
    model(x)
    centres = x.view(B, 3, T, 5, 24, 24)[:, :, :, 2]
    assert torch.equal(seen[0].view(B, T, 3, 24, 24), centres.transpose(1, 2))


def test_presets_are_the_published_models() -> None:
    gates = {name: [b.temporal.gate is not None for b in
                    side(preset=name).blocks] for name in PRESETS}
    assert gates == dict(paper=[True] * 3, published=[True] * 3,
                         side4video=[False] * 3)
    paper, published, side4video = (side(preset=name).stem for name in (
        'paper', 'published', 'side4video'))
    assert (paper.window, paper.alpha, paper.beta, paper.padding) == (
        5, 1.0, 1.0, 1)
    assert (published.window, published.alpha, published.padding) == (
        5, 0.5, 1)
    assert (side4video.window, side4video.padding) == (1, 0)
    assert not hasattr(side4video, 'difference')


@pytest.mark.parametrize('change', [
    dict(alpha=0.5), dict(beta=2.0), dict(stem_padding=0),
    dict(td_layers=[0]), dict(difference='direct'), dict(kernel_size=7)
], ids=str)
def test_every_switch_changes_the_function(change) -> None:
    model, other = side().eval(), side(**change).eval()
    other.load_state_dict({
        key: value for key, value in model.state_dict().items()
        if key in other.state_dict() and key != 'switches'})
    assert not torch.allclose(model(clip()), other(clip()), rtol=0, atol=1e-6)


def test_td_layers_names_the_blocks_with_a_gate() -> None:
    model = side(td_layers=[0, 2])
    assert [b.temporal.gate is not None for b in model.blocks] == [
        True, False, True]


@pytest.mark.parametrize('changes', [
    dict(), dict(preset='side4video'), dict(difference='conv'),
    dict(with_cp=True)], ids=str)
def test_every_side_parameter_gets_gradient(changes) -> None:
    model = side(**changes).train()
    loss_of(model, clip(model.window)).backward()
    lonely = [name for name, p in model.named_parameters()
              if p.requires_grad and (p.grad is None or not p.grad.any())]
    # A shift before "q - pool(q)" or before a batch norm cancels.
    cancelled = [name for name in lonely if not name.endswith(
        ('gate.norm1.bias', 'stem.centre.bias', 'stem.difference.bias',
         'blocks.2.attn.out_proj.bias', 'blocks.2.mlp.c_proj.bias'))]
    assert not cancelled


def test_frames_stay_apart_in_the_output() -> None:
    # What a temporal neck needs: (B, T, D), not an average.
    model = side().eval()
    y = model(clip())
    assert not torch.allclose(y[:, 0], y[:, 1])


# -- frozen ----------------------------------------------------------------


def graph_parameters(loss: Tensor) -> set:
    """Ids of all leaves that a backward pass would reach."""
    found, seen, todo = set(), set(), [loss.grad_fn]
    while todo:
        node = todo.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        if hasattr(node, 'variable'):
            found.add(id(node.variable))
        todo += [parent for parent, _ in node.next_functions]
    return found


def kept_bytes(model: SideCLIPViT, x: Tensor) -> int:
    """Bytes that autograd keeps beside parameters, buffers and the clip."""
    return saved_bytes(lambda: loss_of(model, x),
                       [*model.state_dict(keep_vars=True).values(), x])


def test_encoder_saves_nothing_for_backward() -> None:
    encoder = side().train().encoder
    frames = torch.randn(T, 3, 24, 24)
    assert saved_bytes(lambda: encoder(frames, T)) == 0
    assert not encoder(frames, T).tokens.requires_grad


def test_no_gradient_path_enters_the_encoder() -> None:
    model = side().train()
    reached = graph_parameters(loss_of(model, clip()))
    frozen = {id(p) for p in model.encoder.parameters()}
    trained = {id(p) for p in model.parameters()} - frozen
    assert reached == trained


def test_encoder_stays_byte_for_byte_while_the_side_trains() -> None:
    init_default_scope('mmaction')
    model = MODELS.build(dict(
        type='Recognizer3D',
        backbone=dict(
            type='SideCLIPViT', encoder=dict(arch=ARCH, act='quick_gelu'),
            num_frames=T, side_dims=D, num_heads=2),
        cls_head=dict(type='LinearHead', num_classes=3, in_channels=D)))
    wrapper = build_optim_wrapper(model, dict(
        constructor='TrainableParamsConstructor',
        optimizer=dict(type='AdamW', lr=1e-2, weight_decay=0.15)))
    before = copy.deepcopy(model.state_dict())
    model.train()
    samples = [ActionDataSample().set_gt_label(i) for i in range(B)]
    for _ in range(2):
        losses = model(clip().unsqueeze(1), samples, mode='loss')
        wrapper.update_params(losses['loss_cls'])
    after = model.state_dict()
    frozen = {id(p) for p in model.backbone.encoder.parameters()}
    listed = {id(p) for group in wrapper.optimizer.param_groups
              for p in group['params']}
    assert not frozen & listed
    assert not any(m.training for m in model.backbone.encoder.modules())
    assert model.backbone.blocks[0].training
    for name in before:
        same = torch.equal(before[name], after[name])
        assert same == (name.startswith('backbone.encoder.')
                        or name == 'backbone.switches'), name


@pytest.mark.parametrize('option, value, wanted', [
    ('post_norm', True, False), ('project', True, False),
    ('out_type', 'avg_featmap', 'cls_token')])
def test_encoder_is_never_anything_but_frozen_blocks(
        option, value, wanted) -> None:
    with pytest.raises(ValueError, match=f'{option}={value!r} in encoder, but '
                       'a side network reads the blocks of a frozen CLIP, '
                       f'{option}={wanted!r}: remove it'):
        side(encoder=dict(arch=ARCH, act='quick_gelu', **{option: value}))
    with pytest.raises(ValueError, match='frozen=False in encoder'):
        side(encoder=dict(arch=ARCH, act='quick_gelu', frozen=False))


# -- added to CLIP's features ----------------------------------------------


@pytest.mark.parametrize('out_type', ['cls_token', 'avg_featmap'])
def test_features_added_to_clip_s_start_as_clip_s(out_type) -> None:
    encoder = dict(arch=ARCH, act='quick_gelu', out_type=out_type)
    model = started(add_to_clip=True, encoder=encoder).eval()
    plain = MODELS.build(dict(
        type='CLIPViT', num_frames=T, encoder=dict(encoder, project=True)))
    plain.encoder.load_state_dict(model.encoder.state_dict())
    x = clip()
    with torch.no_grad():
        found = model(x)
        assert found.shape == (B, T, ARCH['output_dims'])
        assert torch.equal(found, plain.eval()(x[:, :, 2::5]))


def test_features_added_to_clip_s_are_a_linear_map_of_side_features() -> None:
    model, lone = side(add_to_clip=True).eval(), side().eval()
    state = model.state_dict()
    lone.load_state_dict(
        {key: state[key] for key in lone.state_dict()}, strict=True)
    x = clip()
    with torch.no_grad():
        added = model(x) - lone(x) @ model.to_clip.weight.T
        other = clip()
        other[:, :, [0, 1, 3, 4]] += 1  # not the frames that CLIP sees
        others = model(other) - lone(other) @ model.to_clip.weight.T
    torch.testing.assert_close(added, others, rtol=1e-4, atol=1e-4)
    model.train()
    loss_of(model, x).backward()
    assert all(p.grad is None for p in model.encoder.parameters())
    lonely = [name for name, p in model.named_parameters()
              if p.requires_grad and (p.grad is None or not p.grad.any())]
    assert lonely == []


def test_an_encoder_that_is_added_to_projects() -> None:
    side(add_to_clip=True, encoder=dict(
        arch=ARCH, act='quick_gelu', project=True))
    with pytest.raises(ValueError, match='project=False in encoder, but a '
                       'side network adds to the features of a frozen CLIP, '
                       'project=True: remove it, or use CLIPViT'):
        side(add_to_clip=True, encoder=dict(
            arch=ARCH, act='quick_gelu', project=False))


# -- memory and precision --------------------------------------------------


def test_lean_backward_has_equal_gradients_and_statistics() -> None:
    plain, lean = side().train(), side(with_cp=True).train()
    lean.load_state_dict(plain.state_dict())
    found = [loss_of(model, clip()) for model in (plain, lean)]
    assert torch.equal(*found)
    for loss in found:
        loss.backward()
    for (name, p), q in zip(plain.named_parameters(), lean.parameters(),
                            strict=True):
        if p.requires_grad:
            torch.testing.assert_close(q.grad, p.grad, rtol=1e-5, atol=1e-5,
                                       msg=name)
    for (name, p), q in zip(plain.named_buffers(), lean.buffers(),
                            strict=True):
        assert torch.equal(p, q), name
    counts = {int(b) for n, b in lean.named_buffers() if 'num_batches' in n}
    assert counts == {1}


def test_lean_backward_saves_a_fraction() -> None:
    plain, lean = side().train(), side(with_cp=True).train()
    assert kept_bytes(lean, clip()) < 0.4 * kept_bytes(plain, clip())


def test_lean_backward_alone_returns_freed_memory(monkeypatch) -> None:
    asked = []
    monkeypatch.setattr(side_clip_vit, 'return_freed_memory',
                        lambda: asked.append(True))
    side()
    assert not asked
    side(with_cp=True)
    assert asked


def test_lean_backward_keeps_tap_and_input_of_each_block() -> None:
    model = side(with_cp=True).train()
    block = B * T * (48 * (1 + N) + D * N) * 4
    head = B * T * N * D * 4  # post_norm's input, and the first block's
    assert kept_bytes(model, clip()) == pytest.approx(
        3 * block + head, rel=0.1)


def test_bfloat16_encoder_leaves_the_side_network_in_float32() -> None:
    model = side(encoder_dtype='bfloat16').train()
    seen = {}
    model.encoder.transformer.resblocks[0].mlp.c_fc.register_forward_hook(
        lambda *a: seen.update(clip=a[2].dtype))
    model.blocks[0].mlp.c_fc.register_forward_hook(
        lambda *a: seen.update(side=a[2].dtype))
    y = model(clip())
    y.sum().backward()
    assert seen == dict(clip=torch.bfloat16, side=torch.float32)
    assert y.dtype == torch.float32
    assert all(p.dtype == torch.float32 for p in model.parameters())


def test_bfloat16_encoder_moves_taps_by_two_percent_at_most() -> None:
    model, rough = side(), side(encoder_dtype='bfloat16')
    for net in (model, rough):
        # CLIP's own scale of weights.
        net.encoder.transformer._init_parameters(48, 3)
    rough.load_state_dict(model.state_dict())
    taps = {net: [] for net in (model, rough)}
    for net, found in taps.items():
        for block in net.encoder.transformer.resblocks:
            block.register_forward_hook(
                lambda *a, found=found: found.append(a[2][0].float()))
        net.eval()(clip())
    for exact, other in zip(*taps.values(), strict=True):
        error = (other - exact).norm() / exact.norm()
        assert 0 < error < 2e-2


def test_side_network_trains_under_autocast() -> None:
    model = side().train()
    with torch.autocast('cpu', torch.bfloat16):
        y = model(clip())
    y.float().square().sum().backward()
    assert all(torch.isfinite(p.grad).all() for p in model.parameters()
               if p.requires_grad)


@pytest.mark.parametrize('autocast', [False, True])
def test_lean_backward_is_compiled_around(autocast) -> None:
    torch._dynamo.reset()
    plain, lean = side().train(), side(with_cp=True).train()
    compiled = torch.compile(lean, backend='aot_eager')
    with torch.autocast('cpu', torch.bfloat16, enabled=autocast):
        for net in (plain, compiled):
            net(clip()).float().square().sum().backward()
    for (name, p), q in zip(plain.named_parameters(), lean.parameters(),
                            strict=True):
        if p.requires_grad:
            torch.testing.assert_close(q.grad, p.grad, msg=name)
    for p, q in zip(plain.buffers(), lean.buffers(), strict=True):
        torch.testing.assert_close(p, q)


@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float64])
def test_a_converted_model_computes_in_its_precision(dtype) -> None:
    model = side().eval()
    with torch.no_grad():
        expected = model(clip())
        y = model.to(dtype)(clip().to(dtype))
    assert y.dtype == dtype
    atol = 0.1 * expected.std().item() if dtype == torch.bfloat16 else 1e-4
    torch.testing.assert_close(y.float(), expected, rtol=0, atol=atol)


def test_batch_norms_are_found_by_sync_bn() -> None:
    model = nn.SyncBatchNorm.convert_sync_batchnorm(side())
    kinds = {type(m) for m in model.modules()
             if isinstance(m, nn.modules.batchnorm._BatchNorm)}
    assert kinds == {nn.SyncBatchNorm}


@pytest.mark.skipif(not torch.cuda.is_available(), reason='needs a GPU')
def test_sync_bn_runs_in_ddp_on_a_gpu(tmp_path) -> None:
    import torch.distributed as dist
    dist.init_process_group('nccl', init_method=f'file://{tmp_path}/store',
                            rank=0, world_size=1)
    try:
        plain = side(with_cp=True).cuda().train()
        model = nn.SyncBatchNorm.convert_sync_batchnorm(
            copy.deepcopy(plain))
        model = nn.parallel.DistributedDataParallel(model, device_ids=[0])
        x = clip().cuda()
        torch.testing.assert_close(model(x), plain(x), rtol=1e-3, atol=1e-3)
        model(x).square().sum().backward()
    finally:
        dist.destroy_process_group()


# -- bad input -------------------------------------------------------------


@pytest.mark.parametrize('frames', [4, 15, 25])
@pytest.mark.parametrize('training', [True, False])
def test_clip_of_other_length_is_refused(frames, training) -> None:
    with pytest.raises(ValueError, match=f'a clip of {frames} frames does '
                       'not hold num_frames=4 windows of window=5, which are '
                       r'20: set clip_len=4 in the sampler and widen it by '
                       r'LocalWindow\(window=5\)'):
        side().train(training)(clip(1, frames))


def test_window_around_single_frames_is_refused_without_motion() -> None:
    with pytest.raises(ValueError, match='which are 4: set clip_len=4 in the '
                       'sampler and leave LocalWindow out'):
        side(preset='side4video')(clip(5))


@pytest.mark.parametrize('changes, message', [
    (dict(window=4), 'window=4 has no frame in its middle: choose an odd'),
    (dict(kernel_size=2), 'kernel_size=2 has no frame in its middle'),
    (dict(num_heads=3), 'side_dims=32 is not divisible by num_heads=3'),
    (dict(side_dims=40), 'side_dims=40 is not divisible by 16'),
    (dict(td_layers=[3]), r"td_layers=\[3\] is neither 'all' nor a list of "
     'side blocks from 0 to 2'),
    (dict(td_layers='last'), "td_layers='last' is neither"),
    (dict(difference='minus'), "unknown difference 'minus': use pool, conv"),
    (dict(preset='code'), "unknown preset 'code': use paper, published"),
    (dict(encoder_dtype='int8'), "unknown encoder_dtype 'int8'"),
    (dict(stem_padding=4), 'stem_padding=4 is not between 0 and half a patch'
     ' of 8'),
    (dict(stem_padding=1.), 'stem_padding=1.0 is not between'),
    (dict(td_layers=1), "td_layers=1 is neither 'all' nor a list"),
    (dict(num_frames=0), 'num_frames=0 is no count: give a whole number'),
    (dict(num_frames='8'), "num_frames='8' is no count"),
    (dict(num_heads=0), 'num_heads=0 is no count'),
    (dict(side_dims=-32), 'side_dims=-32 is no count'),
    (dict(difference='direct', kernel_size=5), "kernel_size=5 is of a pool "
     "or a convolution, and difference='direct' has none: remove"),
    (dict(difference='conv', td_layers=[]), "difference='conv' with "
     'kernel_size=3 is of the TD-Adapter, and no layer has one: remove it'),
    (dict(kernel_size=5, preset='side4video'), 'kernel_size=5 is of the TD-'),
    (dict(window=1, alpha=0.5), 'alpha=0.5 weighs frame differences, and '
     'window=1 has none'),
    (dict(encoder=dict(type='CLIPViT', arch=ARCH, act='gelu')),
     'SideCLIPViT reads the tokens of each frame, and CLIPViT has none: use a '
     'CLIPVisionEncoder'),
], ids=lambda v: str(v)[:40])
def test_bad_option_is_one_sentence(changes, message) -> None:
    with pytest.raises(ValueError, match=message):
        side(**changes)


def test_input_that_is_no_clip_is_refused() -> None:
    with pytest.raises(ValueError, match="set input_format='NCTHW'"):
        side()(torch.randn(2, 5, 20, 24, 24))


def test_one_value_per_channel_has_no_statistics() -> None:
    arch = dict(ARCH, image_size=8)
    model = side(encoder=dict(arch=arch, act='quick_gelu'),
                 num_frames=1).train()
    x = torch.randn(1, 3, 5, 8, 8)
    with pytest.raises(ValueError, match='a single value per channel, which '
                       'has no variance: train with more clips per batch'):
        model(x)
    assert model.eval()(x).shape == (1, 1, D)


@pytest.mark.parametrize('trained, told', [
    (dict(num_frames=8), 'num_frames=8, and SideCLIPViT has num_frames=4'),
    (dict(alpha=0.5), 'alpha=0.5, and SideCLIPViT has alpha=1.0'),
    (dict(beta=2.0), 'beta=2.0, and SideCLIPViT has beta=1.0'),
    (dict(stem_padding=0), 'stem_padding=0, and SideCLIPViT has'),
    (dict(num_heads=4), 'num_heads=4, and SideCLIPViT has num_heads=2'),
    (dict(difference='direct'), "difference='direct', and SideCLIPViT has "
     "difference='pool'"),
    (dict(kernel_size=7), 'kernel_size=7, and SideCLIPViT has kernel_size=3'),
    (dict(encoder=dict(arch=ARCH, act='gelu')),
     "encoder.act='gelu', and SideCLIPViT has encoder.act='quick_gelu'"),
    (dict(encoder=dict(arch=dict(ARCH, num_heads=6), act='quick_gelu')),
     'encoder.arch.num_heads=6, and SideCLIPViT has'),
    (dict(alpha=0.5, num_frames=8),
     'num_frames=8, alpha=0.5, and SideCLIPViT has num_frames=4, alpha=1.0'),
], ids=lambda v: str(v)[:40])
def test_checkpoint_of_other_switches_is_refused(
        trained, told, monkeypatch) -> None:
    """Not one of them changes a name or a shape."""
    theirs = side(**trained)
    assert {k: v.shape for k, v in theirs.state_dict().items()
            if k != 'switches'} == {
        k: v.shape for k, v in side().state_dict().items()
        if k != 'switches'}
    with pytest.raises(PartialLoadError, match=f'trained with {told}.*: set '
                       'them as in training, or check_switches=False'):
        side().load_state_dict(theirs.state_dict())

    warned = []
    monkeypatch.setattr(MMLogger, 'warning',
                        lambda self, text: warned.append(text))
    model = side(check_switches=False)
    own = model.switches.clone()
    model.load_state_dict(theirs.state_dict())
    assert len(warned) == 1 and told in warned[0]
    assert torch.equal(model.switches, own)
    assert torch.equal(model.stem.centre.weight, theirs.stem.centre.weight)


def test_what_clip_s_features_are_read_from_is_remembered() -> None:
    encoder = dict(arch=ARCH, act='quick_gelu', out_type='avg_featmap')
    theirs = side(add_to_clip=True, encoder=encoder).state_dict()
    with pytest.raises(PartialLoadError, match="encoder.out_type='avg_featmap'"
                       ", and SideCLIPViT has encoder.out_type='cls_token'"):
        side(add_to_clip=True).load_state_dict(theirs)
    assert 'encoder.out_type' not in switches_from_tensor(side().switches)


def test_switches_without_an_effect_are_not_compared() -> None:
    plain = side(preset='side4video')
    assert 'alpha' not in switches_from_tensor(plain.switches)
    assert 'kernel_size' not in switches_from_tensor(plain.switches)
    side(preset='paper', td_layers=[], window=1, stem_padding=0
         ).load_state_dict(plain.state_dict())


def test_checkpoint_without_switches_loads() -> None:
    state = side().state_dict()
    del state['switches']
    side(alpha=0.5).load_state_dict(state)


def test_switches_are_carried_by_every_kind_of_file(tmp_path) -> None:
    trained = side(alpha=0.5)
    torch.save(trained.state_dict(), tmp_path / 'a.pth')
    save_file(trained.state_dict(), tmp_path / 'a.safetensors')
    average = ExponentialMovingAverage(side(), update_buffers=True)
    average.update_parameters(trained)
    average.update_parameters(trained)
    for state in (torch.load(tmp_path / 'a.pth', weights_only=True),
                  load_file(tmp_path / 'a.safetensors'),
                  average.module.state_dict()):
        side(alpha=0.5).load_state_dict(state)
        with pytest.raises(PartialLoadError, match='trained with alpha=0.5'):
            side().load_state_dict(state)


def test_switches_that_cannot_be_read_are_refused() -> None:
    state = side().state_dict()
    state['switches'] = state['switches'][:-3]
    with pytest.raises(PartialLoadError, match='was trained with cannot be '
                       'read .*: copy the file again'):
        side().load_state_dict(state)


def test_a_copy_and_an_empty_model_compare_their_own_switches() -> None:
    with torch.device('meta'):
        empty = started()
    empty.to_empty(device='cpu')
    for model in (copy.deepcopy(side()), empty):
        model.load_state_dict(side().state_dict())
        assert torch.equal(model.switches, side().switches)
        with pytest.raises(PartialLoadError, match='alpha=0.5'):
            model.load_state_dict(side(alpha=0.5).state_dict())


def test_checkpoint_of_another_model_is_refused() -> None:
    with pytest.raises(PartialLoadError, match='missing'):
        side().load_state_dict(side(preset='side4video').state_dict())
