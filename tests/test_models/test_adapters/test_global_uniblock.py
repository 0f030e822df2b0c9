"""Global blocks equal their definition, in both forms of the attention."""

import copy

import pytest
import torch
import torch.distributed as dist
import torch.nn.functional as F
from mmaction.registry import MODELS
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from mmvidadapt.models.adapters import GlobalUniBlock
from mmvidadapt.models.backbones import CLIPViT
from mmvidadapt.models.clip import TokenLayout

WIDTH, HEADS, LAYERS = 12, 3, 4
LAYOUT = TokenLayout('framewise', 4, (2, 3))
READER = dict(type='GlobalUniBlock', layers=[1, 3])


def perturb(module: nn.Module, std: float = .3) -> nn.Module:
    with torch.no_grad():
        for param in module.parameters():
            param += torch.randn_like(param) * std
    return module


def reader(**kwargs) -> GlobalUniBlock:
    kwargs = dict(layers=[1, 3], dropout=0., **kwargs)
    return perturb(GlobalUniBlock(WIDTH, HEADS, **kwargs))


def backbone(adapters: list = (READER, ), compile: object = False,
             **encoder) -> CLIPViT:
    torch.manual_seed(0)
    arch = dict(embed_dims=WIDTH, num_layers=LAYERS, num_heads=HEADS,
                patch_size=4, image_size=8, output_dims=8)
    return MODELS.build(dict(
        type='CLIPViT', encoder=dict(arch=arch, act='quick_gelu', **encoder),
        num_frames=4, adapters=list(adapters), compile=compile))


def tokens(num_clips: int = 2, layout: TokenLayout = LAYOUT) -> Tensor:
    return torch.randn(
        num_clips * layout.num_frames, 1 + layout.num_patches, WIDTH)


def read(adapter: GlobalUniBlock, x: Tensor,
         layout: TokenLayout = LAYOUT) -> Tensor:
    """Read the same tokens after both layers, then read out."""
    state = adapter(x, layout, 1, None)
    state = adapter(x, layout, 3, state)
    return adapter.read_out(state, x, layout)


def restated(adapter: GlobalUniBlock, x: Tensor,
             layout: TokenLayout) -> Tensor:
    """The definition, clip by clip, on torch's own attention."""
    out = []
    for clip in x.split(layout.num_frames):  # (T, 1+N, D)
        state = adapter.token[0]  # (1, D)
        for block in adapter.blocks:
            grid = clip[:, 1:].unflatten(1, layout.grid_size)
            dpe = block.dpe(grid.permute(3, 0, 1, 2)[None])[0]
            dpe = dpe.permute(1, 2, 3, 0).flatten(1, 2)
            keys = torch.cat([clip[:, :1], clip[:, 1:] + dpe], 1).flatten(
                0, 1)
            attention = nn.MultiheadAttention(WIDTH, HEADS)
            attention.load_state_dict(block.attn.state_dict())
            keys = block.ln_3(keys)
            state = state + attention(block.ln_1(state), keys, keys)[0]
            hidden = block.c_fc(block.ln_2(state))
            state = state + block.c_proj(hidden * (1.702 * hidden).sigmoid())
        s = adapter.balance.sigmoid()
        mean = clip[:, 0].mean(0, keepdim=True)
        out.append(F.layer_norm((1 - s) * state + s * mean, (WIDTH, ),
                                adapter.norm.weight, adapter.norm.bias))
    return torch.stack(out)


@pytest.mark.parametrize('attention', ['folded', 'plain'])
@pytest.mark.parametrize('num_frames', [1, 2, 4])
def test_equals_the_definition(num_frames: int, attention: str) -> None:
    layout = LAYOUT.with_frames(num_frames)
    adapter, x = reader(attention=attention), tokens(3, layout)
    y = read(adapter, x, layout)
    assert y.shape == (3, 1, WIDTH)
    torch.testing.assert_close(y, restated(adapter, x, layout), atol=1e-5,
                               rtol=1e-4)


def test_folded_and_plain_attention_have_equal_outputs_and_gradients(
) -> None:
    folded, plain = reader(), reader(attention='plain')
    plain.load_state_dict(folded.state_dict())
    # Far from the origin, where a constant that is not dropped would show.
    x = tokens() * 5 + 20
    inputs = [x.clone().requires_grad_() for _ in range(2)]
    outputs = [read(m, i) for m, i in zip((folded, plain), inputs)]
    torch.testing.assert_close(*outputs, atol=2e-5, rtol=1e-4)
    weight = torch.randn_like(outputs[0])
    for y in outputs:
        (y * weight).sum().backward()
    torch.testing.assert_close(inputs[0].grad, inputs[1].grad, atol=2e-5,
                               rtol=1e-3)
    for (name, ours), theirs in zip(folded.named_parameters(),
                                    plain.parameters()):
        torch.testing.assert_close(
            ours.grad, theirs.grad, atol=1e-4, rtol=1e-3,
            msg=lambda text, name=name: f'{name}: {text}')


def test_folded_attention_never_projects_the_tokens() -> None:
    adapter, x = reader(), tokens()
    sizes = []

    class Watch(torch.overrides.TorchFunctionMode):

        def __torch_function__(self, func, types, args=(), kwargs=None):
            if func is F.linear:
                sizes.append(args[0].numel() // WIDTH)
            return func(*args, **(kwargs or {}))

    with Watch():
        read(adapter, x)
    assert max(sizes) <= 2 * 4  # clips by the ratio of the MLP


def test_the_main_stream_is_not_changed() -> None:
    adapter, x = reader(), tokens()
    before = x.clone()
    read(adapter, x)
    assert torch.equal(x, before)
    plain, adapted = backbone([]), backbone([READER])
    perturb(adapted.adapters)
    # Only ln_post is not there, because the reader has its own norm.
    fit = adapted.encoder.load_state_dict(
        plain.encoder.state_dict(), strict=False)
    assert not fit.missing_keys
    assert {name.split('.')[0] for name in fit.unexpected_keys} == {'ln_post'}
    frames = torch.randn(8, 3, 8, 8)
    assert torch.equal(
        adapted.encoder(frames, 4, [adapted.adapters]).tokens,
        plain.encoder(frames, 4, [plain.adapters]).tokens)


def test_a_new_one_reads_the_mean_of_the_class_tokens() -> None:
    model = backbone()
    clip = torch.randn(2, 3, 4, 8, 8)
    frames = clip.transpose(1, 2).flatten(0, 1)
    cls = model.encoder(frames, 4).tokens[:, 0].view(2, 4, WIDTH)
    torch.testing.assert_close(
        model.eval()(clip)[:, 0],
        F.layer_norm(.5 * cls.mean(1), (WIDTH, )))


def test_balance_chooses_between_global_and_class_tokens() -> None:
    adapter, x = reader(), tokens()
    states = torch.randn(2, 1, WIDTH)
    with torch.no_grad():
        adapter.balance.fill_(-40)
        torch.testing.assert_close(
            adapter.read_out(states, x, LAYOUT), adapter.norm(states))
        adapter.balance.fill_(40)
        torch.testing.assert_close(
            adapter.read_out(states, x, LAYOUT)[:, 0],
            adapter.norm(x.view(2, 4, 7, WIDTH)[:, :, 0].mean(1)))


def test_other_clips_are_not_seen_and_frames_are_those_of_the_layout(
) -> None:
    adapter, x = reader(), tokens()
    other = x.clone()
    other[4:] += 1
    torch.testing.assert_close(read(adapter, x)[0], read(adapter, other)[0])
    halves = read(adapter, x, LAYOUT.with_frames(2))
    assert halves.shape == (4, 1, WIDTH)
    torch.testing.assert_close(
        halves[1:2], read(adapter, x[2:4], LAYOUT.with_frames(2)))


def test_layers_are_read_in_the_order_of_the_blocks() -> None:
    forward, backward = reader(), reader()
    backward = GlobalUniBlock(WIDTH, HEADS, layers=[3, 1], dropout=0.)
    backward.load_state_dict(forward.state_dict())
    x = tokens()
    torch.testing.assert_close(read(forward, x), read(backward, x))


def test_drop_path_grows_over_the_layers_and_drops_whole_clips() -> None:
    adapter = GlobalUniBlock(
        WIDTH, HEADS, layers=[4, 5, 6], drop_path_rate=.4)
    assert [getattr(block.drop_path, 'drop_prob', 0)
            for block in adapter.blocks] == [0, .2, .4]
    with torch.no_grad():
        for param in adapter.blocks[2].parameters():
            param.fill_(.1)
    state, x = torch.zeros(64, 1, WIDTH), tokens(64)
    dropped = adapter.train().blocks[2](state, x, LAYOUT).eq(0).all(-1)
    assert 2 < dropped.sum() < 30  # both residuals: .4 ** 2 of 64 clips
    assert not adapter.eval().blocks[2](state, x, LAYOUT).eq(0).all(-1).any()


def test_dropout_is_half_by_default_and_off_in_eval_mode() -> None:
    adapter, x = perturb(GlobalUniBlock(WIDTH, HEADS, [1, 3])), tokens()
    assert {m.p for m in adapter.modules()
            if isinstance(m, nn.Dropout)} == {.5}
    assert not torch.equal(read(adapter, x), read(adapter, x))
    adapter.eval()
    assert torch.equal(read(adapter, x), read(adapter, x))


def test_mlp_ratio_sets_the_hidden_width() -> None:
    assert reader(mlp_ratio=1.5).blocks[0].c_fc.out_features == 18


@pytest.mark.parametrize('option, message', [
    (dict(attention='fast'), "unknown attention 'fast': use folded or plain"),
    (dict(drop_path_rate=1), r'drop_path_rate=1 is no rate: .*\[0, 1\)'),
    (dict(num_heads=5), 'embed_dims=12 is not divisible by num_heads=5: '
     'choose a multiple'),
])
def test_bad_options_are_named(option: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        backbone([dict(READER, **option)])


@pytest.mark.parametrize('attention', ['folded', 'plain'])
@pytest.mark.parametrize('with_cp', [False, True])
def test_every_parameter_gets_a_gradient(attention: str,
                                         with_cp: bool) -> None:
    model = perturb(backbone([dict(READER, attention=attention)],
                             with_cp=with_cp)).train()
    model(torch.randn(2, 3, 4, 8, 8)).square().sum().backward()
    silent = [name for name, param in model.named_parameters()
              if param.grad is None or not param.grad.any()]
    assert silent == []


def test_a_frozen_encoder_runs_without_gradient() -> None:
    model = perturb(backbone(frozen=True)).train()
    seen = []
    for block in model.encoder.transformer.resblocks:
        block.register_forward_hook(
            lambda module, args, out: seen.append(out[0].requires_grad))
    before = copy.deepcopy(model.state_dict())
    optimizer = torch.optim.SGD(
        [p for p in model.parameters() if p.requires_grad], lr=1.)
    model(torch.randn(2, 3, 4, 8, 8)).square().sum().backward()
    optimizer.step()
    assert seen == [False] * LAYERS
    assert all(p.grad is None for p in model.encoder.parameters())
    for name, value in model.state_dict().items():
        moved = not torch.equal(value, before[name])
        assert moved == name.startswith('adapters.'), name


def test_compiled_blocks_compute_the_same(compiler) -> None:
    clip = torch.randn(2, 3, 4, 8, 8)
    model = perturb(backbone()).eval()
    compiled = backbone(compile=dict(backend='eager')).eval()
    compiled.load_state_dict(model.state_dict())
    torch.testing.assert_close(compiled(clip), model(clip))
    whole = torch.compile(model, backend='eager', fullgraph=True)
    torch.testing.assert_close(whole(clip), model(clip))


@pytest.mark.parametrize('attention', ['folded', 'plain'])
def test_bf16_autocast_stays_close(attention: str) -> None:
    adapter, x = reader(attention=attention), tokens()
    expected = read(adapter, x)
    with torch.autocast('cpu', torch.bfloat16):
        y = read(adapter, x)
    y.sum().backward()
    torch.testing.assert_close(y.float(), expected, atol=.1, rtol=.02)


def test_large_logits_survive_bf16_autocast() -> None:
    block, x = reader().blocks[0], tokens()
    with torch.no_grad():
        block.attn.in_proj_weight *= 30
    clip = LAYOUT.split_frames(x).flatten(1, 2)
    query = block.ln_1(torch.randn(2, 1, WIDTH))
    expected = block.attn._attend_folded(query, clip, block.ln_3)
    with torch.autocast('cpu', torch.bfloat16):
        y = block.attn._attend_folded(query, clip, block.ln_3)
    torch.testing.assert_close(y, expected)


def test_weights_in_bfloat16_work() -> None:
    adapter = reader().bfloat16()
    assert read(adapter, tokens().bfloat16()).dtype == torch.bfloat16


def test_ddp_finds_every_parameter_used(tmp_path) -> None:
    dist.init_process_group('gloo', init_method=f'file://{tmp_path}/store',
                            rank=0, world_size=1)
    try:
        model = DistributedDataParallel(backbone().train())
        for _ in range(2):  # an unused parameter stops the second step
            model(torch.randn(2, 3, 4, 8, 8)).sum().backward()
    finally:
        dist.destroy_process_group()
