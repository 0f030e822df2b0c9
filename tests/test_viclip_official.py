"""Published ViCLIP, through ``load_official``, and its conversion by the tool.

The numbers are described in the README of the parity data. Their toy text
tower knows 512 words, so that where texts are encoded it gets CLIP's.
"""

import math
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from mmaction.apis import init_recognizer
from mmaction.registry import MODELS
from mmengine.config import Config
from mmengine.registry import DefaultScope
from torch import Tensor, nn

from mmvidadapt.apis import load_official
from mmvidadapt.models.clip import CLIPTextEncoder
from mmvidadapt.models.text.encode import encode_texts, tokenize
from tests.scripts import plain_tool
from tests.viclip_golden import FRAMES, TEXT, load_golden

CLASSES = [f'class {i}' for i in range(4)]
HEADS = dict(num_heads=4, text_heads=4)


@pytest.fixture
def golden(goldens: Path) -> dict[str, Any]:
    """Numbers of the released program at toy size."""
    return load_golden(goldens)


@pytest.fixture
def source(golden: dict, tmp_path: Path) -> Path:
    """A file as it was published, with all of CLIP's words."""
    words = golden['state_dict']['text_encoder.token_embedding.weight']
    golden['state_dict']['text_encoder.token_embedding.weight'] = (
        words.repeat(97, 1)[:49408])
    path = tmp_path / 'ViCLIP.pth'
    torch.save(dict(model=golden['state_dict']), path)
    return path


def load(content: Any, **options: Any) -> tuple[dict, dict[str, Tensor]]:
    return load_official('viclip', content, **{
        **HEADS, **dict(classes=CLASSES), **options})


def model_of(content: Any, **options: Any) -> nn.Module:
    config, state = load(content, **options)
    with DefaultScope.overwrite_default_scope('mmaction'):
        model = MODELS.build(config)
    model.load_state_dict(state, strict=True)
    return model.eval()


@torch.no_grad()
def test_scores_are_those_of_the_released_program(golden):
    """With its texts in place of those of classes."""
    config, state = load(golden['state_dict'], text_weights='any.pth')
    config['cls_head'].update(
        text=None, features=golden['outputs']['text_embeds'])
    model = MODELS.build(config)
    model.load_state_dict(state, strict=True)
    scores = model.eval().cls_head(model.backbone(golden['inputs']['video']))
    torch.testing.assert_close(scores, golden['outputs']['logits'], rtol=0,
                               atol=1e-3)  # 1e-5 over a temperature of 0.01


@torch.no_grad()
def test_a_file_tells_any_classes_apart(golden, source, tmp_path,
                                        monkeypatch):
    monkeypatch.setenv('MMVIDADAPT_CACHE', str(tmp_path / 'cache'))
    video = golden['inputs']['video']
    model = model_of(source, classes=['kick_ball', 'swim'])
    text = CLIPTextEncoder(dict(TEXT, vocab_size=49408), 'quick_gelu',
                           str(source))
    text.init_weights()
    texts = encode_texts(text.eval(), tokenize(
        ['a video of kick ball.', 'a video of swim.'], text.arch))
    wanted = 100 * F.normalize(golden['outputs']['vision_embeds'], dim=-1) @ (
        F.normalize(texts, dim=-1).T)
    torch.testing.assert_close(model.cls_head(model.backbone(video)), wanted,
                               rtol=0, atol=1e-3)


def test_config_states_frames_scale_and_normalisation(golden):
    config, state = load(golden['state_dict'], text_weights='any.pth')
    assert config['backbone']['num_frames'] == FRAMES
    assert config['cls_head']['scale'] == pytest.approx(100)
    assert state['cls_head.logit_scale'] == pytest.approx(math.log(100))
    preprocessor = config['data_preprocessor']
    assert preprocessor['mean'] == pytest.approx([123.675, 116.28, 103.53])
    assert preprocessor['std'] == pytest.approx([58.395, 57.12, 57.375])


@pytest.mark.parametrize('how, last', [('linear', 3), ('zeros', None)])
def test_other_frames_resize_the_temporal_embedding(golden, how, last):
    config, state = load(golden['state_dict'], text_weights='any.pth',
                         num_frames=8, temporal_resize=how)
    assert config['backbone']['num_frames'] == 8
    table = golden['state_dict'][
        'vision_encoder.temporal_positional_embedding']
    found = state['backbone.encoder.temporal_positional_embedding']
    assert found.shape == (1, 8, 64)
    torch.testing.assert_close(
        found[0, -1],
        torch.zeros(64) if last is None else table[0, last])


@pytest.mark.parametrize('change, message', [
    (dict(drop='temp'), 'this is no viclip checkpoint, temp is missing: give'),
    (dict(drop='text_encoder.token_embedding.weight'),
     'this is no viclip checkpoint, text_encoder.token_embedding.weight is'),
    (dict(drop='text_encoder.ln_final.bias'),
     'the checkpoint does not fit this encoder: it lacks ln_final.bias; give'),
    (dict(drop='vision_encoder.ln_post.bias'),
     r'whole viclip model .* 1 missing \(backbone.encoder.ln_post.bias\)'),
    (dict(add='vision_encoder.mask_token'), 'whole viclip model .*1 left ov'),
    (dict(add='itm_head.weight'), 'also holds itm_head.weight, which no'),
    (dict(temp=0.), 'temp is 0.0 and divides the cosines, so it must be pos'),
    (dict(text_weights=None), 'the text tower is read from a file: give the '
     'path of the checkpoint in place of its content, or text_weights'),
    (dict(num_frames=0), 'num_frames=0 is no number of frames: give the one'),
    (dict(num_heads=5), 'num_heads=5 does not divide 64 channels: give'),
    (dict(text_heads=None), '48 channels cannot be divided into heads of 64: '
     'give text_heads'),
    (dict(temporal_resize='cubic'), "unknown temporal_resize='cubic': use"),
])
def test_what_does_not_fit_is_one_sentence(golden, change, message):
    state = golden['state_dict']
    state.pop(change.pop('drop', None), None)
    if 'add' in change:
        state[change.pop('add')] = torch.zeros(3)
    if 'temp' in change:
        state['temp'] = torch.tensor(change.pop('temp'))
    with pytest.raises(ValueError, match=message) as error:
        load(state, **{**dict(text_weights='any.pth'), **change})
    assert '\n' not in str(error.value)


def test_the_tool_writes_a_pair_that_tests_on_videos(
        source, golden, tmp_path, monkeypatch):
    monkeypatch.setenv('MMVIDADAPT_CACHE', str(tmp_path / 'cache'))
    out = tmp_path / 'ours.pth'
    done = plain_tool(
        'convert_checkpoint.py', 'viclip', str(source), str(out), '--dataset',
        'ucf101', '--override', 'num_heads=4', 'text_heads=4')
    assert done.returncode == 0, done.stderr[-3000:]
    cfg = Config.fromfile(out.with_suffix('.py'))
    assert cfg.model.cls_head.classes == 'ucf101'
    assert cfg.model.cls_head.average_clips == 'prob'
    assert cfg.model.cls_head.text.weights == str(source)
    assert cfg.test_dataloader.dataset.pipeline[1].clip_len == FRAMES
    first = out.with_suffix('.py').read_text().splitlines()[0]
    assert first == ('# Written by tools/convert_checkpoint.py: viclip, '
                     f'{FRAMES} frames, ucf101, from ViCLIP.pth.')
    model = init_recognizer(str(out.with_suffix('.py')), str(out), 'cpu')
    with torch.no_grad():
        features = model.backbone(golden['inputs']['video'])[:, 0]
    torch.testing.assert_close(features, golden['outputs']['vision_embeds'],
                               atol=1e-5, rtol=0)
    DefaultScope._instance_dict.clear()
