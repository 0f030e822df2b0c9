"""CLIPViT with the temporal modules *is* MMAction2's UniFormerV2."""

import runpy
import sys
from pathlib import Path

import pytest
import torch
from mmaction.registry import MODELS
from mmengine.config import Config
from torch import Tensor, nn

from mmvidadapt.models.adapters.uniformerv2_weights import (
    convert_uniformerv2_checkpoint,
    convert_uniformerv2_state_dict,
    load_uniformerv2,
    uniformerv2_adapters,
)
from mmvidadapt.models.backbones import CLIPViT
from mmvidadapt.models.clip import TokenLayout

ROOT = Path(__file__).resolve().parents[3]
TOOL = ROOT / 'tools' / 'convert_uniformerv2.py'

TINY = dict(
    input_resolution=32, patch_size=8, width=24, layers=3, heads=3, t_size=4,
    no_lmhra=False, double_lmhra=True, return_list=[0, 2], n_layers=2,
    n_dim=24, n_head=3, mlp_dropout=[0., 0.], clip_pretrained=False)


def adapters_of(config: dict, **reader) -> list[dict]:
    every = list(range(config['layers']))
    local = [] if config['no_lmhra'] else [
        dict(type='LocalMHRAPreBlock', layers=every)]
    if local and config['double_lmhra']:
        local.append(dict(type='LocalMHRA', layers=every))
    return [*local, dict(type='GlobalUniBlock', layers=config['return_list'],
                         dropout=config['mlp_dropout'][0], **reader)]


def clip_vit(config: dict, adapters: list[dict] | None = None,
             **reader) -> CLIPViT:
    arch = dict(
        embed_dims=config['width'], num_layers=config['layers'],
        num_heads=config['heads'], patch_size=config['patch_size'],
        image_size=config['input_resolution'], output_dims=8)
    return MODELS.build(dict(
        type='CLIPViT', encoder=dict(arch=arch, act='quick_gelu'),
        num_frames=config['t_size'],
        adapters=adapters or adapters_of(config, **reader)))


def mmaction_model(**config) -> nn.Module:
    """Their class, with no parameter or statistic left at its start."""
    model = MODELS.build(dict(type='mmaction.UniFormerV2', **{
        **TINY, **config}))
    with torch.no_grad():
        for param in model.parameters():
            param += torch.randn_like(param) * .1
        for name, buffer in model.named_buffers():
            if name.endswith('running_mean'):
                buffer += torch.randn_like(buffer) * .2
            if name.endswith('running_var'):
                buffer += torch.rand_like(buffer)
    return model


def record(module: nn.Module, into: dict, name: str) -> None:
    module.register_forward_hook(
        lambda module, args, out: into.__setitem__(name, out))


def to_grid(x: Tensor, layout: TokenLayout) -> Tensor:
    """Patch tokens ``(B*T, N, C)`` as ``(B, C, T, h, w)``."""
    grid = layout.split_frames(x).unflatten(2, layout.grid_size)
    return grid.permute(0, 4, 1, 2, 3)


# Golden values ------------------------------------------------------------


@pytest.mark.parametrize('attention', ['folded', 'plain'])
@pytest.mark.parametrize('case', ['k400_style', 'ssv2_style'])
def test_matches_the_golden_output(goldens: Path, case: str,
                                   attention: str) -> None:
    data = torch.load(goldens / 'uniformerv2_tiny.pt', weights_only=True)
    data = data['cases'][case]
    model = clip_vit(data['config'], attention=attention).eval()
    load_uniformerv2(model, data['state_dict'])
    for training in (False, True):  # another depth-wise kernel with gradient
        with torch.set_grad_enabled(training):
            output = model(data['input'])
        assert output.shape[1] == 1
        torch.testing.assert_close(output[:, 0], data['output'], atol=1e-5,
                                   rtol=0)


@pytest.mark.parametrize('case', ['k400_style', 'ssv2_style'])
def test_matches_the_golden_intermediates(goldens: Path, case: str) -> None:
    data = torch.load(goldens / 'uniformerv2_tiny.pt', weights_only=True)
    data = data['cases'][case]
    model = clip_vit(data['config']).eval()
    load_uniformerv2(model, data['state_dict'])
    found: dict = {}
    encoder, reader = model.encoder, model.adapters.readers[0]
    record(encoder.ln_pre, found, 'ln_pre')
    for i, block in enumerate(encoder.transformer.resblocks):
        record(block, found, f'resblock{i}')
    for j, block in enumerate(reader.blocks):
        record(block, found, f'dec{j}')
    record(reader.norm, found, 'norm')
    reader.norm.register_forward_pre_hook(
        lambda module, args: found.__setitem__('before_final_norm', args[0]))
    if case == 'ssv2_style':
        record(model.adapters[0]['0'].expand, found, 'resblock0.lmhra1')
        record(model.adapters[1]['0'], found, 'resblock0.lmhra2')
    with torch.no_grad():
        model(data['input'])
    layout = TokenLayout('framewise', 8, (2, 2))
    compared = set()
    for name, expected in data['intermediates'].items():
        if name not in found:
            continue
        value = found[name]
        if name.startswith('resblock') and 'lmhra' not in name:
            value = value[0].transpose(0, 1)  # (1+N, B*T, C)
        elif name.endswith('lmhra1'):
            value = to_grid(value, layout)
        elif name.endswith('lmhra2'):
            value = to_grid(value[:, 1:], layout)
        elif name.startswith('dec'):
            value = value.transpose(0, 1)  # (1, B, C)
        elif name == 'before_final_norm':
            value = value[:, 0]
        torch.testing.assert_close(
            value, expected, atol=1e-4, rtol=0,
            msg=lambda text, name=name: f'{name}: {text}')
        compared.add(name)
    # conv1 and the position encoding are compared through what follows.
    assert set(data['intermediates']) - compared == {'conv1', 'dpe0', 'dpe1'}


# MMAction2's class ----------------------------------------------------------


@pytest.mark.parametrize('training', [False, True])
@pytest.mark.parametrize('local', [
    dict(no_lmhra=True), dict(double_lmhra=False), dict()],
    ids=['no local', 'one local', 'two local'])
def test_equals_the_class_of_mmaction2(local: dict, training: bool) -> None:
    theirs = mmaction_model(**local)
    ours = clip_vit({**TINY, **local})
    load_uniformerv2(ours, theirs.state_dict())
    theirs.train(training)
    ours.train(training)
    clip = torch.randn(2, 3, 4, 32, 32)
    expected, output = theirs(clip), ours(clip)[:, 0]
    torch.testing.assert_close(output, expected, atol=2e-5, rtol=1e-4)
    # Batch norms have counted the same values.
    types = uniformerv2_adapters(theirs.state_dict())
    state = convert_uniformerv2_state_dict(theirs.state_dict(), types)
    assert ours.state_dict().keys() == state.keys()
    for name, value in ours.state_dict().items():
        torch.testing.assert_close(value, state[name], msg=name)
    # So have the gradients of every parameter, by the same renaming.
    weight = torch.randn_like(expected)
    for y in (output, expected):
        (y * weight).sum().backward()
    gradients = convert_uniformerv2_state_dict({
        name: param.grad for name, param in theirs.named_parameters()})
    for name, param in ours.named_parameters():
        torch.testing.assert_close(
            param.grad, gradients[name], atol=2e-4, rtol=2e-3,
            msg=lambda text, name=name: f'{name}: {text}')


def test_the_frame_count_of_the_clip_is_followed() -> None:
    theirs, ours = mmaction_model(t_size=6), clip_vit(TINY)
    load_uniformerv2(ours, theirs.state_dict())
    clip = torch.randn(2, 3, 6, 32, 32)
    torch.testing.assert_close(ours.eval()(clip)[:, 0], theirs.eval()(clip),
                               atol=2e-5, rtol=1e-4)


# InTI in between ------------------------------------------------------------


def frames_seen(merge_at: list[int], local: bool,
                readers: list[int]) -> tuple[list, list, list]:
    """Frames that local modules (both points) and readers see."""
    config = dict(TINY, layers=12, t_size=16, return_list=readers,
                  no_lmhra=not local, input_resolution=16)
    model = clip_vit(config, [
        dict(type='InTI', layers=merge_at),
        *adapters_of(config)]).eval()
    seen: tuple = ([], [], [])
    for entry in list(model.adapters)[1:]:
        modules = entry.values() if isinstance(
            entry, nn.ModuleDict) else [entry]
        for module in modules:
            into = seen[('pre_block', 'pre_mlp', 'reader').index(
                module.point)]
            module.register_forward_pre_hook(
                lambda module, args, into=into: into.append(
                    args[1].num_frames))
    with torch.no_grad():
        assert model(torch.randn(1, 3, 16, 16, 16)).shape == (1, 1, 24)
    return seen


@pytest.mark.parametrize('merge_at, readers', [
    ([3, 5], [4, 4, 4, 4]), ([5, 7], [4, 4, 4, 4]), ([7, 9], [8, 4, 4, 4])])
def test_global_blocks_of_k400_see_the_merged_frames(
        merge_at: list[int], readers: list[int]) -> None:
    assert frames_seen(merge_at, False, [8, 9, 10, 11]) == ([], [], readers)


def test_modules_of_ssv2_see_the_frames_of_the_table() -> None:
    pre_block, pre_mlp, readers = frames_seen(
        [5, 7], True, list(range(4, 12)))
    assert pre_block == pre_mlp == [16] * 5 + [8] * 2 + [4] * 5
    assert readers == [16] + [8] * 2 + [4] * 5


def test_a_local_module_listed_first_sees_the_frames_before_merging() -> None:
    config = dict(TINY, layers=2, return_list=[1], mlp_dropout=[0.])
    local, *rest = adapters_of(config)
    model = clip_vit(config, [
        local, dict(type='InTI', layers=[1]), *rest])
    seen = []
    model.adapters[0]['1'].register_forward_pre_hook(
        lambda module, args: seen.append(args[1].num_frames))
    model(torch.randn(1, 3, 4, 32, 32))
    assert seen == [4]


# Sizes ----------------------------------------------------------------------


@pytest.mark.parametrize('arch, layers, readers, local, classes, millions', [
    ('ViT-B-16', 12, range(8, 12), False, 400, 114.55),
    ('ViT-L-14', 24, range(20, 24), False, 400, 354.10),
    ('ViT-B-16', 12, range(4, 12), True, 174, 161.8),
], ids=['K400 B', 'K400 L', 'SSv2 B'])
def test_parameters_are_those_of_the_paper(
        arch: str, layers: int, readers: range, local: bool, classes: int,
        millions: float) -> None:
    config = dict(layers=layers, return_list=list(readers),
                  no_lmhra=not local, double_lmhra=True, mlp_dropout=[.5])
    with torch.device('meta'):
        backbone = MODELS.build(dict(
            type='CLIPViT', encoder=dict(arch=arch, act='quick_gelu'),
            num_frames=16, adapters=adapters_of(config)))
        head = MODELS.build(dict(
            type='LinearHead', num_classes=classes,
            in_channels=backbone.encoder.arch.embed_dims))
        features = backbone.eval()(torch.empty(1, 3, 2, 224, 224))
    assert features.shape == (1, 1, head.fc_cls.in_features)
    count = sum(p.numel() for module in (backbone, head)
                for p in module.parameters()) / 1e6
    assert count == pytest.approx(millions, abs=.06)


# Conversion -----------------------------------------------------------------


def test_conversion_is_strict_both_ways() -> None:
    state = mmaction_model().state_dict()
    ours = clip_vit(TINY)
    extra = dict(state, **{'transformer.dec.0.ln_4.weight': torch.ones(24)})
    with pytest.raises(RuntimeError, match='blocks.0.ln_4.weight'):
        load_uniformerv2(ours, extra)
    lacking = {k: v for k, v in state.items() if 'dec.0.ln_2.bias' not in k}
    with pytest.raises(RuntimeError, match='blocks.0.ln_2.bias'):
        load_uniformerv2(ours, lacking)
    with pytest.raises(ValueError, match="'fc.weight' is no weight of .*"
                       'convert only the state dict of its backbone'):
        load_uniformerv2(ours, dict(state, **{'fc.weight': torch.ones(1)}))


def test_weights_without_a_place_are_refused() -> None:
    state = mmaction_model().state_dict()
    with pytest.raises(ValueError, match='the weights fill one LocalMHRA, '
                       'the config lists 0 .*: list it once'):
        load_uniformerv2(clip_vit(dict(TINY, double_lmhra=False)), state)


def test_adapters_of_the_target_config_set_the_numbers() -> None:
    converted = convert_uniformerv2_state_dict(
        mmaction_model(no_lmhra=True).state_dict(),
        ['InTI', 'GlobalUniBlock'])
    assert 'adapters.1.token' in converted
    assert not any(key.startswith('adapters.0') for key in converted)


def test_a_temporal_patch_embedding_is_refused() -> None:
    state = mmaction_model(temporal_downsample=True).state_dict()
    with pytest.raises(ValueError, match='spans 3 frames .*use weights '
                       'trained with temporal_downsample=False'):
        convert_uniformerv2_state_dict(state)


def test_weights_of_another_model_are_refused() -> None:
    with pytest.raises(ValueError, match="no weights of MMAction2's "
                       'UniFormerV2, conv1.weight is missing: pass'):
        convert_uniformerv2_state_dict({'blocks.0.weight': torch.ones(1)})
    with pytest.raises(ValueError, match="'neck.weight' belongs to no "
                       'UniFormerV2 recognizer'):
        convert_uniformerv2_checkpoint({'neck.weight': torch.ones(1)})


def recognizers() -> tuple[nn.Module, dict]:
    """MMAction2's recognizer and the config of ours."""
    common = dict(
        type='Recognizer3D',
        data_preprocessor=dict(type='mmaction.ActionDataPreprocessor'))
    theirs = MODELS.build(dict(
        **common,
        backbone=dict(type='UniFormerV2', **TINY),
        cls_head=dict(type='UniFormerHead', num_classes=5, in_channels=24)))
    theirs.backbone.load_state_dict(mmaction_model().state_dict())
    arch = dict(embed_dims=24, num_layers=3, num_heads=3, patch_size=8,
                image_size=32, output_dims=8)
    return theirs, dict(
        **common,
        backbone=dict(type='CLIPViT', num_frames=4,
                      encoder=dict(arch=arch, act='quick_gelu'),
                      adapters=adapters_of(TINY)),
        cls_head=dict(type='LinearHead', num_classes=5, in_channels=24))


def run_tool(monkeypatch: pytest.MonkeyPatch, *args: object) -> object:
    """Run the script in this process, which has done the long imports."""
    monkeypatch.setattr(sys, 'argv', [str(TOOL), *map(str, args)])
    with pytest.raises(SystemExit) as end:
        runpy.run_path(str(TOOL), run_name='__main__')
    return end.value.code


def test_the_tool_converts_a_checkpoint(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture) -> None:
    theirs, config = recognizers()
    config['backbone']['adapters'].reverse()  # other numbers than by default
    source, out = tmp_path / 'theirs.pth', tmp_path / 'ours.pth'
    torch.save(dict(state_dict=theirs.state_dict(), meta={}), source)
    Config(dict(model=config)).dump(tmp_path / 'config.py')
    assert not run_tool(monkeypatch, source, out, '--config',
                        tmp_path / 'config.py')
    assert f'wrote {out}' in capsys.readouterr().out
    ours = MODELS.build(config)
    ours.load_state_dict(
        torch.load(out, weights_only=True)['state_dict'], strict=True)
    clip = torch.randn(1, 1, 3, 4, 32, 32)
    scores = [model.eval().cls_head(model.extract_feat(clip)[0])
              for model in (theirs, ours)]
    torch.testing.assert_close(scores[1], scores[0], atol=1e-4, rtol=1e-4)
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        'config.py', 'ours.pth', 'theirs.pth']
    before = out.read_bytes()
    assert run_tool(monkeypatch, source, out) == 1
    assert 'ours.pth exists: choose another name' in capsys.readouterr().err
    assert out.read_bytes() == before


def test_the_tool_names_what_it_cannot_read(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture) -> None:
    page = tmp_path / 'page.pth'
    page.write_text('<!doctype html><html>not found</html>')
    assert run_tool(monkeypatch, page, tmp_path / 'out.pth') == 1
    error = capsys.readouterr().err
    assert error.startswith('error: ') and 'page.pth' in error
    assert not (tmp_path / 'out.pth').exists()
