"""Published checkpoints become models of ours whole, or not at all."""

import copy
import pickle
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from mmaction.registry import MODELS
from mmengine.registry import DefaultScope

from mmvidadapt.apis import METHODS, load_official
from mmvidadapt.compat.checkpoints import CheckpointError
from mmvidadapt.models.switches import switches_from_tensor
from tests.test_side_parity import golden

State = dict[str, Any]
BLOCK = 'visual.transformer.side_transformer.0.'


@pytest.fixture
def tds(goldens: Path) -> State:
    """Published tensors of a tiny TDS-CLIP; 4 frames."""
    return dict(golden(goldens, 'tds_clip_tiny')['state_dict'])


def load(state: State, method: str = 'tds_clip',
         **options: Any) -> tuple[dict, dict]:
    return load_official(method, state, **{'num_frames': 4, **options})


# What comes out -------------------------------------------------------------


@pytest.mark.parametrize('method', ['tds_clip', 'side4video'])
def test_sizes_are_read_from_the_shapes(goldens: Path, method: str) -> None:
    data = golden(goldens, f'{method}_tiny')
    sizes = data['config']
    config, state = load(data, method)
    backbone = config['backbone']
    arch = backbone['encoder']['arch']
    assert (arch['embed_dims'], arch['num_layers'], arch['num_heads'],
            arch['patch_size'], arch['image_size'], arch['mlp_ratio']) == (
        sizes['width'], sizes['layers'], sizes['heads'], sizes['patch_size'],
        sizes['input_resolution'], sizes['mlp_ratio'])
    assert (backbone['side_dims'], backbone['num_heads'], backbone['window'],
            backbone['num_frames']) == (
        sizes['side_dim'], sizes['side_heads'], sizes['num_diff'], 4)
    tds = method == 'tds_clip'
    assert backbone['td_layers'] == (
        list(range(sizes['layers'])) if tds else [])
    assert backbone['stem_padding'] == (1 if tds else 0)
    assert backbone.get('alpha') == (0.5 if tds else None)
    assert config['cls_head']['num_classes'] == sizes['num_classes']
    # one more than published: what no shape tells
    assert len(state) == len(data['state_dict']) + 1
    switches = switches_from_tensor(state['backbone.switches'])
    assert (switches['num_frames'], switches.get('alpha')) == (
        4, 0.5 if tds else None)


@pytest.mark.parametrize('scope', [None, 'mmaction'])
def test_the_model_is_built_and_loaded_with_and_without_a_scope(
        tds: State, scope: str | None,
        monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(DefaultScope, '_instance_dict', OrderedDict())
    if scope is not None:
        DefaultScope.get_instance('test', scope_name=scope)
    config, state = load(tds)
    now = DefaultScope.get_current_instance()
    assert (now.scope_name if now else None) == scope
    as_given = copy.deepcopy(config)
    model = MODELS.build(config)
    assert not any(model.load_state_dict(state, strict=True))
    assert config == as_given


def published_layout(width: int, patch: int, layers: int, side: int,
                     classes: int, tds: bool) -> State:
    """Names and shapes as the programs save them, restated; no values."""
    grid = 224 // patch
    shapes: dict[str, tuple] = {}

    def affine(name: str, *weight: int) -> None:
        shapes[f'{name}.weight'] = weight
        shapes[f'{name}.bias'] = weight[:1]

    def batch_norm(name: str, channels: int) -> None:
        affine(name, channels)
        for statistic in ('running_mean', 'running_var'):
            shapes[f'{name}.{statistic}'] = (channels, )
        shapes[f'{name}.num_batches_tracked'] = ()

    def attention(name: str, channels: int) -> None:
        shapes[f'{name}.in_proj_weight'] = (3 * channels, channels)
        shapes[f'{name}.in_proj_bias'] = (3 * channels, )
        affine(f'{name}.out_proj', channels, channels)

    shapes['visual.class_embedding'] = (width, )
    shapes['visual.positional_embedding'] = (1 + grid**2, width)
    shapes['visual.conv1.weight'] = (width, 3, patch, patch)
    affine('visual.ln_pre', width)
    prefix = 'visual.transformer.'
    shapes[f'{prefix}side_spatial_position_embeddings'] = (grid**2, side)
    for i in range(layers):
        block = f'{prefix}resblocks.{i}.'
        attention(f'{block}attn', width)
        affine(f'{block}ln_1', width)
        affine(f'{block}ln_2', width)
        affine(f'{block}mlp.c_fc', 4 * width, width)
        affine(f'{block}mlp.c_proj', width, 4 * width)
        affine(f'{prefix}side_lns.{i}', width)
        affine(f'{prefix}side_linears.{i}', side, width)
        block = f'{prefix}side_transformer.{i}.'
        batch_norm(f'{block}bn_1', side)
        batch_norm(f'{block}bn_2', side)
        affine(f'{block}conv.0', side, side, 1, 1, 1)
        affine(f'{block}conv.1', side, 1, 3, 1, 1)
        affine(f'{block}conv.2', side, side, 1, 1, 1)
        affine(f'{block}ln_1', side)
        attention(f'{block}attn', side)
        affine(f'{block}mlp.fc1', 4 * side, side)
        affine(f'{block}mlp.fc2', side, 4 * side)
        if tds:
            shapes[f'{block}mse.conv1.weight'] = (side // 16, side, 1, 1)
            batch_norm(f'{block}mse.bn1', side // 16)
            shapes[f'{block}mse.conv2.weight'] = (side, side // 16, 1, 1)
            batch_norm(f'{block}mse.bn2', side)
    affine('visual.side_conv1', side, 3, 3, patch, patch)
    batch_norm('visual.side_pre_bn3d', side)
    if tds:
        affine('visual.side_conv1_c5', side, 12, 3, patch, patch)
        batch_norm('visual.side_pre_bn3d_c5', side)
    batch_norm('visual.side_post_bn', side)
    affine('fc', classes, side)
    return {name: torch.empty(shape, device='meta', dtype=torch.int64
                              if name.endswith('tracked') else None)
            for name, shape in shapes.items()}


@pytest.mark.parametrize('width, patch, layers, side, method, millions', [
    (768, 16, 12, 320, 'tds_clip', 24.17),
    (1024, 14, 24, 512, 'tds_clip', 106.4),
    (768, 16, 12, 320, 'side4video', 21.06),
    (1024, 14, 24, 512, 'side4video', 102.0),
    (768, 32, 12, 320, 'side4video', None)])
def test_checkpoints_of_the_released_sizes_fit(
        width: int, patch: int, layers: int, side: int, method: str,
        millions: float | None) -> None:
    layout = published_layout(
        width, patch, layers, side, 174, method == 'tds_clip')
    config, state = load(layout, method, num_frames=8)
    backbone = config['backbone']
    assert backbone['encoder']['arch']['image_size'] == 224
    assert backbone['encoder']['arch']['num_heads'] == width // 64
    assert backbone['num_heads'] == side // 64
    with torch.device('meta'):
        model = MODELS.build(config)
    model.load_state_dict(state, strict=True, assign=True)
    if millions is not None:
        trained = sum(p.numel() for p in model.backbone.parameters()
                      if p.requires_grad)
        assert trained / 1e6 == pytest.approx(millions, abs=0.05)


def test_what_no_shape_tells_can_be_overridden(tds: State) -> None:
    config, _ = load(tds, num_heads=4, side_heads=2, alpha=1.0,
                     stem_padding=0, act='gelu')
    backbone = config['backbone']
    assert backbone['encoder']['arch']['num_heads'] == 4
    assert backbone['encoder']['act'] == 'gelu'
    assert (backbone['num_heads'], backbone['alpha'],
            backbone['stem_padding']) == (2, 1.0, 0)
    side = MODELS.build(config).backbone
    assert side.stem.alpha == 1.0 and side.stem.padding == 0
    assert side.blocks[0].attn.num_heads == 2


@pytest.mark.parametrize('part, window, td_layers', [
    ('c5', 1, [0, 1, 2]), ('.mse.', 5, []),
    ('former.1.mse.', 5, [0, 2])], ids=['no SME', 'no TD', 'TD in two'])
def test_models_of_the_ablations_are_converted(
        tds: State, part: str, window: int, td_layers: list[int]) -> None:
    config, state = load({name: value for name, value in tds.items()
                          if part not in name})
    backbone = config['backbone']
    assert (backbone['window'], backbone['td_layers']) == (window, td_layers)
    assert backbone.get('alpha') == (0.5 if window > 1 else None)
    MODELS.build(config).load_state_dict(state, strict=True)


# How a file may look --------------------------------------------------------


def assert_same(found: State, expected: State) -> None:
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert found[name].dtype == value.dtype, name
        assert torch.equal(found[name], value), name


@pytest.mark.parametrize('wrap', [
    lambda state: state,
    lambda state: dict(epoch=3, model_state_dict=state,
                       optimizer_state_dict=dict(state={})),
    lambda state: dict(state_dict=state),
    lambda state: dict(model=state),
    lambda state: {f'module.{name}': value for name, value in state.items()},
    lambda state: {f'module.module.{name}': value
                   for name, value in state.items()},
    lambda state: {f'_orig_mod.module.{name}': value
                   for name, value in state.items()},
    lambda state: {name: value.half() if value.is_floating_point() else value
                   for name, value in state.items()},
], ids=['bare', 'as published', 'state_dict', 'model', 'module.',
        'module.module.', '_orig_mod.module.', 'half'])
def test_the_state_dict_is_found(tds: State, tmp_path: Path,
                                 wrap: Callable[[State], State]) -> None:
    expected = load(tds)[1]
    assert_same(load(wrap(tds))[1], expected)
    file = tmp_path / 'published.pt'
    torch.save(wrap(tds), file)
    assert_same(load(file)[1], expected)
    assert_same(load(str(file))[1], expected)


def test_the_given_tensors_are_left_alone(tds: State) -> None:
    before = {name: value.clone() for name, value in tds.items()}
    config, state = load(tds)
    model = MODELS.build(config)
    model.load_state_dict(state)
    with torch.no_grad():
        for param in model.parameters():
            param.zero_()
    assert_same(tds, before)


# What is refused ------------------------------------------------------------


@pytest.mark.parametrize('options, message', [
    (dict(num_frames=None),
     r'the shapes of a tds_clip checkpoint do not tell the frames of a clip: '
     r'give num_frames, which is 8'),
    (dict(num_frames=0), r'num_frames=0 is no number of frames: give'),
    (dict(num_frames='8'), r"num_frames='8' is no number of frames: give"),
    (dict(heads=2), r"tds_clip has no override 'heads': use num_frames, "
     r'num_heads, side_heads, alpha, stem_padding, act'),
    (dict(side_heads=3), r'side_heads=3 does not divide 64 channels: give'),
    (dict(side_heads=0), r'side_heads=0 does not divide 64 channels: give'),
    (dict(num_heads=5), r'num_heads=5 does not divide 128 channels: give'),
    (dict(alpha='half'), r"alpha='half' is no weight: give a number"),
    (dict(stem_padding=4), r'stem_padding=4 is not between 0 and half a '
     r'patch of 8 pixels: use 1'),
    (dict(stem_padding='1'), r"stem_padding='1' is no number of pixels: giv"),
    (dict(act='relu'), r"unknown activation 'relu': use gelu or quick_gelu"),
])
def test_bad_options_are_one_sentence(tds: State, options: dict,
                                      message: str) -> None:
    with pytest.raises(ValueError, match=f'^{message}') as error:
        load(tds, **options)
    assert '\n' not in str(error.value)


def test_an_unknown_method_is_named_with_the_known(tds: State) -> None:
    with pytest.raises(ValueError, match="^unknown method 'tds': use one of "
                       + ', '.join(METHODS)):
        load(tds, 'tds')


def test_side4video_has_no_difference_to_weigh(goldens: Path) -> None:
    data = golden(goldens, 'side4video_tiny')
    with pytest.raises(ValueError, match='^alpha=0.5 weighs frame '
                       'differences, and window=1 has none: remove alpha'):
        load(data, 'side4video', alpha=0.5)


def test_the_other_method_is_told_apart(goldens: Path) -> None:
    for method, other in (('tds_clip', 'side4video'),
                          ('side4video', 'tds_clip')):
        with pytest.raises(ValueError, match=f'^this is a {method} checkpoint'
                           f', not a {other} one: convert it as {method}$'):
            load(golden(goldens, f'{method}_tiny'), other)


@pytest.mark.parametrize('name', ['viclip_tiny', 'mote_tiny'])
def test_another_method_altogether_is_refused(goldens: Path,
                                              name: str) -> None:
    data = torch.load(goldens / f'{name}.pt', weights_only=True)
    with pytest.raises(ValueError, match='^this is no tds_clip checkpoint, '
                       'visual.side_conv1.weight is missing: give the file'):
        load(data['state_dict'])


def without(name: str) -> Callable[[State], State]:
    return lambda state: {key: value for key, value in state.items()
                          if key != name}


def replaced(name: str, *shape: int) -> Callable[[State], State]:
    return lambda state: {**state, name: torch.zeros(shape)}


@pytest.mark.parametrize('change, message', [
    (without('fc.weight'), r'fc.weight is missing from the checkpoint: give'),
    (without('visual.conv1.weight'), r'visual.conv1.weight is missing'),
    (without(f'{BLOCK}mse.bn2.running_var'),
     r'.*not make a whole tds_clip model of 190 tensors, by our names 1 '
     r'missing \(backbone.blocks.0.temporal.gate.norm2.running_var\): give'),
    (without('visual.side_post_bn.bias'),
     r'.*1 missing \(backbone.post_norm.bias\)'),
    (without('fc.bias'), r'.*1 missing \(cls_head.fc_cls.bias\)'),
    (replaced('visual.ln_post.weight', 128),
     r"'visual.ln_post.weight' is no tensor of a TDS-CLIP or Side4Video "
     r'checkpoint: give the file'),
    (replaced('fusion_model.weight', 1), r"'fusion_model.weight' is no tens"),
    (replaced('visual.transformer.side_lns.3.weight', 128),
     r'.*1 left over \(backbone.taps.3.norm.weight\): give'),
    (replaced('visual.conv1.weight', 128, 3),
     r'visual.conv1.weight has the shape \(128, 3\) and should have 4 axes'),
    (replaced('fc.weight', 0, 64), r'fc.weight has the shape \(0, 64\) and'),
    (replaced('fc.weight', 5, 32),
     r'.*1 of another shape \(cls_head.fc_cls.weight \(5, 32\) instead of '
     r'\(5, 64\)\): give'),
    # the same values in other axes are not folded away
    (replaced(f'{BLOCK}conv.1.weight', 64, 1, 1, 3, 1),
     r'.*blocks.0.temporal.conv.weight \(64, 1, 1, 3, 1\) instead of '
     r'\(64, 1, 3\)'),
    (replaced(f'{BLOCK}conv.0.weight', 64, 64, 3, 1, 1),
     r'.*temporal.fc1.weight \(64, 64, 3, 1, 1\) instead of \(64, 64\)'),
    (replaced('visual.side_conv1.weight', 64, 3, 1, 8, 8),
     r'.*stem.centre.weight \(64, 192\) instead of \(192, 192\)'),
    (replaced('visual.side_conv1.weight', 64, 3, 8, 8),
     r'.*stem.centre.weight \(64, 3, 8, 8\) instead of \(192, 192\)'),
    (replaced('visual.side_conv1_c5.weight', 64, 9, 3, 8, 8),
     r'window=4 has no frame in its middle: choose an odd number'),
    (lambda state: {**state, 'module.fc.bias': state['fc.bias']},
     r'the checkpoint holds fc.bias twice, with and without module.: remove'),
    (lambda state: {}, r'the checkpoint holds no state dict, neither bare '
     r'nor under model_state_dict or state_dict or model: give the file'),
    (lambda state: {'epoch': 3}, r'the checkpoint holds no state dict'),
])
def test_what_does_not_fit_is_one_sentence(
        tds: State, change: Callable[[State], State], message: str) -> None:
    with pytest.raises(ValueError, match=f'^{message}') as error:
        load(change(tds))
    assert '\n' not in str(error.value)
    assert len(str(error.value)) < 400


def test_a_side_width_without_whole_heads_asks_for_them() -> None:
    layout = published_layout(128, 16, 2, 96, 5, True)
    with pytest.raises(ValueError, match='^96 channels cannot be divided '
                       'into heads of 64: give side_heads, which no shape'):
        load(layout)
    assert load(layout, side_heads=3)[0]['backbone']['num_heads'] == 3
    narrow = published_layout(128, 16, 2, 24, 5, True)
    with pytest.raises(ValueError, match='^side_dims=24 is not divisible by '
                       '16, the reduction of the TD-Adapter: choose'):
        load(narrow, side_heads=1)


# Files that cannot be read --------------------------------------------------


class Code:
    """What a pickle can smuggle in."""

    def __reduce__(self) -> tuple:
        return exec, ('raise SystemExit("a checkpoint ran code")', )


def test_a_truncated_file_is_one_sentence(tds: State, tmp_path: Path) -> None:
    file = tmp_path / 'published.pt'
    torch.save(dict(model_state_dict=tds), file)
    file.write_bytes(file.read_bytes()[:-1000])
    with pytest.raises(CheckpointError,
                       match=r'published.pt is truncated or damaged'):
        load(file)


@pytest.mark.parametrize('write', [
    lambda data, file: torch.save(data, file),
    lambda data, file: file.write_bytes(pickle.dumps(data, 2))],
    ids=['torch.save', 'pickle'])
def test_code_in_a_file_does_not_run(
        tds: State, tmp_path: Path,
        write: Callable[[State, Path], None]) -> None:
    file = tmp_path / 'published.pt'
    write(dict(model_state_dict=tds, extra=Code()), file)
    with pytest.raises(CheckpointError, match=r'published.pt is refused '
                       r'because it asks for '):
        load(file)


def test_a_missing_file_is_one_sentence() -> None:
    with pytest.raises(FileNotFoundError, match='^no_such.pt can not be fou'):
        load('no_such.pt')
