"""Weights load from every published layout, whole, or not at all."""

import fcntl
import json
import os
import pickle
import re
import warnings
from collections import OrderedDict
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
import torch
from mmengine.registry import DefaultScope
from open_clip import pretrained
from safetensors.torch import save_file
from torch import nn

from mmvidadapt.compat.checkpoints import CheckpointError
from mmvidadapt.models.clip.viclip import ViCLIPVisionEncoder
from mmvidadapt.models.clip.vision_encoder import CLIPVisionEncoder
from mmvidadapt.models.clip.weights import resize_positions
from tests import tiny_clip as tiny


@pytest.fixture
def clip() -> nn.Module:
    """open_clip's model, the truth of this file."""
    return tiny.reference()


def _saved(content: object, path: Path) -> str:
    torch.save(content, path)
    return str(path)


def _assert_equal_outputs(clip: nn.Module, weights: str,
                          **changes) -> None:
    """Both towers load and answer like ``clip``."""
    images, tokens = tiny.frames(), tiny.padded_tokens()
    with torch.no_grad():
        ours = tiny.image_features(
            tiny.vision(weights=weights, **changes), images)
        torch.testing.assert_close(ours, clip.encode_image(images),
                                   atol=1e-5, rtol=1e-5)
        ours = tiny.text(weights=weights, **changes)(tokens)
        torch.testing.assert_close(ours, clip.encode_text(tokens),
                                   atol=1e-5, rtol=1e-5)


# -- layouts ---------------------------------------------------------------


def test_open_clip_state_dict(clip, tmp_path):
    _assert_equal_outputs(clip, _saved(clip.state_dict(), tmp_path / 'a.pt'))


@pytest.mark.parametrize('wrappers', [
    'module.', 'module.module.', '_orig_mod.module.', 'module._orig_mod.'])
def test_open_clip_training_checkpoint_with_prefixes_of_wrappers(
        clip, tmp_path, wrappers):
    state = {wrappers + k: v for k, v in clip.state_dict().items()}
    path = _saved(dict(epoch=3, name='run', state_dict=state),
                  tmp_path / 'epoch_3.pt')
    _assert_equal_outputs(clip, path)


def test_open_clip_model_with_a_separate_text_tower(tmp_path):
    clip = tiny.reference(custom_text=True)
    assert 'text.token_embedding.weight' in clip.state_dict()
    _assert_equal_outputs(clip, _saved(clip.state_dict(), tmp_path / 'a.pt'))


def test_open_clip_safetensors(clip, tmp_path):
    path = tmp_path / 'open_clip_model.safetensors'
    save_file(clip.state_dict(), path)
    _assert_equal_outputs(clip, str(path))


def test_safetensors_are_known_by_content_not_by_suffix(clip, tmp_path):
    path = tmp_path / 'weights.bin'
    save_file(clip.state_dict(), path)
    _assert_equal_outputs(clip, str(path))


class _OpenAI(nn.Module):
    """OpenAI's archives hold three sizes beside the weights."""

    def __init__(self, clip: nn.Module) -> None:
        super().__init__()
        for name, child in clip.named_children():
            setattr(self, name, child)
        for name in ('positional_embedding', 'text_projection',
                     'logit_scale'):
            setattr(self, name, getattr(clip, name))
        for name, size in (('input_resolution', 32), ('context_length', 12),
                           ('vocab_size', 60)):
            self.register_buffer(name, torch.tensor(size))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.visual(images)


def _traced(model: nn.Module) -> torch.jit.ScriptModule:
    images = tiny.frames().to(model.logit_scale.dtype)
    with warnings.catch_warnings():
        warnings.simplefilter('ignore', torch.jit.TracerWarning)
        return torch.jit.trace(model, images, check_trace=False)


def test_openai_torchscript_archive_in_half_precision(clip, tmp_path, log):
    clip.half().float()  # the truth, rounded to what the archive can hold
    path = str(tmp_path / 'ViT.pt')
    openai = _OpenAI(tiny.reference().half())
    # The three sizes are in such archives only.
    fit = openai.load_state_dict(clip.state_dict(), strict=False)
    assert not fit.unexpected_keys
    assert fit.missing_keys == ['input_resolution', 'context_length',
                                'vocab_size']
    _traced(openai).save(path)
    _assert_equal_outputs(clip, path)
    assert "OpenAI's CLIP, stored as float16" in log[0]
    assert 'activation quick_gelu confirmed' in log[0]


def test_openai_state_dict_with_its_three_sizes(clip, tmp_path):
    path = _saved(_OpenAI(clip).state_dict(), tmp_path / 'a.pt')
    _assert_equal_outputs(clip, path)
    with pytest.raises(ValueError, match="act='gelu' but .*a.pt .*OpenAI's "
                       "CLIP.* was trained with 'quick_gelu'"):
        tiny.vision(weights=path, act='gelu')


def test_half_precision_is_upcast(clip, tmp_path, log):
    clip.half().float()
    state = {k: v.half() for k, v in clip.state_dict().items()}
    path = _saved(state, tmp_path / 'a.pt')
    assert all(p.dtype == torch.float32
               for p in tiny.vision(weights=path).parameters())
    assert 'stored as float16' in log[0]
    _assert_equal_outputs(clip, path)


def test_hugging_face_model(clip, tmp_path):
    state = tiny.to_hugging_face(clip.state_dict())
    # Older releases also stored the numbers of the positions.
    state['vision_model.embeddings.position_ids'] = torch.arange(5)[None]
    path = tmp_path / 'model.safetensors'
    save_file(state, path)
    _assert_equal_outputs(clip, str(path))
    _assert_equal_outputs(clip, _saved(state, tmp_path / 'model.bin'))


@pytest.mark.parametrize('name', ['model.safetensors', 'pytorch_model.bin'])
def test_hugging_face_folder(clip, tmp_path, name):
    state = tiny.to_hugging_face(clip.state_dict())
    (save_file if name.endswith('s') else torch.save)(state, tmp_path / name)
    (tmp_path / 'config.json').write_text('{"vision_config": {}}')
    _assert_equal_outputs(clip, str(tmp_path))


def test_hugging_face_vision_model_has_no_projection(clip, tmp_path):
    state = {k: v for k, v in tiny.to_hugging_face(clip.state_dict()).items()
             if k.startswith('vision_model')}
    path = tmp_path / 'model.safetensors'
    save_file(state, path)
    clip.visual.proj = None
    ours = tiny.vision(weights=str(path), project=False)
    torch.testing.assert_close(
        tiny.image_features(ours, tiny.frames()),
        clip.encode_image(tiny.frames()), atol=1e-5, rtol=1e-5)
    with pytest.raises(ValueError, match='lacks proj; .*project=False'):
        tiny.vision(weights=str(path))
    with pytest.raises(ValueError, match='holds no text tower'):
        tiny.text(weights=str(path))


def _mmpretrain_vit(**changes) -> nn.Module:
    from mmpretrain.models import VisionTransformer
    vit = tiny.randomize(VisionTransformer(**{**dict(
        arch=dict(embed_dims=32, num_layers=2, num_heads=2,
                  feedforward_channels=128),
        img_size=32, patch_size=16, pre_norm=True,
        norm_cfg=dict(type='LN', eps=1e-5),
        layer_cfgs=dict(act_cfg=dict(type='mmpretrain.QuickGELU'))),
        **changes}))
    vit.eval()  # returns nothing
    return vit


@pytest.mark.parametrize('prefix', ['', 'backbone.'])
def test_mmpretrain_vision_transformer(tmp_path, prefix):
    vit = _mmpretrain_vit()
    state = {prefix + k: v for k, v in vit.state_dict().items()}
    if prefix:  # a fine-tuned classifier, as mmpretrain publishes them
        state['head.layers.head.weight'] = torch.zeros(10, 32)
        state['data_preprocessor.mean'] = torch.zeros(3)
    path = _saved(dict(meta={}, state_dict=state), tmp_path / 'vit.pth')
    ours = tiny.vision(weights=path, project=False)
    torch.testing.assert_close(
        tiny.image_features(ours, tiny.frames()), vit(tiny.frames())[-1],
        atol=1e-5, rtol=1e-5)


PLAIN = {**tiny.VISION, 'pre_norm': False, 'norm_eps': 1e-2}


def _plain_vit(**changes) -> nn.Module:
    """mmpretrain's model without what CLIP added; an eps that shows."""
    return _mmpretrain_vit(**{**dict(
        pre_norm=False, norm_cfg=dict(type='LN', eps=1e-2),
        layer_cfgs={}), **changes})


def _plain(weights: str | None = None, **arch) -> nn.Module:
    return tiny.vision(arch={**PLAIN, **arch}, act='gelu', project=False,
                       weights=weights)


@pytest.mark.parametrize('theirs, ours', [
    (dict(), dict()),
    (dict(qkv_bias=False), dict()),
    (dict(layer_scale_init_value=0.1), dict()),  # DINOv2
    (dict(arch=dict(embed_dims=48, num_layers=3, num_heads=4,
                    feedforward_channels=144), patch_size=8, img_size=24),
     dict(embed_dims=48, num_layers=3, num_heads=4, mlp_ratio=3., patch_size=8,
          image_size=24)),
])
def test_mmpretrain_vits_that_are_no_clip(theirs, ours, tmp_path):
    vit = _plain_vit(**theirs)
    state = {f'backbone.{k}': v for k, v in vit.state_dict().items()}
    state['neck.mask_token'] = torch.zeros(1)  # of MAE's pretraining
    path = _saved(dict(state_dict=state), tmp_path / 'vit.pth')
    images = tiny.frames(image_size=ours.get('image_size', 32))
    torch.testing.assert_close(
        tiny.image_features(_plain(path, **ours), images), vit(images)[-1],
        atol=1e-5, rtol=1e-5)


def test_a_frozen_vit_is_left_to_its_source(tmp_path):
    vit = _plain_vit(qkv_bias=False, layer_scale_init_value=0.1)
    path = _saved(vit.state_dict(), tmp_path / 'vit.pth')
    options = dict(arch=PLAIN, act='gelu', project=False, frozen=True)
    small = tiny.vision(weights=path, **options).state_dict()
    assert [*small] == ['fingerprint']
    again = CLIPVisionEncoder(weights=path, **options)
    again.load_state_dict(small)
    torch.testing.assert_close(
        tiny.image_features(again, tiny.frames()), vit(tiny.frames())[-1],
        atol=1e-5, rtol=1e-5)


def test_positions_of_another_vit_are_resized_as_those_of_clip(tmp_path):
    path = _saved(_plain_vit().state_dict(), tmp_path / 'vit.pth')
    assert _plain(path, image_size=48).positional_embedding.shape == (10, 32)


def test_a_vit_and_a_clip_do_not_take_each_other_s_weights(tmp_path):
    path = _saved(_plain_vit().state_dict(), tmp_path / 'vit.pth')
    with pytest.raises(ValueError, match='without the norm before the first '
                       'block that every CLIP has: set pre_norm=False, '
                       'norm_eps=1e-6 in arch, or use other weights'):
        tiny.vision(weights=path, project=False)
    path = _saved(_mmpretrain_vit().state_dict(), tmp_path / 'clip.pth')
    with pytest.raises(ValueError, match='with the norm before the first '
                       'block that every CLIP has: set pre_norm=True in'):
        _plain(path)


@pytest.mark.parametrize('changes, message', [
    (dict(with_cls_token=False, out_type='raw'), 'no class token'),
    (dict(final_norm=False), 'lacks ln_post.weight, ln_post.bias'),
])
def test_vits_of_another_form_are_refused(changes, message, tmp_path):
    path = _saved(_plain_vit(**changes).state_dict(), tmp_path / 'vit.pth')
    with pytest.raises(ValueError, match=message):
        _plain(path)


def test_pre_norm_is_true_or_false_and_a_video_tower_has_it():
    with pytest.raises(ValueError, match='pre_norm=0: give True or False'):
        _plain(pre_norm=0)
    with pytest.raises(ValueError, match='a ViCLIP begins with a norm: use a '
                       'CLIPVisionEncoder'):
        ViCLIPVisionEncoder(PLAIN, 'gelu')


@pytest.fixture
def mmpretrain_clip(monkeypatch: pytest.MonkeyPatch) -> nn.Module:
    """mmpretrain's multimodal CLIP, which wants transformers to register."""
    # In the scope that an earlier test left, mmpretrain would build
    # MMAction2's parts of the same names.
    monkeypatch.setattr(DefaultScope, '_instance_dict', OrderedDict())
    import mmpretrain.models  # noqa: F401
    from mmpretrain.registry import MODELS, TOKENIZER
    for name in ('CLIP', 'CLIPZeroShot'):
        if 'dependency' in MODELS.get(name).__module__:  # a placeholder
            monkeypatch.delitem(MODELS.module_dict, name)
    from mmpretrain.models.multimodal.clip.clip import CLIPZeroShot

    class Words:

        def get_vocab(self) -> dict:
            return {}

    monkeypatch.setitem(TOKENIZER.module_dict, 'Words', Words)
    return tiny.randomize(CLIPZeroShot(
        vision_backbone=dict(
            type='mmpretrain.VisionTransformer',
            arch=dict(embed_dims=32, num_layers=2, num_heads=2,
                      feedforward_channels=128),
            img_size=32, patch_size=16, pre_norm=True,
            norm_cfg=dict(type='LN', eps=1e-5),
            layer_cfgs=dict(act_cfg=dict(type='mmpretrain.QuickGELU'))),
        projection=dict(type='mmpretrain.CLIPProjection', in_channels=32,
                        out_channels=24),
        text_backbone=dict(type='mmpretrain.CLIPTransformer', width=16,
                           layers=3, heads=2),
        tokenizer=dict(type='Words'), vocab_size=60, transformer_width=16,
        proj_dim=24, context_length=12, text_prototype=['a'])).eval()


def test_mmpretrain_clip(mmpretrain_clip, tmp_path):
    path = _saved(dict(state_dict=mmpretrain_clip.state_dict()),
                  tmp_path / 'clip.pth')
    images, tokens = tiny.frames(), tiny.padded_tokens()
    torch.testing.assert_close(
        tiny.image_features(tiny.vision(weights=path), images),
        mmpretrain_clip.extract_image_feat(images), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(
        tiny.text(weights=path)(tokens),
        mmpretrain_clip.extract_text_feat(tokens), atol=1e-5, rtol=1e-5)
    with pytest.raises(ValueError, match="mmpretrain's CLIP.* was trained "
                       "with 'quick_gelu'"):
        tiny.text(weights=path, act='gelu')


def _own_checkpoint(encoder: nn.Module, path: Path, act: str) -> str:
    """As mmengine saves a run: other modules, meta, message hub."""
    from mmengine.logging import HistoryBuffer
    state = {f'backbone.encoder.{k}': v
             for k, v in encoder.state_dict().items()}
    state['backbone.adapters.0.5.weight'] = torch.zeros(2)
    state['cls_head.fc_cls.weight'] = torch.zeros(5, 32)
    meta = dict(cfg=f"model = dict(encoder=dict(\n    act='{act}',\n))")
    hub = dict(log_scalars=dict(loss=HistoryBuffer([1.], [1])))
    return _saved(dict(state_dict=state, meta=meta, message_hub=hub), path)


def test_our_own_checkpoint(tmp_path):
    trained = tiny.randomize(tiny.vision(project=False))
    path = _own_checkpoint(trained, tmp_path / 'epoch_2.pth', 'quick_gelu')
    ours = tiny.vision(weights=path, project=False)
    for name, value in trained.state_dict().items():
        assert torch.equal(ours.state_dict()[name], value), name


def test_activation_in_our_own_checkpoint_is_checked(tmp_path):
    path = _own_checkpoint(tiny.vision(project=False), tmp_path / 'a.pth',
                           'gelu')
    with pytest.raises(ValueError, match="act='quick_gelu' but the config "
                       "inside the checkpoint was trained with 'gelu'"):
        tiny.vision(weights=path, project=False)


def test_bare_encoders_and_both_encoders_in_a_recognizer(tmp_path):
    image, text = tiny.randomize(tiny.vision()), tiny.randomize(tiny.text())
    for old, build in ((image, tiny.vision), (text, tiny.text)):
        path = _saved(old.state_dict(), tmp_path / 'bare.pth')
        both = {f'visual_part.{k}': v for k, v in image.state_dict().items()}
        both |= {f'a.b.{k}': v for k, v in text.state_dict().items()}
        whole = _saved(dict(state_dict=both), tmp_path / 'both.pth')
        for weights in (path, whole):
            new = build(weights=weights).state_dict()
            assert all(torch.equal(new[k], v)
                       for k, v in old.state_dict().items())


def test_several_image_towers_are_refused(tmp_path):
    state = tiny.vision().state_dict()
    state = {f'{p}.{k}': v for p in ('ema', 'net') for k, v in state.items()}
    path = _saved(state, tmp_path / 'two.pth')
    with pytest.raises(ValueError, match=r'several towers \(ema\., net\.\): '
                       'save the state dict of the one that you want'):
        tiny.vision(weights=path)


# -- configuration of the encoder ------------------------------------------


def test_parts_that_the_encoder_lacks_are_left_out_by_name(clip, tmp_path,
                                                           log):
    path = _saved(clip.state_dict(), tmp_path / 'a.pt')
    encoder = tiny.vision(weights=path, project=False, post_norm=False)
    assert torch.equal(encoder.ln_pre.weight, clip.visual.ln_pre.weight)
    assert 'left out ln_post.weight, ln_post.bias, proj' in log[0]


def test_report_names_file_layout_tensors_and_interpolation(clip, tmp_path,
                                                            log):
    path = _saved(clip.state_dict(), tmp_path / 'a.pt')
    tiny.vision(weights=path, arch=dict(tiny.VISION, image_size=64))
    assert re.fullmatch(
        rf'Loaded 32 tensors of the image tower from {re.escape(path)}: '
        'layout CLIP in the names of OpenAI and open_clip, stored as '
        r'float32, positions resized from 2x2 to 4x4 \(bicubic\), '
        'activation quick_gelu taken from the config .*', log[0])


@pytest.mark.parametrize('old, new', [(32, 80), (80, 48)])
def test_positions_are_resized_as_open_clip_does(tmp_path, old, new):
    from open_clip.model import resize_pos_embed
    clip = tiny.reference(image_size=old)
    path = _saved(clip.state_dict(), tmp_path / 'a.pt')
    other = tiny.reference(image_size=new)
    state = clip.state_dict()
    resize_pos_embed(state, other)
    other.load_state_dict(state)
    ours = tiny.vision(weights=path, arch=dict(tiny.VISION, image_size=new))
    images = tiny.frames(image_size=new)
    torch.testing.assert_close(tiny.image_features(ours, images),
                               other.encode_image(images), atol=1e-5,
                               rtol=1e-5)
    assert torch.equal(ours.positional_embedding[0],
                       clip.visual.positional_embedding[0])


def test_a_constant_position_table_stays_constant():
    table = torch.arange(3.).expand(10, 3)
    torch.testing.assert_close(resize_positions(table, 5),
                               torch.arange(3.).expand(26, 3))


def test_a_position_table_that_is_no_square_is_refused(clip, tmp_path):
    state = clip.state_dict()
    state['visual.positional_embedding'] = torch.zeros(7, 32)
    with pytest.raises(ValueError, match='7 positions, which are not a class '
                       'token and a square grid: use weights'):
        tiny.vision(weights=_saved(state, tmp_path / 'a.pt'))


def test_text_positions_are_cut_and_never_made_up(clip, tmp_path, log):
    path = _saved(clip.state_dict(), tmp_path / 'a.pt')
    short = tiny.text(weights=path, arch=dict(tiny.TEXT, context_length=6))
    assert torch.equal(short.positional_embedding,
                       clip.positional_embedding[:6])
    assert 'positions cut from 12 to 6 tokens' in log[0]
    torch.testing.assert_close(short(tiny.TOKENS),
                               clip.encode_text(tiny.padded_tokens()),
                               atol=1e-5, rtol=1e-5)
    with pytest.raises(ValueError, match='positions for 12 tokens, fewer '
                       'than context_length=20: set context_length to 12'):
        tiny.text(weights=path, arch=dict(tiny.TEXT, context_length=20))


# -- activation ------------------------------------------------------------


def test_torchscript_archive_must_run_quick_gelu(clip, tmp_path):
    path = str(tmp_path / 'ViT.pt')
    _traced(_OpenAI(clip)).save(path)
    with pytest.raises(ValueError, match="act='gelu' but the TorchScript "
                       r"archive .*ViT\.pt was trained with 'quick_gelu': "
                       "set act='quick_gelu' in the encoder"):
        tiny.vision(weights=path, act='gelu')


@pytest.mark.parametrize('config, act', [
    (dict(vision_config=dict(hidden_act='gelu'),
          text_config=dict(hidden_act='gelu')), 'gelu'),
    (dict(vision_config=dict(hidden_act='quick_gelu')), 'quick_gelu'),
    (dict(hidden_act='gelu'), 'gelu'),  # a CLIPVisionModel
    (dict(model_type='clip_vision_model'), 'quick_gelu'),  # the default
])
def test_hugging_face_config_beside_the_file_is_checked(clip, tmp_path,
                                                        config, act):
    path = _saved(tiny.to_hugging_face(clip.state_dict()),
                  tmp_path / 'pytorch_model.bin')
    (tmp_path / 'config.json').write_text(json.dumps(config))
    tiny.vision(weights=path, act=act)
    other = 'gelu' if act == 'quick_gelu' else 'quick_gelu'
    with pytest.raises(ValueError, match=f"act='{other}' but .*config.json "
                       f"was trained with '{act}': set act='{act}'"):
        tiny.vision(weights=path, act=other)


def test_hugging_face_config_with_an_odd_activation_is_refused(clip,
                                                               tmp_path):
    path = _saved(tiny.to_hugging_face(clip.state_dict()),
                  tmp_path / 'pytorch_model.bin')
    (tmp_path / 'config.json').write_text('{"hidden_act": "relu"}')
    with pytest.raises(ValueError, match="hidden_act='relu', which no CLIP "
                       'encoder here can run: use weights with'):
        tiny.vision(weights=path)


def test_open_clip_config_beside_the_file_is_checked(clip, tmp_path):
    path = _saved(clip.state_dict(), tmp_path / 'open_clip_model.bin')
    beside = tmp_path / 'open_clip_config.json'
    beside.write_text('{"model_cfg": {"quick_gelu": true}}')
    tiny.vision(weights=path)
    beside.write_text('{"model_cfg": {}}')
    with pytest.raises(ValueError, match='open_clip_config.json was trained '
                       "with 'gelu'"):
        tiny.vision(weights=path)
    beside.write_text('not json')
    with pytest.raises(ValueError, match='is not JSON .*mend or remove it'):
        tiny.vision(weights=path)


# -- tags ------------------------------------------------------------------


@pytest.fixture
def downloads(monkeypatch: pytest.MonkeyPatch, clip, tmp_path) -> list[dict]:
    """Answer downloads with a local file; collects what was asked for."""
    asked: list[dict] = []
    path = _saved(clip.state_dict(), tmp_path / 'downloaded.pt')

    def download(config: dict) -> str:
        asked.append(config)
        return path

    monkeypatch.setattr(pretrained, 'download_pretrained', download)
    return asked


#: ``ViT-B-32`` by name, so that its tags are known, at the tiny size.
_NAMED = dict(name='ViT-B-32', **tiny.VISION)
_NAMED_TEXT = dict(name='ViT-B-32', **tiny.TEXT)


def test_tag_is_downloaded_by_open_clip(clip, downloads, log):
    encoder = tiny.vision(arch=_NAMED, weights='openai')
    assert torch.equal(encoder.proj, clip.visual.proj)
    assert downloads[0] == pretrained.get_pretrained_cfg('ViT-B-32', 'openai')
    assert 'activation quick_gelu confirmed' in log[0]
    tiny.text(arch=_NAMED_TEXT, weights='openai')
    # open_clip takes either spelling of a tag.
    tiny.vision(arch=_NAMED, weights='laion2b-s34b-b79k', act='gelu')


@pytest.mark.parametrize('tag, act', [
    ('openai', 'quick_gelu'), ('metaclip_400m', 'quick_gelu'),
    ('laion2b_s34b_b79k', 'gelu'), ('datacomp_xl_s13b_b90k', 'gelu')])
def test_tag_and_activation_must_agree(downloads, tag, act):
    tiny.vision(arch=_NAMED, weights=tag, act=act)
    other = 'gelu' if act == 'quick_gelu' else 'quick_gelu'
    downloads.clear()
    for build, arch in ((tiny.vision, _NAMED), (tiny.text, _NAMED_TEXT)):
        with pytest.raises(ValueError, match=f"act='{other}' but the tag "
                           f"'{tag}' was trained with '{act}': set act="):
            build(arch=arch, weights=tag, act=other)
    assert not downloads, 'the mistake is in the config: no download'


def test_failed_download_names_tag_and_remedy(monkeypatch):
    def download(config: dict) -> str:
        raise OSError('Name or service not known')

    monkeypatch.setattr(pretrained, 'download_pretrained', download)
    with pytest.raises(FileNotFoundError, match=re.escape(
            "the weights 'openai' of ViT-B-32 cannot be downloaded (Name or "
            'service not known): connect to the network once, or copy the '
            "file here and give weights='path/to/file'")):
        tiny.vision(arch=_NAMED, weights='openai')


def test_only_one_process_of_a_machine_downloads_at_a_time(monkeypatch,
                                                           downloads):
    """The others wait, then find the file in open_clip's cache."""
    from mmvidadapt.models.clip import weights
    locks: list[Path] = []
    held = weights.file_lock

    def lock(path: Path) -> AbstractContextManager:
        locks.append(path)
        return held(path)

    def download(config: dict) -> str:
        with open(locks[-1]) as other, pytest.raises(BlockingIOError):
            fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return ordinary(config)

    ordinary = pretrained.download_pretrained
    monkeypatch.setattr(pretrained, 'download_pretrained', download)
    monkeypatch.setattr(weights, 'file_lock', lock)
    tiny.vision(arch=_NAMED, weights='openai')
    tiny.vision(arch=_NAMED, weights='metaclip_400m')
    assert len(downloads) == 2
    assert len(set(locks)) == 2, 'other weights are not waited for'


def test_unknown_tag_lists_valid_ones():
    with pytest.raises(ValueError, match="weights='openia' is neither a file "
                       'nor an open_clip tag of ViT-B-32: use one of openai, '
                       'laion400m_e31, .*'):
        tiny.vision(arch=_NAMED, weights='openia')
    with pytest.raises(ValueError, match='use a file .open_clip publishes'):
        tiny.vision(arch=dict(_NAMED, name='ViT-S-32'), weights='openai')
    with pytest.raises(ValueError, match='a tag needs the name of a model: '
                       "set arch='ViT-B-16'"):
        tiny.vision(weights='openai')


# -- bad files -------------------------------------------------------------


@pytest.mark.parametrize('name', ['gone.pt', 'no/such/file', '~/gone.bin'])
def test_missing_file(name):
    path = re.escape(os.path.expanduser(name))
    with pytest.raises(FileNotFoundError, match=f'weights file {path} does '
                       'not exist: correct the path, or use an open_clip'):
        tiny.vision(weights=name)


def test_home_is_expanded(clip, tmp_path, monkeypatch):
    monkeypatch.setenv('HOME', str(tmp_path))
    torch.save(clip.state_dict(), tmp_path / 'clip.pt')
    assert torch.equal(tiny.vision(weights='~/clip.pt').proj,
                       clip.visual.proj)


def test_folder_without_weights(tmp_path):
    with pytest.raises(FileNotFoundError, match='holds none of '
                       'model.safetensors, .*give the path'):
        tiny.vision(weights=str(tmp_path))


@pytest.mark.parametrize('weights', ['', 3, []])
def test_weights_that_name_nothing(weights):
    with pytest.raises(ValueError, match=f'weights={weights!r} names '
                       'nothing'.replace('[', r'\[').replace(']', r'\]')):
        tiny.vision(weights=weights)


@pytest.mark.parametrize('kind', ['pt', 'safetensors', 'torchscript'])
def test_truncated_file(clip, tmp_path, kind):
    path = tmp_path / f'a.{kind}'
    if kind == 'torchscript':
        _traced(_OpenAI(clip)).save(str(path))
    else:
        (save_file if kind == 'safetensors' else torch.save)(
            clip.state_dict(), path)
    path.write_bytes(path.read_bytes()[:-2000])
    with pytest.raises(CheckpointError, match=f'{path} is a? ?truncated or '
                       'damaged .*: download or copy it again'):
        tiny.vision(weights=str(path))


@pytest.mark.parametrize('name', ['a.pt', 'a.safetensors'])
def test_web_page_empty_file_and_pointer(tmp_path, name):
    path = tmp_path / name
    for content, message in (
            (b'<!DOCTYPE html><html></html>', 'is a web page, not a'),
            (b'\n <html>', 'is a web page, not a checkpoint: download'),
            (b'', 'is empty: download'),
            (b'version https://git-lfs.github.com/spec/v1\noid', 'LFS')):
        path.write_bytes(content)
        with pytest.raises(CheckpointError, match=message):
            tiny.vision(weights=str(path))


class _Foreign:

    def __reduce__(self) -> tuple:
        return os.mkdir, ('pwned', )


def test_pickle_with_foreign_globals(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for path, save in ((tmp_path / 'a.pt', torch.save),
                       (tmp_path / 'b.pt', lambda content, file: pickle.dump(
                           content, file.open('wb'), protocol=2))):
        save(dict(evil=_Foreign()), path)
        with pytest.raises(CheckpointError, match=r'refused because it asks '
                           r'for .*mkdir.*: load a file that holds tensors'):
            tiny.vision(weights=str(path))
    assert not (tmp_path / 'pwned').exists()


def test_other_models_are_refused(tmp_path):
    resnet = nn.Sequential()
    resnet.conv1, resnet.bn1 = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)
    path = _saved(resnet.state_dict(), tmp_path / 'resnet50.pth')
    with pytest.raises(ValueError, match=r'resnet50.pth holds another model, '
                       r'not a ViT CLIP in a known layout \(it begins with '
                       r'conv1.weight, conv1.bias, bn1.weight\): give'):
        tiny.vision(weights=path)


def test_clip_with_a_resnet_has_a_text_tower_only(clip, tmp_path):
    state = {k: v for k, v in clip.state_dict().items()
             if not k.startswith('visual.')}
    state['visual.conv1.weight'] = torch.zeros(8, 3, 3, 3)
    state['visual.layer1.0.conv1.weight'] = torch.zeros(8, 8, 1, 1)
    path = _saved(state, tmp_path / 'RN50.pt')
    with pytest.raises(ValueError, match='not a plain ViT .*: use weights'):
        tiny.vision(weights=path)
    tiny.text(weights=path)


@pytest.mark.parametrize('content', [[1, 2], {}, dict(epoch=3)])
def test_file_without_a_state_dict(tmp_path, content):
    path = _saved(content, tmp_path / 'a.pt')
    with pytest.raises(ValueError, match="no state dict, neither bare nor "
                       "under 'state_dict' or 'model': give"):
        tiny.vision(weights=path)


@pytest.mark.parametrize('change, message', [
    (dict(embed_dims=48), 'has embed_dims=32, mlp channels=128 but the '
     'encoder has embed_dims=48, mlp channels=192: set arch'),
    (dict(num_layers=3), 'has num_layers=2 but the encoder has num_layers=3'),
    (dict(patch_size=8), 'has patch_size=16 but .* patch_size=8'),
    (dict(output_dims=8), 'has output_dims=24 but .* output_dims=8'),
])
def test_other_sizes_name_found_and_expected(clip, tmp_path, change, message):
    path = _saved(clip.state_dict(), tmp_path / 'a.pt')
    with pytest.raises(ValueError, match=message):
        tiny.vision(weights=path, arch=dict(tiny.VISION, **change))


def test_other_vocabulary(clip, tmp_path):
    path = _saved(clip.state_dict(), tmp_path / 'a.pt')
    with pytest.raises(ValueError, match='vocab_size=60 but .*=61'):
        tiny.text(weights=path, arch=dict(tiny.TEXT, vocab_size=61))


def test_missing_and_unexpected_tensors_are_named(clip, tmp_path):
    block = 'visual.transformer.resblocks.0.'
    state = clip.state_dict()
    del state[block + 'ln_1.bias']
    with pytest.raises(ValueError, match='does not fit this encoder: it '
                       'lacks transformer.resblocks.0.ln_1.bias; give'):
        tiny.vision(weights=_saved(state, tmp_path / 'a.pt'))
    state = clip.state_dict()
    state[block + 'ls_1.gamma'] = torch.zeros(32)
    with pytest.raises(ValueError, match='also holds '
                       'transformer.resblocks.0.ls_1.gamma'):
        tiny.vision(weights=_saved(state, tmp_path / 'a.pt'))
    state = clip.state_dict()
    state['aesthetic_head.weight'] = torch.zeros(32)
    with pytest.raises(ValueError, match='also holds aesthetic_head.weight, '
                       'which no plain ViT CLIP has'):
        tiny.vision(weights=_saved(state, tmp_path / 'a.pt'))
    state = clip.state_dict()
    state[block + 'ln_1.bias'] = torch.zeros(5)
    with pytest.raises(ValueError, match='another shape of transformer'):
        tiny.vision(weights=_saved(state, tmp_path / 'a.pt'))


def test_a_projection_of_hugging_face_that_lacks_a_part(clip, tmp_path):
    state = tiny.to_hugging_face(clip.state_dict())
    del state['vision_model.encoder.layers.1.self_attn.k_proj.bias']
    with pytest.raises(ValueError, match='lacks transformer.resblocks.1.attn'
                       '.in_proj_bias'):
        tiny.vision(weights=_saved(state, tmp_path / 'a.pt'))


def test_weights_load_once_and_only_by_init_weights(clip, tmp_path):
    path = _saved(clip.state_dict(), tmp_path / 'a.pt')
    encoder = tiny.vision(weights=path)
    with torch.no_grad():
        encoder.proj.zero_()
    encoder.init_weights()
    assert not encoder.proj.any()
    from mmvidadapt.models.clip import CLIPVisionEncoder
    fresh = CLIPVisionEncoder(tiny.VISION, 'quick_gelu', weights='gone.pt')
    with pytest.raises(FileNotFoundError):
        fresh.init_weights()
