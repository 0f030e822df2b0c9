"""CLIPViT: clips in, frame features out, inside MMAction2's recognizer."""

import copy
import shutil

import pytest
import torch
from mmaction.registry import MODELS
from mmengine.model import ExponentialMovingAverage
from mmengine.runner import load_state_dict
from torch import Tensor, nn
from torch._dynamo.testing import CompileCounter
from torch.torch_version import TorchVersion

from mmvidadapt.apis import exporting
from mmvidadapt.models.adapters import Adapter
from mmvidadapt.models.backbones import CLIPViT
from mmvidadapt.models.clip import TokenLayout
from tests import tiny_clip as tiny

ARCH = dict(tiny.VISION, num_layers=4)
LORA = dict(type='LoRA', layers=[1, 2])
ADAPTFORMER = dict(type='AdaptFormer', layers=[2, 3], dropout=0.)


class Shift(Adapter):
    """A user's adapter: mixes each frame with the one before."""

    point = 'pre_block'

    def __init__(self, embed_dims: int, weight: float = 0.5) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.full((embed_dims, ), weight))

    def forward(self, x: Tensor, layout: TokenLayout,
                block: nn.Module) -> tuple[Tensor, TokenLayout]:
        before = layout.split_frames(x).roll(1, dims=1).flatten(0, 1)
        return x + self.weight * before, layout


class Merge(Shift):
    """Keeps every other frame."""

    def frames_after(self, num_frames: int) -> int:
        return num_frames // 2

    def forward(self, x: Tensor, layout: TokenLayout,
                block: nn.Module) -> tuple[Tensor, TokenLayout]:
        x = layout.split_frames(x)[:, ::2].flatten(0, 1) * self.weight
        return x, layout.with_frames(layout.num_frames // 2)


class ReadOut(Adapter):
    """A user's reader that replaces the frame features."""

    point = 'reader'

    def __init__(self, embed_dims: int) -> None:
        super().__init__()
        self.fc = nn.Linear(embed_dims, embed_dims)

    def forward(self, x: Tensor, layout: TokenLayout, layer: int,
                state: Tensor | None) -> Tensor:
        read = self.fc(layout.split_frames(x).mean(dim=(1, 2)))
        return read if state is None else state + read

    def read_out(self, state: Tensor, tokens: Tensor,
                 layout: TokenLayout) -> Tensor:
        return state[:, None]


@pytest.fixture(autouse=True)
def registered(monkeypatch: pytest.MonkeyPatch) -> None:
    for cls in (Shift, Merge, ReadOut):
        monkeypatch.setitem(MODELS.module_dict, cls.__name__, cls)


def _build(*adapters: dict, frozen: bool = False, **changes) -> CLIPViT:
    encoder = {**dict(arch=ARCH, act='quick_gelu', frozen=frozen),
               **changes.pop('encoder', {})}
    model = MODELS.build(dict(type='CLIPViT', encoder=encoder, num_frames=4,
                              adapters=list(adapters), **changes))
    return tiny.randomize(model)


def _clips(batch: int = 2, frames: int = 4) -> Tensor:
    return tiny.frames(batch * frames).view(
        batch, frames, 3, 32, 32).transpose(1, 2)


@pytest.mark.parametrize('batch, frames', [(1, 1), (2, 4), (3, 2)])
def test_shapes(batch, frames):
    model = _build().eval()
    assert model(_clips(batch, frames)).shape == (batch, frames, 32)


def test_clips_of_another_length_are_for_tests_only():
    model = _build(dict(type='InTI', layers=[1]))
    with pytest.raises(ValueError, match='clips of 2 frames do not train a '
                       'CLIPViT built for num_frames=4: change clip_len of '
                       'the train pipeline or num_frames'):
        model(_clips(2, 2))
    assert model(_clips(2, 4)).shape == (2, 2, 32)
    assert model.eval()(_clips(2, 2)).shape == (2, 1, 32)


def test_features_are_the_encoders_frame_by_frame():
    model, clips = _build().eval(), _clips()
    features = model(clips)
    for b in range(2):
        for t in range(4):
            torch.testing.assert_close(
                features[b, t],
                tiny.image_features(model.encoder, clips[b:b + 1, :, t])[0])


def test_adapters_that_merge_frames_shorten_the_output():
    model = _build(dict(type='Merge', layers=[1, 3]))
    assert model(_clips()).shape == (2, 1, 32)


def test_projected_features():
    model = _build(encoder=dict(project=True))
    assert model(_clips()).shape == (2, 4, 24)


def test_reader_may_replace_the_features():
    model = _build(dict(type='ReadOut', layers=[1, 3]), frozen=True)
    out = model(_clips())
    assert out.shape == (2, 1, 32)
    assert isinstance(model.encoder.ln_post, nn.Identity)
    out.sum().backward()
    assert model.adapters[0].fc.weight.grad.any()


@pytest.mark.parametrize('option, value', [
    ('post_norm', True), ('project', True), ('out_type', 'avg_featmap')])
def test_reader_leaves_no_frame_features_to_make(option, value):
    reader = dict(type='ReadOut', layers=[1])
    with pytest.raises(ValueError, match=f'{option}={value!r} has nothing to '
                       'work on, because ReadOut reads out the clip: remove '
                       f'{option} from encoder'):
        _build(reader, encoder={option: value})


@pytest.mark.parametrize('option', ['post_norm', 'project'])
def test_reader_leaves_alone_what_is_switched_off(option):
    _build(dict(type='ReadOut', layers=[1]), encoder={option: False})


@pytest.mark.parametrize('changes, message', [
    (dict(adapters=[dict(type='ReadOut', layers=[1])] * 2),
     'only one reader can read out the clip, got ReadOut and ReadOut: keep'),
    (dict(adapters=[dict(type='NoSuch', layers=[1])]),
     "unknown adapter 'NoSuch': use one of"),
    (dict(encoder=dict(type='ResNet', arch=ARCH, act='gelu')),
     'CLIPViT runs no ResNet: give a CLIPVisionEncoder .* or a ViCLIPVision')])
def test_wrong_configs(changes, message):
    config = dict(type='CLIPViT', num_frames=4,
                  encoder=dict(arch=ARCH, act='gelu'))
    with pytest.raises(ValueError, match=message):
        MODELS.build({**config, **changes})


@pytest.mark.parametrize('shape', [(2, 3, 32, 32), (2, 4, 3, 32, 32)])
def test_input_that_is_no_batch_of_clips(shape):
    with pytest.raises(ValueError, match=r'reads RGB clips \(B, 3, T, H, W\),'
                       r" got \(2, .*: set input_format='NCTHW'"):
        _build()(torch.zeros(shape))


def test_adapters_of_another_owner_come_after_its_own():
    model = _build(dict(type='Shift', layers=[1])).eval()
    other = _build(dict(type='Merge', layers=[1])).eval()
    both = _build(dict(type='Shift', layers=[1]),
                  dict(type='Merge', layers=[1])).eval()
    both.encoder.load_state_dict(model.encoder.state_dict())
    both.adapters[0].load_state_dict(model.adapters[0].state_dict())
    both.adapters[1].load_state_dict(other.adapters[0].state_dict())
    names = set(model.state_dict())
    model.host(other.adapters)
    assert set(model.state_dict()) == names
    out = copy.deepcopy(model)(_clips())
    assert out.shape == (2, 2, 32)
    assert torch.equal(out, both(_clips()))


# -- training --------------------------------------------------------------


def _step(model: nn.Module) -> None:
    optimizer = torch.optim.AdamW(
        [p for p in model.parameters() if p.requires_grad], lr=0.1)
    model(_clips()).square().mean().backward()
    optimizer.step()


def test_encoder_stays_frozen():
    model = _build(LORA, ADAPTFORMER, frozen=True).train()
    assert model.adapters.training
    assert not model.encoder.training
    before = copy.deepcopy(model.state_dict())
    _step(model)
    for name, value in model.state_dict().items():
        moved = not torch.equal(value, before[name])
        assert moved == name.startswith('adapters.'), name


def test_every_parameter_trains_when_nothing_is_frozen():
    model = _build(LORA, ADAPTFORMER).train()
    before = copy.deepcopy(model.state_dict())
    _step(model)
    still = [name for name, value in model.state_dict().items()
             if torch.equal(value, before[name])]
    assert still == []


def _saved(model: nn.Module) -> int:
    kept: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
        model(_clips())
    return sum(kept.values())


def test_nothing_is_kept_for_backward_where_nothing_trains():
    late = dict(type='AdaptFormer', layers=[3])
    early = dict(type='AdaptFormer', layers=[0])
    assert _saved(_build(frozen=True)) == 0
    assert 0 < _saved(_build(late, frozen=True)) < 0.5 * _saved(
        _build(early, frozen=True))
    reader = _build(dict(type='ReadOut', layers=[0, 3]), frozen=True)
    assert 0 < _saved(reader) < 0.1 * _saved(_build(early, frozen=True))


@pytest.mark.parametrize('frozen', [False, True])
def test_checkpointing_with_adapters_changes_memory_only(frozen):
    models = [_build(LORA, ADAPTFORMER, dict(type='Shift', layers=[1]),
                     frozen=frozen, encoder=dict(with_cp=with_cp))
              for with_cp in (False, True)]
    models[1].load_state_dict(models[0].state_dict())
    outs = [model(_clips()) for model in models]
    assert torch.equal(*outs)
    for out in outs:
        out.square().mean().backward()
    for (name, a), b in zip(models[0].named_parameters(),
                            models[1].parameters()):
        assert (a.grad is None) == (b.grad is None), name
        if a.grad is not None:
            torch.testing.assert_close(a.grad, b.grad)
    assert _saved(models[1]) < 0.5 * _saved(models[0])


# -- state -----------------------------------------------------------------


def test_state_dict_round_trip_deep_copy_and_moving_average():
    model = _build(LORA, dict(type='Shift', layers=[3])).eval()
    assert {name.split('.')[0] for name in model.state_dict()} == {
        'encoder', 'adapters'}
    fresh = _build(LORA, dict(type='Shift', layers=[3])).eval()
    fresh.load_state_dict(model.state_dict(), strict=True)
    average = ExponentialMovingAverage(model)
    average.update_parameters(model)
    for other in (fresh, copy.deepcopy(model), average.module):
        assert torch.equal(other(_clips()), model(_clips()))


def test_checkpoint_of_another_set_of_adapters_is_refused():
    state = _build(LORA).state_dict()
    for other in (_build(), _build(LORA, ADAPTFORMER)):
        # As MMEngine's runner asks for it; it is strict all the same.
        with pytest.raises(RuntimeError, match=r'does not fit .*CLIPViT.*'
                           r'(missing|unexpected) \(adapters\..*Load the'):
            load_state_dict(other, state, strict=False)


# -- compilation -----------------------------------------------------------


@pytest.fixture
def counter(compiler) -> CompileCounter:
    with torch._dynamo.config.patch(
            recompile_limit=8, accumulated_recompile_limit=256):
        yield CompileCounter()


def test_an_old_compiler_is_refused(monkeypatch):
    monkeypatch.setattr(torch, '__version__', TorchVersion('2.7.1'))
    _build(LORA)
    with pytest.raises(ValueError, match='compile of CLIPViT needs torch 2.8 '
                       'or newer and 2.7.1 is installed: update'):
        _build(LORA, compile=True)
    with pytest.raises(ValueError, match='an export needs torch 2.8 or'):
        exporting.require('torch_export')


@pytest.mark.parametrize('adapters', [
    (), (LORA, ADAPTFORMER), (dict(type='Merge', layers=[2]), )])
def test_compiled_model_answers_alike_and_keeps_its_names(adapters, counter):
    plain = _build(*adapters)
    compiled = _build(*adapters, compile=dict(backend=counter))
    assert list(compiled.state_dict()) == list(plain.state_dict())
    compiled.load_state_dict(plain.state_dict())
    for clips in (_clips(), _clips()):
        outs = plain(clips), compiled(clips)
        torch.testing.assert_close(*outs)
    for out in outs:
        out.square().mean().backward()
    for (name, a), b in zip(plain.named_parameters(), compiled.parameters()):
        torch.testing.assert_close(a.grad, b.grad, msg=name)
    # Blocks with the same adapters share their graph.
    assert 1 <= counter.frame_count <= 4
    twin = copy.deepcopy(compiled)
    assert torch.equal(twin(_clips()), compiled(_clips()))


def test_deep_models_compile_once(counter):
    model = MODELS.build(dict(
        type='CLIPViT', num_frames=4, compile=dict(backend=counter),
        encoder=dict(arch=dict(ARCH, num_layers=12), act='gelu')))
    model(_clips())
    assert counter.frame_count <= 2


def test_recomputed_blocks_run_the_graphs_of_the_forward_pass(counter):
    model = _build(
        dict(type='InTI', layers=[1]),
        dict(type='LocalMHRAPreBlock', layers=[0, 1, 2]),
        encoder=dict(arch=dict(ARCH, num_layers=3), with_cp=True),
        compile=dict(backend='aot_eager')).train()
    model(_clips()).square().mean().backward()
    assert model.encoder.conv1.weight.grad.any()


def test_blocks_that_all_differ_are_all_compiled(counter):
    layers = list(range(12))
    local = [dict(type=name, layers=layers, drop_path_rate=0.2)
             for name in ('LocalMHRAPreBlock', 'LocalMHRA')]
    model = _build(
        dict(type='InTI', layers=[5, 7]), *local,
        encoder=dict(arch=dict(ARCH, num_layers=12), drop_path_rate=0.2),
        compile=dict(backend=counter)).train()
    with torch._dynamo.config.patch(fail_on_recompile_limit_hit=True):
        model(_clips())
    assert counter.frame_count == 12


def test_more_graphs_are_allowed_never_fewer(counter):
    with torch._dynamo.config.patch(recompile_limit=1000):
        _build(compile=dict(backend=counter))
        assert torch._dynamo.config.recompile_limit == 1000
    _build(compile=dict(backend=counter))
    assert torch._dynamo.config.recompile_limit == 8 * 4


@pytest.mark.slow
@pytest.mark.skipif(shutil.which('g++') is None, reason='needs a C++ compiler')
def test_inductor(compiler):
    plain = _build(LORA, frozen=True)
    compiled = _build(LORA, frozen=True, compile=True)
    compiled.load_state_dict(plain.state_dict())
    with torch.no_grad():
        torch.testing.assert_close(compiled(_clips()), plain(_clips()),
                                   atol=1e-4, rtol=1e-4)
    torch._dynamo.reset()
