"""Published MoTE, through ``load_official``, and its conversion by the tool.

The numbers are described in the README of the parity data, which holds the
temporal part; its image tower is a random one here.
"""

import json
import math
from pathlib import Path
from typing import Any

import open_clip
import pytest
import torch
from mmaction.apis import init_recognizer
from mmaction.registry import MODELS
from mmaction.structures import ActionDataSample
from mmengine.config import Config
from torch import Tensor, nn

from mmvidadapt.apis import load_official
from mmvidadapt.compat.checkpoints import read_checkpoint
from mmvidadapt.models.clip import CLIPVisionEncoder
from mmvidadapt.models.necks.mote import Draw
from tests.conftest import ROOT
from tests.scripts import plain_tool, tool, write_videos
from tests.test_models.test_necks.mote_golden import load_golden
from tests.tiny_clip import randomize

VISION = dict(embed_dims=64, num_layers=2, num_heads=1, patch_size=16,
              image_size=32, output_dims=128)
TEXT = dict(embed_dims=16, num_layers=1, num_heads=2, output_dims=128)
CLASSES = [f'class {i}' for i in range(12)]


def published(data: dict[str, Any]) -> dict[str, Any]:
    """A checkpoint as the program saves one."""
    tower = randomize(CLIPVisionEncoder(VISION, 'quick_gelu', project=True))
    state = {f'visual.{name}': value
             for name, value in tower.state_dict().items()}
    state['logit_scale'] = torch.tensor(2.5)
    return dict(epoch=29, model_state_dict=state,
                fusion_model_state_dict=dict(data['state_dict']),
                optimizer_state_dict=dict(state={}))


def load(content: Any, **options: Any) -> tuple[dict, dict[str, Tensor]]:
    return load_official('mote', content, **{**dict(
        num_frames=8, classes=CLASSES, text_arch=TEXT), **options})


def model_of(content: dict, features: Tensor | None = None,
             **options: Any) -> nn.Module:
    """A recognizer that compares with given features of the classes."""
    if features is not None:
        options['classes'] = [f'class {i}' for i in range(len(features))]
    config, state = load(content, **options)
    if features is not None:
        config['cls_head'].update(text=None, features=features)
    model = MODELS.build(config)
    model.load_state_dict(state, strict=True)
    return model.eval()


# Numbers --------------------------------------------------------------------


@torch.no_grad()
def cosines(model: nn.Module, frames: Tensor) -> Tensor:
    features, _ = model.neck(frames)
    return model.cls_head(features) / model.cls_head.logit_scale.exp()


def test_scores_match_the_released_program(goldens: Path) -> None:
    data = load_golden(goldens)
    model = model_of(published(data), data['cls_emb'])
    assert model.cls_head.logit_scale == 2.5
    torch.testing.assert_close(
        cosines(model, data['vid_emb']), data['eval']['logits_tfm'],
        atol=1e-5, rtol=0)
    model.cls_head.modulate = False
    torch.testing.assert_close(
        cosines(model, data['vid_emb']), data['eval']['logits_no_tfm'],
        atol=1e-5, rtol=0)


def test_scores_on_the_fine_tuning_classes_match(goldens: Path) -> None:
    data = load_golden(goldens)
    model = model_of(published(data), data['state_dict']['spe_cls_feature'])
    torch.testing.assert_close(
        cosines(model, data['vid_emb']), data['eval']['logits_closed_set'],
        atol=1e-5, rtol=0)


def test_stored_weights_of_experts_are_kept(goldens: Path) -> None:
    data = load_golden(goldens)
    content = published(data)
    content['fusion_model_state_dict'].update(
        data['eval_fusion_weight']['fusion_weight'])
    model = model_of(content, data['cls_emb'])
    model.cls_head.modulate = False
    torch.testing.assert_close(
        cosines(model, data['vid_emb']),
        data['eval_fusion_weight']['logits_no_tfm'], atol=1e-5, rtol=0)
    assert 'merge_weights' not in load(published(data))[0]['neck']


def test_the_image_tower_is_the_published_one(goldens: Path) -> None:
    content = published(load_golden(goldens))
    model = model_of(content)
    for name, value in model.backbone.encoder.state_dict().items():
        assert torch.equal(
            value, content['model_state_dict'][f'visual.{name}']), name


@pytest.mark.parametrize('run', range(3))
def test_losses_of_a_recognizer_match_the_released_program(
        goldens: Path, run: int) -> None:
    data = load_golden(goldens)
    expected = data['train'][run]
    model = model_of(published(data), data['cls_emb']).train()
    with torch.no_grad():
        model.cls_head.logit_scale.fill_(math.log(expected['logit_scale']))
    model.neck.draw = lambda: Draw(
        [(e, e) for e in expected['expert_per_layer'].tolist()],
        expected['tau_per_layer'].tolist())
    frames = data['vid_emb'].requires_grad_()
    model.backbone.forward = lambda clips: frames
    samples = [ActionDataSample().set_gt_label(label)
               for label in data['labels']]
    losses = model.loss(torch.zeros(4, 1, 3, 8, 1, 1), samples)
    assert {name for name in losses if 'loss' in name} == {
        'loss_cls', 'loss_cls_merged', 'loss_mse'}
    total, log = model.parse_losses(losses)
    assert total.item() == pytest.approx(expected['loss'], rel=1e-4)
    assert log['loss_mse'].item() == pytest.approx(
        0.1 * expected['mse_loss'], rel=1e-4)
    total.backward()
    torch.testing.assert_close(frames.grad, expected['grad_vid_emb'],
                               rtol=1e-3, atol=1e-6)


# Sizes ----------------------------------------------------------------------


def layout(width: int, patch: int, layers: int, dims: int, depth: int,
           experts: int = 4, classes: int = 400) -> dict[str, Any]:
    """Names and shapes as the program saves them, restated; no values."""
    shapes: dict[str, tuple] = {}

    def block(name: str, channels: int) -> None:
        shapes[f'{name}.attn.in_proj_weight'] = (3 * channels, channels)
        shapes[f'{name}.attn.in_proj_bias'] = (3 * channels, )
        linear(f'{name}.attn.out_proj', channels, channels)
        for norm in ('ln_1', 'ln_2'):
            linear(f'{name}.{norm}', channels)

    def linear(name: str, *shape: int) -> None:
        shapes[f'{name}.weight'] = shape
        shapes[f'{name}.bias'] = shape[:1]

    shapes['visual.class_embedding'] = (width, )
    shapes['visual.positional_embedding'] = (1 + (224 // patch)**2, width)
    shapes['visual.proj'] = (width, dims)
    shapes['visual.conv1.weight'] = (width, 3, patch, patch)
    linear('visual.ln_pre', width)
    linear('visual.ln_post', width)
    for i in range(layers):
        name = f'visual.transformer.resblocks.{i}'
        block(name, width)
        linear(f'{name}.mlp.c_fc', 4 * width, width)
        linear(f'{name}.mlp.c_proj', width, 4 * width)
    shapes['logit_scale'] = ()
    shapes['spe_cls_feature'] = (classes, dims)
    shapes['frame_position_embeddings.weight'] = (77, dims)
    for i in range(depth):
        name = f'transformer.resblocks.{i}'
        block(name, dims)
        for j in range(experts):
            linear(f'{name}.mlp.fc_up.{j}', 4 * dims, dims)
            linear(f'{name}.mlp.fc_dn.{j}', dims, 4 * dims)
        if not experts:
            linear(f'{name}.mlp.c_fc', 4 * dims, dims)
            linear(f'{name}.mlp.c_proj', dims, 4 * dims)
    state = {name: torch.empty(shape, device='meta')
             for name, shape in shapes.items()}
    for i in range(depth if experts else 0):
        state[f'transformer.resblocks.{i}.mlp.mote_fusion_weight'] = (
            torch.zeros(experts))
    return state


@pytest.mark.parametrize('sizes, name, heads, head, total', [
    ((768, 16, 12, 512, 4), 'ViT-B-16', 8, 37.8, 98.8),
    ((1024, 14, 24, 768, 6), 'ViT-L-14', 12, 127.6, 346.6)])
def test_checkpoints_of_the_released_sizes_fit(
        sizes: tuple, name: str, heads: int, head: float,
        total: float) -> None:
    config, state = load_official('mote', layout(*sizes), num_frames=8)
    assert config['cls_head']['text'] == dict(
        arch=name, act='quick_gelu', weights='openai')
    assert config['cls_head']['classes'] == 'k400'
    assert config['neck']['num_heads'] == heads
    assert config['backbone']['encoder']['arch']['num_heads'] == (
        sizes[0] // 64)
    with torch.device('meta'):
        model = MODELS.build(config)
    model.load_state_dict(state, strict=True, assign=True)
    counts = [sum(p.numel() for p in module.parameters()) / 1e6
              for module in (model.neck, model.backbone)]
    assert counts[0] == pytest.approx(head, abs=0.05)
    # Merged, Table 4: the image tower and the plain transformer.
    plain = load_official('mote', layout(*sizes, experts=0), num_frames=8)
    assert plain[0]['neck']['num_experts'] == 0
    with torch.device('meta'):
        neck = MODELS.build(plain[0]).neck
    merged = sum(p.numel() for p in neck.parameters()) / 1e6
    assert counts[1] + merged == pytest.approx(total, abs=0.05)


@pytest.mark.parametrize('classes, name', [
    (400, 'k400'), (101, 'ucf101'), (51, 'hmdb51'), (174, 'sthv2')])
def test_any_number_of_fine_tuning_classes_is_read(classes: int,
                                                   name: str) -> None:
    state = layout(768, 16, 2, 512, 1, classes=classes)
    config, found = load_official('mote', state, num_frames=8,
                                  text_arch='ViT-B-16')
    assert config['cls_head']['classes'] == name
    assert len(found['cls_head.finetune_features']) == classes
    config, found = load_official('mote', state, num_frames=8,
                                  text_arch='ViT-B-16', classes='k600')
    assert len(found['cls_head.finetune_features']) == classes


# What is refused ------------------------------------------------------------


@pytest.mark.parametrize('options, message', [
    (dict(num_frames=None), 'the shapes of a mote checkpoint do not tell the '
     'frames of a clip: give num_frames, which is 8'),
    (dict(alpha=1), "mote has no override 'alpha': use num_frames, num_heads,"
     ' temporal_heads, act, classes, text_arch, text_weights'),
    (dict(temporal_heads=3), 'temporal_heads=3 does not divide 128 channels'),
    (dict(num_heads=3), 'num_heads=3 does not divide 64 channels'),
    (dict(classes=None), 'no class list is known by its 20 classes: give cla'),
    (dict(classes='k401'), "there is no list of classes 'k401': give"),
    (dict(text_arch=None), 'an image tower of 2 blocks of 64 channels belong'),
])
def test_bad_options_are_one_sentence(goldens: Path, options: dict,
                                      message: str) -> None:
    content = published(load_golden(goldens))
    with pytest.raises(ValueError, match=message) as error:
        load(content, **options)
    assert '\n' not in str(error.value)


BLOCK = 'transformer.resblocks.1.mlp.'


@pytest.mark.parametrize('change, message', [
    ({'frame_position_embeddings.weight': None}, 'this is no mote checkpoint'
     ', frame_position_embeddings.weight is missing: give the file'),
    ({'spe_cls_feature': None}, 'spe_cls_feature is missing from the checkp'),
    ({f'{BLOCK}mote_fusion_weight': None},
     f'{BLOCK}mote_fusion_weight is missing from the checkpoint: give'),
    ({f'{BLOCK}mote_fusion_weight': torch.zeros(3)},
     f'{BLOCK}mote_fusion_weight has 3 values for 4 experts: give'),
    ({f'{BLOCK}fc_up.2.bias': None}, r'.*1 missing \(neck.resblocks.1.mlp.c_'
     r'fc.2.bias\): give the file'),
    ({f'{BLOCK}fc_up.4.bias': torch.zeros(512)}, r'.*1 left over \(neck.'
     r'resblocks.1.mlp.c_fc.4.bias\): give the file'),
    ({'spe_cls_feature': torch.zeros(20, 64)}, r'.*1 of another shape \(cls_'
     r'head.finetune_features \(20, 64\) instead of \(12, 128\)\): give'),
    ({'ctx': torch.zeros(1)}, "'ctx' is no tensor of a MoTE checkpoint: giv"),
])
def test_what_does_not_fit_is_one_sentence(goldens: Path, change: dict,
                                           message: str) -> None:
    content = published(load_golden(goldens))
    part = content['fusion_model_state_dict']
    part.update(change)
    content['fusion_model_state_dict'] = {
        key: value for key, value in part.items() if value is not None}
    with pytest.raises(ValueError, match=f'^{message}') as error:
        load(content)
    assert '\n' not in str(error.value)


def test_another_method_is_told_apart(goldens: Path) -> None:
    with pytest.raises(ValueError, match='^this is no mote checkpoint'):
        load_official('mote', goldens / 'tds_clip_tiny.pt', num_frames=4)


# The tool -------------------------------------------------------------------


@pytest.fixture
def tower(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A small text tower that open_clip knows by name; the overrides."""
    monkeypatch.setenv('MMVIDADAPT_CACHE', str(tmp_path / 'cache'))
    vision = dict(image_size=32, layers=1, width=64, head_width=64,
                  patch_size=16)
    text = dict(context_length=77, vocab_size=49408, width=16, heads=2,
                layers=1)
    (tmp_path / 'names').mkdir()
    (tmp_path / 'names' / 'tiny-mote.json').write_text(json.dumps(dict(
        embed_dim=128, vision_cfg=vision, text_cfg=text)))
    configs = dict(open_clip.factory._MODEL_CONFIGS)
    monkeypatch.setattr(open_clip.factory, '_MODEL_CONFIGS', configs)
    open_clip.add_model_config(tmp_path / 'names' / 'tiny-mote.json')
    weights = tmp_path / 'clip.pt'
    torch.save(randomize(open_clip.CLIP(
        128, vision, text, quick_gelu=True)).state_dict(), weights)
    return ['text_arch=tiny-mote', f'text_weights={weights}']


@pytest.mark.parametrize('dataset, classes, clips, average', [
    ('ucf101', 101, 3, 'mote_zero_shot'), ('hmdb51', 51, 3, 'mote_zero_shot'),
    ('k600', 160, 3, 'mote_zero_shot'),
    ('k400_zeroshot', 400, 3, 'mote_zero_shot'),
    ('k400', 400, 4, 'mote_closed_set')])
def test_a_converted_checkpoint_is_tested_as_published(
        goldens: Path, tmp_path: Path, tower: list[str], dataset: str,
        classes: int, clips: int, average: str) -> None:
    source, out = tmp_path / 'published.pt', tmp_path / 'ours.pth'
    torch.save(published(load_golden(goldens)), source)
    if dataset == 'k400':
        tower = [*tower, 'classes=k400']
    lines = write_videos(tmp_path, 2)
    done = plain_tool(
        'convert_checkpoint.py', 'mote', source, out, '--num-frames', 4,
        '--dataset', dataset, '--override', *tower, '--cfg-options',
        'test_dataloader.num_workers=0',
        'test_dataloader.persistent_workers=False',
        f'test_dataloader.dataset.ann_file={lines}',
        f'test_dataloader.dataset.data_prefix.video={tmp_path}',
        'model.cls_head.templates=[a video of {}.]')
    assert done.returncode == 0, done.stderr
    assert f'{classes} classes' in done.stdout
    config = tmp_path / 'ours.py'
    model = init_recognizer(str(config), str(out), 'cpu')
    assert len(model.cls_head.class_names) == classes
    assert model.cls_head.average_clips == average
    steps = {step.type: step for step in
             model.cfg.test_dataloader.dataset.pipeline}
    assert steps['KineticsSample'].num_clips == clips
    assert steps['KineticsSample'].clip_len == 4
    assert steps['Resize'].scale == (-1, 32)
    assert ('WideThreeCrop' in steps) == (dataset == 'k400')
    state = read_checkpoint(out)['state_dict']
    assert len(state['cls_head.finetune_features']) == 20
    done = tool('test.py', str(config), str(out), '--work-dir',
                str(tmp_path / 'work'))
    assert done.returncode == 0, done.stderr[-3000:]
    assert 'acc/top1: ' in done.stdout + done.stderr


@pytest.mark.parametrize('dataset, classes', [
    ('ucf101', 'ucf101'), ('hmdb51', 'hmdb51'),
    ('k600', 'k600_zeroshot_{split}')])
def test_the_environment_chooses_the_split_of_a_converted_checkpoint(
        goldens: Path, tmp_path: Path, tower: list[str], dataset: str,
        classes: str, monkeypatch: pytest.MonkeyPatch) -> None:
    source, out = tmp_path / 'published.pt', tmp_path / 'ours.pth'
    torch.save(published(load_golden(goldens)), source)
    monkeypatch.setenv('SPLIT', '3')  # of the conversion, which is nothing
    done = plain_tool(
        'convert_checkpoint.py', 'mote', source, out, '--num-frames', 4,
        '--dataset', dataset, '--override', *tower)
    assert done.returncode == 0, done.stderr
    data = f'configs/_base_/datasets/{dataset}_mote.py'
    for split in (None, '2'):
        monkeypatch.delenv('SPLIT', raising=False)
        if split is not None:
            monkeypatch.setenv('SPLIT', split)
        cfg = Config.fromfile(tmp_path / 'ours.py')
        assert cfg.model.cls_head.classes == classes.format(split=split or 1)
        expected = Config.fromfile(ROOT / data)
        assert cfg.test_dataloader.dataset.ann_file == expected.ann_file_val


def test_the_merged_published_model_scores_alike(
        goldens: Path, tmp_path: Path) -> None:
    data = load_golden(goldens)
    config, state = load(published(data))
    torch.save(dict(state_dict=state), tmp_path / 'ours.pth')
    done = plain_tool('merge_experts.py', tmp_path / 'ours.pth',
                      tmp_path / 'merged.pth')
    assert done.returncode == 0, done.stderr
    config['cls_head'].update(text=None, features=data['cls_emb'])
    config['neck']['num_experts'] = 0
    model = MODELS.build(config).eval()
    model.load_state_dict(
        read_checkpoint(tmp_path / 'merged.pth')['state_dict'], strict=True)
    torch.testing.assert_close(
        cosines(model, data['vid_emb']), data['eval']['logits_tfm'],
        atol=1e-5, rtol=0)
