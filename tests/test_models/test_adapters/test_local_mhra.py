"""Local relation modules equal their definition and follow the layout."""

import pytest
import torch
from mmaction.registry import MODELS
from torch import Tensor, nn

from mmvidadapt.models.adapters import LocalMHRA, LocalMHRAPreBlock
from mmvidadapt.models.backbones import CLIPViT
from mmvidadapt.models.clip import TokenLayout

WIDTH, LAYERS = 12, 3
LAYOUT = TokenLayout('framewise', 4, (2, 3))
BOTH = [dict(type='LocalMHRAPreBlock', layers=[0, 1, 2]),
        dict(type='LocalMHRA', layers=[0, 1, 2])]


def perturb(module: nn.Module) -> nn.Module:
    with torch.no_grad():
        for param in module.parameters():
            param += torch.randn_like(param) * .2
        for name, buffer in module.named_buffers():
            if name.endswith('running_mean'):
                buffer += torch.randn_like(buffer)
            if name.endswith('running_var'):
                buffer += torch.rand_like(buffer)
    return module


def local_mhra(cls: type = LocalMHRA, **kwargs) -> nn.Module:
    return perturb(cls(WIDTH, layer=0, num_layers=LAYERS, **kwargs))


def backbone(adapters: list = BOTH, compile: object = False,
             **encoder) -> CLIPViT:
    torch.manual_seed(0)
    arch = dict(embed_dims=WIDTH, num_layers=LAYERS, num_heads=2,
                patch_size=4, image_size=8, output_dims=8)
    return MODELS.build(dict(
        type='CLIPViT', encoder=dict(arch=arch, act='quick_gelu', **encoder),
        num_frames=4, adapters=adapters, compile=compile))


def tokens(num_clips: int = 2, layout: TokenLayout = LAYOUT) -> Tensor:
    return torch.randn(
        num_clips * layout.num_frames, 1 + layout.num_patches, WIDTH)


def as_convolutions(adapter: LocalMHRA) -> nn.Sequential:
    """The definition: BatchNorm3d and three 3-D convolutions."""
    width, reduced = WIDTH, WIDTH * 2 // 3
    net = nn.Sequential(
        nn.BatchNorm3d(width), nn.Conv3d(width, reduced, 1),
        nn.Conv3d(reduced, reduced, (3, 1, 1), padding=(1, 0, 0),
                  groups=reduced),
        nn.Conv3d(reduced, width, 1))
    values = adapter.state_dict()
    net.load_state_dict({
        key: values[f'{ours}.{leaf}'].view_as(value)
        for key, value in net.state_dict().items()
        for ours, leaf in [(('norm', 'reduce', 'temporal', 'expand')[
            int(key[0])], key[2:])]})
    return net


@pytest.mark.parametrize('training', [False, True])
@pytest.mark.parametrize('num_frames', [1, 2, 5])
def test_equals_batch_norm_and_convolutions_on_the_grid(
        num_frames: int, training: bool) -> None:
    layout = LAYOUT.with_frames(num_frames)
    adapter = local_mhra().train(training)
    reference = as_convolutions(adapter).train(training)
    x = tokens(layout=layout)
    image = x[:, 1:].unflatten(0, (2, -1)).unflatten(2, layout.grid_size)
    expected = reference(image.permute(0, 4, 1, 2, 3))
    residual = adapter(x, layout, None)
    torch.testing.assert_close(
        residual[:, 1:],
        expected.permute(0, 2, 3, 4, 1).flatten(2, 3).flatten(0, 1),
        atol=1e-5, rtol=1e-4)
    for name in ('running_mean', 'running_var', 'num_batches_tracked'):
        torch.testing.assert_close(getattr(adapter.norm, name),
                                   getattr(reference[0], name))


def test_class_tokens_are_neither_changed_nor_counted() -> None:
    adapter, x = local_mhra().train(), tokens()
    residual = adapter(x, LAYOUT, None)
    assert not residual[:, 0].any() and residual[:, 1:].all()
    other = x.clone()
    other[:, 0] = 100
    torch.testing.assert_close(adapter(other, LAYOUT, None), residual)


def test_before_the_block_it_adds_the_same_residual_and_keeps_t() -> None:
    x = tokens()
    mlp, block = local_mhra().eval(), local_mhra(LocalMHRAPreBlock).eval()
    block.load_state_dict(mlp.state_dict())
    y, layout = block(x, LAYOUT, None)
    assert layout == LAYOUT
    torch.testing.assert_close(y, x + mlp(x, LAYOUT, None))
    assert (mlp.point, block.point) == ('pre_mlp', 'pre_block')
    assert block.frames_after(4) == 4


def test_a_new_one_leaves_the_encoder_as_it_is() -> None:
    plain, adapted = backbone([]), backbone()
    adapted.encoder.load_state_dict(plain.encoder.state_dict())
    clip = torch.randn(2, 3, 4, 8, 8)
    assert torch.equal(adapted(clip), plain(clip))


def test_frames_of_other_clips_are_not_seen() -> None:
    adapter, x = local_mhra().eval(), tokens()
    other = x.clone()
    other[4:] += 1
    assert torch.equal(adapter(x, LAYOUT, None)[:4],
                       adapter(other, LAYOUT, None)[:4])


def test_frames_are_those_of_the_layout() -> None:
    adapter, x = local_mhra().eval(), tokens()
    pairs = adapter(x, LAYOUT.with_frames(2), None)
    for i in range(0, 8, 2):
        torch.testing.assert_close(
            pairs[i:i + 2],
            adapter(x[i:i + 2], LAYOUT.with_frames(2), None))
    assert not torch.allclose(pairs, adapter(x, LAYOUT, None))


def test_drop_path_grows_with_the_layer_and_drops_whole_clips() -> None:
    rates = []
    for layer in range(LAYERS):
        adapter = LocalMHRA(WIDTH, layer, LAYERS, drop_path_rate=.5)
        rates.append(adapter.drop_path.drop_prob)
    assert rates == [0, .25, .5]
    x = tokens(num_clips=32)
    residual = perturb(adapter).train()(x, LAYOUT, None)
    kept = residual[:, 1:].unflatten(0, (32, 4)).ne(0).flatten(1)
    assert torch.equal(kept.any(1), kept.all(1))
    assert 4 < kept.all(1).sum() < 28
    assert adapter.eval()(x, LAYOUT, None)[:, 1:].all()


@pytest.mark.parametrize('reduction, channels', [(1.5, 8), (2, 6), (1, 12)])
def test_dw_reduction_sets_the_width_of_the_branch(
        reduction: float, channels: int) -> None:
    adapter = local_mhra(dw_reduction=reduction)
    assert adapter.reduce.out_features == channels
    assert adapter.temporal.weight.shape == (channels, 1, 3)


@pytest.mark.parametrize('option, message', [
    (dict(dw_reduction=0), 'dw_reduction=0 leaves no channel of 12: choose'),
    (dict(dw_reduction=13), 'dw_reduction=13 leaves no channel'),
    (dict(drop_path_rate=1.), r'drop_path_rate=1.0 is no rate: .*\[0, 1\)')
])
def test_bad_options_are_named(option: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        backbone([dict(type='LocalMHRA', layers=[0], **option)])


def test_every_parameter_gets_a_gradient() -> None:
    # Patches of the last block reach the output through a reader only.
    reader = dict(type='GlobalUniBlock', layers=[2])
    model = perturb(backbone([*BOTH, reader])).train()
    model(torch.randn(2, 3, 4, 8, 8)).square().sum().backward()
    silent = [name for name, param in model.named_parameters()
              if param.grad is None or not param.grad.any()]
    assert silent == []


def test_recomputing_a_block_counts_its_batch_once() -> None:
    clip = torch.randn(2, 3, 4, 8, 8)
    models = [backbone(with_cp=with_cp) for with_cp in (False, True)]
    models[1].load_state_dict(perturb(models[0]).state_dict())
    for model in models:
        model.train()
        loss = model(clip).square().sum()
        loss.backward(retain_graph=True)  # a second pass counts neither
        loss.backward()
    for (name, plain), saved in zip(models[0].state_dict().items(),
                                    models[1].state_dict().values()):
        torch.testing.assert_close(saved, plain, msg=name)
    assert models[1].adapters[0]['0'].norm.num_batches_tracked == 1
    for (name, plain), saved in zip(models[0].named_parameters(),
                                    models[1].parameters()):
        torch.testing.assert_close(
            saved.grad, plain.grad, atol=1e-5, rtol=1e-4,
            msg=lambda text, name=name: f'{name}: {text}')


def test_sync_batch_norm_conversion_finds_the_norms() -> None:
    model = nn.SyncBatchNorm.convert_sync_batchnorm(backbone())
    assert isinstance(model.adapters[1]['2'].norm, nn.SyncBatchNorm)


@pytest.mark.parametrize('with_cp', [False, True])
def test_compiled_blocks_compute_the_same(with_cp: bool,
                                          compiler) -> None:
    clip = torch.randn(2, 3, 4, 8, 8)
    plain = perturb(backbone()).train()
    compiled = backbone(compile=dict(backend='eager'), with_cp=with_cp)
    compiled.load_state_dict(plain.state_dict())
    compiled.train()
    expected, y = plain(clip), compiled(clip)
    torch.testing.assert_close(y, expected, atol=1e-5, rtol=1e-4)
    y.sum().backward()
    torch.testing.assert_close(compiled.state_dict(), plain.state_dict())


def test_bf16_autocast_stays_close_and_keeps_the_stream_in_float32() -> None:
    model = perturb(backbone()).eval()
    clip = torch.randn(2, 3, 4, 8, 8)
    expected = model(clip)
    with torch.autocast('cpu', torch.bfloat16):
        y = model(clip)
    assert y.dtype == torch.float32
    torch.testing.assert_close(y, expected, atol=.15, rtol=.05)
