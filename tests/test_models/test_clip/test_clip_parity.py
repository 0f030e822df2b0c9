"""Our encoders compute what open_clip's do, at the sizes people use."""

import open_clip
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from mmvidadapt.models.clip import (
    CLIPTextEncoder,
    CLIPVisionEncoder,
    text_arch,
    vision_arch,
)
from mmvidadapt.models.clip.arch import open_clip_config
from tests import tiny_clip as tiny


def _on_meta(build: type, *args, **kwargs) -> nn.Module:
    with torch.device('meta'):
        return build(*args, **kwargs).eval()


def _reference(name: str, quick_gelu: bool) -> nn.Module:
    """open_clip's model with random weights, drawn once and repeated.

    To draw every weight of ViT-L-14 would take longer than to run it.
    """
    config = open_clip_config(name)
    model = _on_meta(open_clip.CLIP, config['embed_dim'],
                     config['vision_cfg'], config['text_cfg'],
                     quick_gelu=quick_gelu)
    length = model.context_length
    model.to_empty(device='cpu')
    noise = torch.randn(1_000_003)  # a prime: rows do not repeat
    with torch.no_grad():
        for key, param in model.named_parameters():
            repeats = -(-param.numel() // len(noise))
            values = noise.repeat(repeats)[:param.numel()].view(param.shape)
            param.copy_(values * 0.04)
            if 'ln_' in key and key.endswith('weight'):
                param.add_(1)
        model.attn_mask = torch.full((length, length), -torch.inf).triu_(1)
    return model


def _ours(build: type, name: str, act: str, state: dict,
          **kwargs) -> nn.Module:
    """An encoder on the memory of open_clip's weights."""
    encoder = _on_meta(build, name, act, **kwargs)
    encoder.load_state_dict(state, assign=True)
    return encoder


def _tokens(length: int) -> torch.Tensor:
    """A short text and one that fills the context."""
    tokens = torch.zeros(2, length, dtype=torch.long)
    tokens[0, :5] = torch.tensor([49406, 320, 1125, 539, 49407])
    tokens[1] = torch.arange(1000, 1000 + length)
    tokens[1, 0], tokens[1, -1] = 49406, 49407
    return tokens


@pytest.mark.parametrize('name, act', [
    ('ViT-B-32', 'quick_gelu'), ('ViT-B-32', 'gelu'),
    ('ViT-B-16', 'quick_gelu'), ('ViT-B-16', 'gelu'),
    ('ViT-L-14', 'quick_gelu'),
    pytest.param('ViT-L-14', 'gelu', marks=pytest.mark.slow)])
@torch.no_grad()
def test_matches_open_clip(name, act):
    reference = _reference(name, act == 'quick_gelu')
    state = reference.state_dict()
    images = torch.randn(1, 3, 224, 224)
    image = _ours(CLIPVisionEncoder, name, act, {
        key.removeprefix('visual.'): value for key, value in state.items()
        if key.startswith('visual.')}, project=True)
    text = _ours(CLIPTextEncoder, name, act, {
        key: value for key, value in state.items()
        if not key.startswith('visual.') and key != 'logit_scale'})
    tokens = _tokens(reference.context_length)
    for ours, theirs in (
            (tiny.image_features(image, images),
             reference.encode_image(images)),
            (text(tokens), reference.encode_text(tokens))):
        assert ours.dtype == torch.float32
        difference = F.normalize(ours, dim=-1) - F.normalize(theirs, dim=-1)
        assert difference.abs().max() < 1e-4


@torch.no_grad()
def test_the_other_activation_would_be_noticed():
    reference, images = tiny.reference(quick_gelu=True), tiny.frames()
    wrong = tiny.vision(act='gelu')
    wrong.load_state_dict(reference.visual.state_dict())
    difference = (F.normalize(tiny.image_features(wrong, images), dim=-1)
                  - F.normalize(reference.encode_image(images), dim=-1))
    assert difference.abs().max() > 1e-3


def _plain_names() -> list[str]:
    names = []
    for name in open_clip.list_models():
        try:
            vision_arch(name)
        except ValueError:
            continue
        names.append(name)
    return names


def test_every_plain_vit_of_open_clip_is_known():
    names = _plain_names()
    assert {'ViT-B-32', 'ViT-B-16', 'ViT-L-14', 'ViT-L-14-336', 'ViT-H-14',
            'ViT-g-14', 'ViT-bigG-14', 'ViT-B-16-plus-240', 'ViT-S-32-alt',
            'ViT-B-32-quickgelu'} <= set(names)
    assert len(names) >= 25


def test_shapes_of_every_plain_vit_are_open_clips():
    for name in _plain_names():
        config = open_clip.get_model_config(name)
        # Depth is compared as a number, the shapes on one block.
        for tower, arch in (('vision_cfg', vision_arch(name)),
                            ('text_cfg', text_arch(name))):
            assert config[tower].pop('layers') == arch.num_layers, name
            config[tower]['layers'] = 1
        theirs = {key: value.shape for key, value in _on_meta(
            open_clip.CLIP, config['embed_dim'], config['vision_cfg'],
            config['text_cfg']).state_dict().items() if key != 'logit_scale'}
        one_block = dict(name=name, num_layers=1)
        ours = {f'visual.{key}': value.shape for key, value in _on_meta(
            CLIPVisionEncoder, one_block, 'gelu',
            project=True).state_dict().items()}
        ours |= {key: value.shape for key, value in _on_meta(
            CLIPTextEncoder, one_block, 'gelu').state_dict().items()}
        assert ours == theirs, name


@pytest.mark.parametrize('name, heads', [
    ('ViT-B-32', 12), ('ViT-L-14', 16), ('ViT-H-14', 16), ('ViT-g-14', 16),
    ('ViT-bigG-14', 16), ('ViT-S-16', 6)])
def test_heads_which_no_shape_shows(name, heads):
    config = open_clip.get_model_config(name)
    for tower in ('vision_cfg', 'text_cfg'):
        config[tower]['layers'] = 1
    model = _on_meta(open_clip.CLIP, config['embed_dim'],
                     config['vision_cfg'], config['text_cfg'])
    image, text = (part.transformer.resblocks[0].attn.num_heads
                   for part in (model.visual, model))
    assert vision_arch(name).num_heads == image == heads
    assert text_arch(name).num_heads == text


@pytest.mark.parametrize('name, reason', [
    ('RN50', 'a convolutional image tower'),
    ('convnext_base', 'timm_model_name'),
    ('coca_ViT-B-32', 'embed_cls'),
    ('ViT-B-16-SigLIP', 'timm_model_name'),
    ('EVA02-B-16', 'timm_model_name'),
    ('ViT-H-14-CLIPA', 'no_ln_pre'),
    ('ViT-M-16-alt', 'ls_init_value'),
    ('roberta-ViT-B-32', 'hf_model_name')])
def test_other_models_are_refused_with_the_reason(name, reason):
    for arch in (vision_arch, text_arch):
        with pytest.raises(ValueError, match=rf'{name} is not a plain ViT '
                           rf'CLIP \(.*{reason}.*\): use one such as'):
            arch(name)


@pytest.mark.parametrize('name', ['ViT-B16', None, 3])
def test_unknown_name(name):
    with pytest.raises(ValueError, match=f'open_clip knows no model {name!r}:'
                       r' see open_clip.list_models\(\)'):
        vision_arch(name)


def test_sizes_by_hand_and_on_top_of_a_name():
    assert vision_arch(dict(tiny.VISION)).grid_size == (2, 2)
    arch = vision_arch(dict(name='ViT-B-16', image_size=384))
    assert (arch.grid_size, arch.embed_dims) == ((24, 24), 768)
    assert text_arch(dict(name='ViT-B-16', context_length=20)) \
        .context_length == 20
    assert vision_arch(arch) is arch


@pytest.mark.parametrize('change, message', [
    (dict(width=3), "unknown size 'width' in arch: use embed_dims, "),
    (dict(embed_dims=33), 'embed_dims=33 is not divisible by num_heads=2: '),
    (dict(image_size=40), 'image_size=40 is not divisible by patch_size=16'),
    (dict(num_layers=0), 'arch has num_layers=0: give a positive number'),
    (dict(num_layers='2'), "arch has num_layers='2': give a positive")])
def test_wrong_sizes(change, message):
    with pytest.raises(ValueError, match=message):
        vision_arch(dict(tiny.VISION, **change))


def test_missing_size():
    with pytest.raises(ValueError, match='lacks num_layers, num_heads: give '
                       'them, or an open_clip name'):
        text_arch(dict(embed_dims=16, output_dims=8))
