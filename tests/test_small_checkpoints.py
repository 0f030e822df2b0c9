"""Checkpoints hold what was trained; the rest comes from its source."""

import copy
import io
import json
import re
import runpy
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from mmaction.apis import (
    MMAction2Inferencer,
    inference_recognizer,
    init_recognizer,
)
from mmaction.registry import MODELS
from mmengine.config import Config
from mmengine.hooks import EMAHook
from mmengine.model import ExponentialMovingAverage
from mmengine.registry import DefaultScope, init_default_scope
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from toy_recognizer import toy_runner

from mmvidadapt.compat import averaging
from mmvidadapt.compat.averaging import whole_state_dicts
from mmvidadapt.compat.checkpoints import CheckpointError, read_checkpoint
from mmvidadapt.models.clip import (
    CLIPTextEncoder,
    CLIPVisionEncoder,
    vision_encoder,
)
from mmvidadapt.models.frozen_weights import FINGERPRINT, fingerprints_in
from mmvidadapt.models.strict_loading import refuse_partial_load
from tests.conftest import ROOT
from tests.scripts import tool, video_config, write_videos

ARCH = dict(embed_dims=16, num_layers=2, num_heads=2, patch_size=1,
            image_size=2, output_dims=8)
TEXT = dict(embed_dims=16, num_layers=1, num_heads=2, output_dims=8,
            context_length=6, vocab_size=20)
LORA = dict(type='LoRA', layers=[0])
KEY = f'backbone.encoder.{FINGERPRINT}'


@pytest.fixture(autouse=True)
def scope() -> None:
    """MMAction2's registries, for one test."""
    before = DefaultScope.get_current_instance()
    init_default_scope('mmaction')
    yield
    if before is None:
        DefaultScope._instance_dict.clear()


@pytest.fixture
def source(tmp_path: Path) -> str:
    """A file of CLIP weights."""
    return write_weights(tmp_path / 'clip.pt')


def write_weights(path: Path, **changes) -> str:
    torch.save(encoder(None, **changes).state_dict(), path)
    return str(path)


def encoder(weights: str | None, **changes) -> CLIPVisionEncoder:
    """An image encoder; its weights are not loaded yet."""
    built = CLIPVisionEncoder(**{
        **dict(arch=ARCH, act='gelu', weights=weights, frozen=True),
        **changes})
    with torch.no_grad():
        for parameter in built.parameters():
            parameter.normal_(std=0.2)
    return built


def ready(weights: str, **changes) -> CLIPVisionEncoder:
    """An image encoder with its weights."""
    built = encoder(weights, **changes)
    built.init_weights()
    return built


def model_config(weights: str | None, **changes) -> dict:
    return dict(
        type='Recognizer3D',
        backbone=dict(
            type='CLIPViT', num_frames=4, adapters=[LORA],
            encoder={**dict(arch=ARCH, act='gelu', frozen=True,
                            weights=weights), **changes}),
        cls_head=dict(type='LinearHead', num_classes=3, in_channels=16))


def recognizer(weights: str | None, **changes) -> nn.Module:
    """A recognizer as init_recognizer builds it, without init_weights."""
    built = MODELS.build(model_config(weights, **changes))
    with torch.no_grad():
        for parameter in built.parameters():
            parameter.normal_(std=0.2)
    return built


def trained(weights: str, **changes) -> nn.Module:
    """A recognizer as a training leaves it behind."""
    built = recognizer(weights, **changes)
    built.backbone.encoder.init_weights()
    return built


def assert_equal(state: dict[str, Tensor], other: dict[str, Tensor]) -> None:
    assert state.keys() == other.keys()
    for key, value in state.items():
        assert torch.equal(value, other[key]), key


def whole(module: nn.Module) -> dict[str, Tensor]:
    with whole_state_dicts():
        return module.state_dict()


# -- what is saved ---------------------------------------------------------


def test_what_trains_and_a_fingerprint_are_saved(source: str) -> None:
    model = trained(source)
    state = model.state_dict()
    frozen = {name for name, p in model.named_parameters()
              if not p.requires_grad}
    assert state.keys() == whole(model).keys() - frozen | {KEY}
    assert any('low_rank' in key for key in state)
    assert 'cls_head.fc_cls.weight' in state
    stated = fingerprints_in(state)['backbone.encoder.']
    assert stated.weights == 'clip.pt'  # no folder
    assert stated.tensors == len(frozen)
    assert stated.arch == '2 blocks of 16 channels'


def test_requires_grad_decides_and_no_name_does(source: str) -> None:
    built = ready(source)
    built.transformer.resblocks[1].ln_1.requires_grad_(True)
    assert built.state_dict().keys() == {
        FINGERPRINT, 'transformer.resblocks.1.ln_1.weight',
        'transformer.resblocks.1.ln_1.bias'}
    built.requires_grad_(True)
    assert built.state_dict().keys() == dict(built.named_parameters()).keys()
    built.requires_grad_(False)
    assert built.state_dict().keys() == {FINGERPRINT}


def test_a_frozen_text_encoder_is_left_out_too(tmp_path: Path) -> None:
    path = str(tmp_path / 'text.pt')
    torch.save(CLIPTextEncoder(TEXT, 'gelu').state_dict(), path)
    built = CLIPTextEncoder(TEXT, 'gelu', weights=path, frozen=True)
    built.init_weights()
    state = built.state_dict()
    assert state.keys() == {FINGERPRINT}
    fresh = CLIPTextEncoder(TEXT, 'gelu', weights=path, frozen=True)
    fresh.load_state_dict(state, strict=True)
    assert_equal(whole(fresh), whole(built))


@pytest.mark.parametrize('make', [
    lambda source: encoder(None),
    lambda source: encoder(source),  # as init_recognizer builds it
    lambda source: ready(source, save_frozen=True),
], ids=['no source', 'source not read', 'save_frozen'])
def test_everything_is_saved(make: Callable, source: str) -> None:
    built = make(source)
    assert_equal(built.state_dict(), dict(built.named_parameters()))


def test_what_is_no_longer_the_source_s_stays_in_the_file(
        source: str) -> None:
    built = ready(source)
    built.conv1.weight.data.neg_()  # torch counts no change
    state = built.state_dict()
    assert state.keys() == {FINGERPRINT, 'conv1.weight'}
    fresh = encoder(source)
    fresh.load_state_dict(state, strict=True)
    assert_equal(whole(fresh), whole(built))


def test_a_frozen_encoder_in_half_precision_is_saved_whole(
        source: str) -> None:
    built = ready(source).half()
    assert FINGERPRINT not in built.state_dict()


def test_resized_positions_stay_in_the_file(source: str) -> None:
    larger = dict(arch=dict(ARCH, image_size=3))
    built = ready(source, **larger)
    state = built.state_dict()
    assert state.keys() == {FINGERPRINT, 'positional_embedding'}
    fresh = encoder(source, **larger)
    fresh.load_state_dict(state, strict=True)
    assert_equal(whole(fresh), whole(built))


# -- what is loaded --------------------------------------------------------


def test_a_built_model_loads_strictly_and_computes_the_same(
        source: str) -> None:
    model = trained(source).eval()
    fresh = recognizer(source).eval()
    fresh.load_state_dict(model.state_dict(), strict=True)
    assert_equal(whole(fresh), whole(model))
    assert fresh.state_dict().keys() == model.state_dict().keys()
    clips = torch.randn(1, 3, 4, 2, 2)
    assert torch.equal(fresh.backbone(clips), model.backbone(clips))


def test_the_source_is_read_only_where_it_is_needed(
        source: str, monkeypatch: pytest.MonkeyPatch) -> None:
    reads = []
    read = vision_encoder.load_vision_weights
    monkeypatch.setattr(
        vision_encoder, 'load_vision_weights',
        lambda *args: reads.append(args[1]) or read(*args))
    model = trained(source)
    assert reads == [source]
    model.load_state_dict(model.state_dict())
    model.load_state_dict(whole(model))
    recognizer(source).load_state_dict(whole(model))
    assert reads == [source]
    recognizer(source).load_state_dict(model.state_dict())
    assert reads == [source] * 2


def test_the_file_of_the_source_may_have_another_name(
        source: str, tmp_path: Path) -> None:
    state = ready(source).state_dict()
    elsewhere = tmp_path / 'elsewhere.pth'
    Path(source).rename(elsewhere)
    encoder(str(elsewhere)).load_state_dict(state, strict=True)


def test_a_config_that_trains_the_encoder_starts_from_it(
        source: str) -> None:
    model = trained(source)
    tuned = recognizer(source, frozen=False)
    tuned.load_state_dict(model.state_dict())
    assert_equal(whole(tuned), whole(model))
    assert all(p.requires_grad for p in tuned.parameters())
    with torch.no_grad():
        tuned.backbone.encoder.conv1.weight.add_(1)
    tuned.load_state_dict(model.state_dict())  # after it was trained
    assert_equal(whole(tuned), whole(model))


def test_a_whole_checkpoint_loads_and_is_kept(source: str,
                                              tmp_path: Path) -> None:
    other = write_weights(tmp_path / 'other.pt')
    model = trained(source)
    model.load_state_dict(whole(trained(other)), strict=True)
    assert_equal(model.state_dict(), whole(model))  # no source has it
    model.load_state_dict(whole(trained(source)), strict=True)
    assert KEY in model.state_dict()


def test_init_cfg_takes_a_small_checkpoint(source: str,
                                           tmp_path: Path) -> None:
    model = trained(source)
    path = str(tmp_path / 'small.pth')
    torch.save(dict(state_dict=model.state_dict()), path)
    config = model_config(source)
    config['backbone']['init_cfg'] = dict(
        type='Pretrained', checkpoint=path, prefix='backbone.')
    built = MODELS.build(config)
    built.init_weights()
    assert_equal(whole(built.backbone), whole(model.backbone))


def test_the_guard_with_allowed_faults_leaves_the_encoder_alone(
        source: str) -> None:

    class Guarded(nn.Module):

        def __init__(self) -> None:
            super().__init__()
            self.encoder = encoder(source)
            self.head = nn.Linear(2, 2)
            refuse_partial_load(self, allow=('missing', 'unexpected'))

    model = Guarded()
    model.encoder.init_weights()
    for state in (model.state_dict(), whole(model)):
        for fresh in (Guarded(), copy.deepcopy(model)):
            fresh.load_state_dict(state)
            assert_equal(whole(fresh), whole(model))
    other = whole(Guarded())
    model.load_state_dict(other)
    assert_equal(whole(model), other)


# -- what is refused -------------------------------------------------------


def refused(state: dict[str, Tensor], model: nn.Module,
            error: type = CheckpointError) -> str:
    """The sentence with which a model refuses a state dict."""
    with pytest.raises(error) as caught:
        model.load_state_dict(state)
    message = str(caught.value)
    assert '\n' not in message
    return message


def test_another_source_is_refused_by_name(source: str,
                                           tmp_path: Path) -> None:
    other = write_weights(tmp_path / 'other.pt')
    state = trained(source).state_dict()
    for model in (recognizer(other), trained(other)):
        assert re.search(
            r"trained with the frozen weights 'clip\.pt' of 2 blocks of 16 "
            r"channels and 'backbone\.encoder' has 'other\.pt' of .*whose "
            'values are others: set weights', refused(state, model))


def test_a_source_that_is_gone_is_one_sentence(source: str) -> None:
    state = trained(source).state_dict()
    Path(source).unlink()
    message = refused(state, recognizer(source), FileNotFoundError)
    assert re.search(
        r"holds only what was trained and needs the frozen weights 'clip\.pt'"
        r" of .* for 'backbone\.encoder', but .*clip\.pt does not exist",
        message)


def test_a_tag_that_cannot_be_downloaded_is_one_sentence(
        source: str, monkeypatch: pytest.MonkeyPatch) -> None:
    state = ready(source).state_dict()
    fresh = encoder('openai')
    fresh.arch_name = 'ViT-B-16'  # tags belong to names
    fresh.act = 'quick_gelu'

    def offline(*args: object) -> str:
        raise OSError('no network')

    monkeypatch.setattr('open_clip.pretrained.download_pretrained', offline)
    assert re.search(
        "holds only what was trained .*'openai' of ViT-B-16 cannot be "
        r'downloaded \(no network\): connect',
        refused(state, fresh, FileNotFoundError))


def test_a_config_without_a_source_is_refused(source: str) -> None:
    assert re.search(
        "'backbone.encoder' has weights=None: set weights to 'clip.pt' of ",
        refused(trained(source).state_dict(), recognizer(None)))


@pytest.mark.parametrize('changes', [
    dict(arch=dict(ARCH, num_layers=3)), dict(post_norm=False)])
def test_another_encoder_is_refused(source: str, tmp_path: Path,
                                    changes: dict) -> None:
    state = ready(source).state_dict()
    other = write_weights(tmp_path / 'other.pt', **changes)
    assert re.search(
        r"leaves 31 tensors of 'clip\.pt' .*but 'CLIPVisionEncoder' \(\d "
        r'blocks of 16 channels\) lacks \d+: use the encoder',
        refused(state, encoder(other, **changes)))


def test_a_file_that_lost_more_is_refused(source: str) -> None:
    built = ready(source)
    built.ln_pre.requires_grad_(True)
    state = built.state_dict()
    del state['ln_pre.bias']
    assert re.search('leaves 29 tensors .*lacks 30',
                     refused(state, encoder(source)))


def test_a_converted_encoder_is_refused(source: str) -> None:
    assert re.search(
        'in float32, and .* was converted to float16: load first',
        refused(ready(source).state_dict(), encoder(source).half()))


@pytest.mark.parametrize(
    'text', [b'{"arch"', b'{"arch": "a"}', b'[]', b'\xff'])
def test_a_damaged_fingerprint_is_refused(source: str, text: bytes) -> None:
    state = trained(source).state_dict()
    state[KEY] = torch.tensor(list(text), dtype=torch.uint8)
    assert re.search('fingerprint .*cannot be read .*: copy the file again',
                     refused(state, recognizer(source)))


def test_a_small_checkpoint_is_no_source(source: str,
                                         tmp_path: Path) -> None:
    path = tmp_path / 'epoch_1.pth'
    torch.save(dict(state_dict=trained(source).state_dict()), path)
    with pytest.raises(
            ValueError, match=r'epoch_1\.pth holds only what was trained, not '
            r"the frozen weights 'clip\.pt' of .*: give those as weights"):
        ready(str(path))


# -- copies and averages ---------------------------------------------------


def test_a_copy_saves_what_its_original_trained(source: str) -> None:
    model = trained(source)
    average = copy.deepcopy(copy.deepcopy(model)).requires_grad_(False)
    assert_equal(average.state_dict(), model.state_dict())
    tuned = trained(source, frozen=False)
    average = copy.deepcopy(tuned).requires_grad_(False)
    assert_equal(average.state_dict(), tuned.state_dict())
    assert KEY not in average.state_dict()
    tuned.requires_grad_(False)  # frozen itself, not copied
    assert KEY in tuned.state_dict()


def test_a_copy_has_tensors_of_its_own(source: str) -> None:
    built = ready(source)
    copied = copy.deepcopy(built)
    copied.conv1.weight.data.neg_()
    assert built.state_dict().keys() == {FINGERPRINT}
    assert copied.state_dict().keys() == {FINGERPRINT, 'conv1.weight'}
    encoder(source).load_state_dict(copied.state_dict(), strict=True)


def test_a_pickled_model_still_saves_and_loads(source: str) -> None:
    buffer = io.BytesIO()
    torch.save(ready(source), buffer)
    buffer.seek(0)
    copied = torch.load(buffer, weights_only=False)
    assert copied.state_dict().keys() == {FINGERPRINT}
    copied.load_state_dict(copied.state_dict(), strict=True)


def test_averages_are_asked_for_everything(source: str) -> None:
    model = recognizer(source)
    average = ExponentialMovingAverage(model, update_buffers=True)
    model.backbone.encoder.init_weights()  # as Runner does, after the copy
    average.update_parameters(model)
    assert_equal(whole(average.module), whole(model))
    assert KEY in average.module.state_dict()


def test_the_fault_of_averages_is_found(
        monkeypatch: pytest.MonkeyPatch) -> None:
    assert not averaging.needed()  # mended on import
    monkeypatch.setattr(EMAHook, 'after_train_iter',
                        EMAHook.after_train_iter.__wrapped__)
    assert averaging.needed()


EMA = dict(type='EMAHook', momentum=0.1)


LATE = dict(EMA, begin_epoch=2, update_buffers=True)


@pytest.mark.parametrize('hooks, frozen', [
    ([], True), ([EMA], True), ([EMA], False), ([LATE], True),
    ([LATE], False)])
def test_a_run_saves_and_resumes(
        tmp_path: Path, source: str, hooks: list, frozen: bool,
        monkeypatch: pytest.MonkeyPatch) -> None:
    # Formatting the config takes longer than these runs.
    monkeypatch.setattr(Config, 'pretty_text', '')

    def run(name: str, **changes) -> Path:
        folder = tmp_path / name
        runner = toy_runner(folder, **{
            'model.backbone': model_config(source, frozen=frozen)['backbone'],
            'model.cls_head.in_channels': 16, 'custom_hooks': hooks,
            **changes})
        runner.train()
        return folder

    first = run('first')
    saved = read_checkpoint(first / 'epoch_2.pth')
    state = saved['state_dict']
    assert (KEY in state) == frozen
    assert ('backbone.encoder.conv1.weight' in state) != frozen
    if hooks:
        average = {key.removeprefix('module.'): value for key, value
                   in saved['ema_state_dict'].items() if key != 'steps'}
        assert average.keys() == state.keys()
    resumed = run('resumed', load_from=str(first / 'epoch_1.pth'),
                  resume=True)
    assert_equal(read_checkpoint(resumed / 'epoch_2.pth')['state_dict'],
                 state)


# -- the roads of a user ---------------------------------------------------


class Run(NamedTuple):
    """A training of a config of ours with a frozen encoder."""

    config: str
    checkpoint: str
    video: str
    folder: Path


@pytest.fixture(scope='module')
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """One epoch on video files, by tools/train.py."""
    folder = tmp_path_factory.mktemp('run')
    lists = write_videos(folder, 4)
    config = video_config('inti/vitb_k400.py', folder, lists, folder,
                          model__backbone__encoder__frozen=True)
    cfg = Config.fromfile(config)
    encoder_cfg = cfg.model.backbone.encoder
    torch.save(CLIPVisionEncoder(
        encoder_cfg.arch, encoder_cfg.act).state_dict(), folder / 'clip.pt')
    encoder_cfg.weights = str(folder / 'clip.pt')
    cfg.dump(config)
    done = tool('train.py', config, '--work-dir', str(folder / 'work'))
    assert done.returncode == 0, done.stderr[-3000:]
    return Run(config, str(folder / 'work' / 'epoch_1.pth'),
               str(folder / '0.mp4'), folder)


def scores(run: Run, checkpoint: str) -> Tensor:
    model = init_recognizer(run.config, checkpoint, device='cpu')
    return inference_recognizer(model, run.video).pred_score


def test_the_tools_train_resume_and_test_small_checkpoints(run: Run) -> None:
    state = read_checkpoint(run.checkpoint)['state_dict']
    assert KEY in state and 'backbone.encoder.conv1.weight' not in state
    work = str(run.folder / 'work')
    done = tool('train.py', run.config, '--work-dir', work, '--resume',
                '--cfg-options', 'train_cfg.max_epochs=2')
    assert done.returncode == 0, done.stderr[-3000:]
    assert 'resumed epoch: 1' in done.stderr + done.stdout
    done = tool('test.py', run.config, f'{work}/epoch_2.pth', '--work-dir',
                work)
    assert done.returncode == 0, done.stderr[-3000:]
    assert re.search(r'acc/top1: [01]\.\d+', done.stderr + done.stdout)


def test_init_recognizer_and_inferencer_restore_the_encoder(
        run: Run, tmp_path: Path) -> None:
    small = scores(run, run.checkpoint)
    model = init_recognizer(run.config, run.checkpoint, device='cpu')
    torch.save(dict(state_dict=whole(model)), tmp_path / 'whole.pth')
    assert torch.equal(small, scores(run, str(tmp_path / 'whole.pth')))
    inferencer = MMAction2Inferencer(run.config, run.checkpoint, device='cpu')
    assert_equal(whole(inferencer.actionrecog_inferencer.model), whole(model))


def test_the_tools_say_in_one_sentence_what_is_missing(
        run: Run, tmp_path: Path) -> None:
    other = write_weights(tmp_path / 'other.pt', arch=Config.fromfile(
        run.config).model.backbone.encoder.arch)
    for weights, message in (
            (str(tmp_path / 'gone.pt'),
             "holds only what was trained and needs .*'clip.pt'.*gone.pt"),
            (other, "'clip.pt' of .*has 'other.pt' of .*: set weights")):
        done = tool('test.py', run.config, run.checkpoint, '--work-dir',
                    str(tmp_path), '--cfg-options',
                    f'model.backbone.encoder.weights={weights}')
        assert re.search(message, done.error)


# -- safetensors -----------------------------------------------------------


@pytest.fixture
def export(monkeypatch: pytest.MonkeyPatch,
           capsys: pytest.CaptureFixture) -> Callable:
    """Run the tool; its exit status and the last line of what it said."""
    script = str(ROOT / 'tools' / 'export_safetensors.py')

    def call(*args: object) -> tuple[int, str]:
        monkeypatch.setattr(sys, 'argv', [script, *map(str, args)])
        with pytest.raises(SystemExit) as end:
            runpy.run_path(script, run_name='__main__')
        said = capsys.readouterr()
        return end.value.code or 0, (said.err or said.out).splitlines()[-1]

    return call


def test_an_exported_checkpoint_is_used_like_the_checkpoint(
        run: Run, tmp_path: Path, export: Callable) -> None:
    out = tmp_path / 'model.safetensors'
    status, said = export(run.checkpoint, out)
    assert status == 0 and re.search(
        r'wrote .*: \d+ tensors, \d+\.\d\d MB; left to their source: .*'
        r'clip\.pt', said), said
    assert not list(tmp_path.glob('*.partial'))
    saved = read_checkpoint(run.checkpoint)
    assert_equal(read_checkpoint(out)['state_dict'], saved['state_dict'])
    with safe_open(out, 'pt') as file:
        metadata = file.metadata()
    assert metadata['cfg'] == saved['meta']['cfg']
    assert json.loads(metadata['fingerprints'])['backbone.encoder'][
        'weights'] == 'clip.pt'
    assert torch.equal(scores(run, str(out)), scores(run, run.checkpoint))
    done = tool('test.py', run.config, str(out), '--work-dir', str(tmp_path))
    assert done.returncode == 0, done.stderr[-3000:]
    done = tool('train.py', run.config, '--resume', str(out))
    assert re.search('--resume .*has no optimizer and no epoch: give',
                     done.error)
    status, said = export(run.checkpoint, out)
    assert status == 1 and re.search('error: .*exists: choose another', said)


@pytest.mark.parametrize('content, name, message', [
    (dict(state_dict={}), 'a.safetensors', 'no state dict of tensors: give'),
    ([1], 'a.safetensors', 'no state dict of tensors: give'),
    (dict(state_dict=dict(x=1)), 'a.safetensors', r"\('x' is none\): give"),
    (dict(state_dict=dict(x=torch.ones(1))), 'a.pth',
     'a.pth is not named as safetensors: choose'),
])
def test_what_cannot_be_exported_is_one_sentence(
        tmp_path: Path, export: Callable, content: object, name: str,
        message: str) -> None:
    torch.save(content, tmp_path / 'in.pth')
    status, said = export(tmp_path / 'in.pth', tmp_path / name)
    assert status == 1 and re.search(f'error: .*{message}', said), said
    assert [path.name for path in tmp_path.iterdir()] == ['in.pth']


def test_views_of_one_tensor_are_exported(tmp_path: Path,
                                          export: Callable) -> None:
    table = torch.arange(6.).reshape(2, 3)
    state = dict(a=table, b=table.T, c=table[:, 1])
    torch.save(state, tmp_path / 'in.pth')
    status, said = export(tmp_path / 'in.pth', tmp_path / 'a.safetensors')
    assert status == 0, said
    assert_equal(read_checkpoint(tmp_path / 'a.safetensors')['state_dict'],
                 state)


def test_safetensors_are_read_to_the_device_that_is_asked_for(
        tmp_path: Path) -> None:
    path = str(tmp_path / 'a.safetensors')
    save_file(dict(weight=torch.ones(2)), path)
    for device in ('meta', torch.device('meta')):
        assert read_checkpoint(path, device)['state_dict']['weight'].is_meta
    for device in (None, 'cpu', {'cuda:0': 'cpu'}):
        assert read_checkpoint(path, device)['state_dict'][
            'weight'].device.type == 'cpu'


# -- size ------------------------------------------------------------------


def test_a_tds_clip_of_vit_b_16_is_below_100_mb(
        monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    # The values do not matter: those of the constructor pass for CLIP's.
    monkeypatch.setattr(vision_encoder, 'load_vision_weights',
                        lambda *args: [])
    model = MODELS.build(dict(
        type='Recognizer3D',
        backbone=dict(
            type='SideCLIPViT', num_frames=8, encoder=dict(
                arch='ViT-B-16', act='quick_gelu', weights='openai')),
        cls_head=dict(type='LinearHead', num_classes=400, in_channels=320)))
    model.backbone.encoder.init_weights()
    state = model.state_dict()
    stated = fingerprints_in(state)['backbone.encoder.']
    assert str(stated) == "'openai' of ViT-B-16"
    torch.save(dict(state_dict=state), tmp_path / 'tds.pth')
    size = (tmp_path / 'tds.pth').stat().st_size
    assert 90e6 < size < 100e6
    assert sum(value.nbytes for value in whole(model).values()) > 400e6
