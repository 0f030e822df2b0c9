"""ViCLIP: the published numbers, its files, other sizes and frame counts."""

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from mmaction.registry import MODELS
from mmengine.config import Config
from mmengine.registry import DefaultScope
from open_clip import pretrained
from safetensors.torch import save_file
from torch import Tensor, nn

from mmvidadapt.models.clip import (
    CLIPTextEncoder,
    CLIPVisionEncoder,
    ViCLIPVisionEncoder,
    text_arch,
    vision_arch,
)
from mmvidadapt.models.clip.weights import (
    inflate,
    resize_frames,
    resize_positions,
)
from mmvidadapt.models.text.encode import tokenize, tokenize_truncating
from tests import tiny_clip as tiny
from tests.conftest import ROOT
from tests.viclip_golden import FRAMES, TEXT, VISION, load_golden

VIDEO = dict(type='ViCLIPVisionEncoder', arch=VISION, act='quick_gelu',
             project=True)


@pytest.fixture(scope='module')
def golden(goldens: Path) -> dict[str, Any]:
    """Numbers of the released program at toy size."""
    return load_golden(goldens)


@pytest.fixture
def source(golden: dict, tmp_path: Path) -> str:
    """The toy model in a file as it was published."""
    return saved(dict(model=golden['state_dict']), tmp_path / 'ViCLIP.pth')


def saved(content: object, path: Path) -> str:
    torch.save(content, path)
    return str(path)


def video(weights: str | None = None, **changes) -> ViCLIPVisionEncoder:
    """Our video tower at toy size, loaded if there are weights."""
    encoder = ViCLIPVisionEncoder(**{
        **dict(arch=VISION, act='quick_gelu', weights=weights, project=True,
               num_frames=FRAMES), **changes})
    encoder.init_weights()
    return encoder.eval()


def text(weights: str | None = None, **changes) -> CLIPTextEncoder:
    encoder = CLIPTextEncoder(**{
        **dict(arch=TEXT, act='quick_gelu', weights=weights), **changes})
    encoder.init_weights()
    return encoder.eval()


@torch.no_grad()
def encode(encoder: ViCLIPVisionEncoder, clips: Tensor) -> Tensor:
    """Features of clips ``(B, 3, T, H, W)``."""
    out = encoder(clips.transpose(1, 2).flatten(0, 1), clips.shape[2])
    return encoder.class_features(out.tokens, out.layout)[:, 0]


def close(found: Tensor, wanted: Tensor, atol: float = 1e-5) -> None:
    torch.testing.assert_close(found, wanted, atol=atol, rtol=0)


# -- the published numbers -------------------------------------------------


def test_outputs_are_those_of_the_released_program(golden, source):
    wanted, inputs = golden['outputs'], golden['inputs']
    vision, texts = video(source), text(source)
    features = encode(vision, inputs['video'])
    close(features, wanted['vision_embeds'])
    close(encode(vision, inputs['video_single_frame']),
          wanted['vision_embeds_single_frame'])
    with torch.no_grad():
        classes = texts(inputs['text_tokens'])
    close(classes, wanted['text_embeds'])
    sims = F.normalize(features, dim=-1) @ F.normalize(classes, dim=-1).T
    close(sims, wanted['sims'])
    temp = golden['state_dict']['temp']
    close(sims / temp, wanted['logits'], atol=1e-5 / float(temp))


@torch.no_grad()
def test_every_step_is_that_of_the_released_program(golden, source):
    wanted, seen = golden['intermediates'], {}
    vision, texts = video(source), text(source)

    def see(module: nn.Module, name: str) -> None:
        module.register_forward_hook(lambda m, a, out: seen.update(
            {name: out[0] if isinstance(out, tuple) else out}))

    see(vision.conv1, 'vision.conv1')
    see(vision.ln_pre, 'vision.ln_pre')
    for tower, encoder in (('vision', vision), ('text', texts)):
        for i, block in enumerate(encoder.transformer.resblocks):
            see(block, f'{tower}.block{i}')
    first = vision.transformer.resblocks[0]
    for part in ('ln_1', 'attn', 'mlp'):
        see(getattr(first, part), f'vision.block0.{part}')
    clips = golden['inputs']['video']
    frames = clips.transpose(1, 2).flatten(0, 1)
    out = vision(frames, FRAMES)
    seen['vision.tokens_before_ln_pre'] = vision.embed(frames, FRAMES)[0]
    seen['vision.ln_post'] = vision.ln_post(out.tokens)
    seen['vision.conv1'] = seen['vision.conv1'].unflatten(
        0, (-1, FRAMES)).transpose(1, 2)
    tokens = golden['inputs']['text_tokens']
    texts(tokens)
    seen['text.ln_final'] = texts.ln_final(seen['text.block2'])
    assert set(seen) == set(wanted)
    for name, value in wanted.items():
        if '.block' in name or name == 'vision.ln_post':
            value = value.transpose(0, 1)  # theirs: (1+N*T, B, D)
        if name.startswith('text.'):  # padding after the end is not computed
            value = value[:, :int(tokens.argmax(1).max()) + 1]
        close(seen[name], value, atol=1e-4)


def test_layout_is_joint_with_one_class_token(golden, source):
    clips = golden['inputs']['video']
    vision = video(source)
    out = vision(clips.transpose(1, 2).flatten(0, 1), FRAMES)
    layout = out.layout
    assert (layout.kind, layout.num_frames, layout.grid_size) == (
        'joint', FRAMES, (3, 3))
    assert out.tokens.shape == (2, 1 + 9 * FRAMES, 64)
    assert layout.split_patches(out.tokens).shape == (2, 9, FRAMES, 64)
    assert vision.class_features(out.tokens, layout).shape == (2, 1, 32)


@pytest.mark.parametrize('name, vision, texts', [
    ('ViCLIP-B-16', 86_198_784, 63_405_056), ('ViCLIP-L-14', None, None)])
def test_sizes_of_the_released_models(name, vision, texts):
    with torch.device('meta'):
        image = ViCLIPVisionEncoder(name, 'quick_gelu', project=True)
        words = CLIPTextEncoder(name, 'quick_gelu')
    assert image.temporal_positional_embedding.shape[1] == 8
    assert words.arch.context_length == 32
    if vision:
        assert sum(p.numel() for p in image.parameters()) == vision
        assert sum(p.numel() for p in words.parameters()) == texts
    arch = vision_arch('ViCLIP-L-14')
    assert (arch.embed_dims, arch.num_layers, arch.num_heads, arch.patch_size,
            arch.output_dims) == (1024, 24, 16, 14, 768)
    arch = text_arch('ViCLIP-L-14')
    assert (arch.embed_dims, arch.num_layers, arch.num_heads,
            arch.output_dims) == (768, 12, 12, 768)


# -- files -----------------------------------------------------------------


@pytest.mark.parametrize('prefix', [
    '', 'module.', 'model.', 'module.model.', 'model.module.'])
@pytest.mark.parametrize('key', ['model', None])
def test_prefixes_of_wrappers_are_taken_off(golden, tmp_path, prefix, key):
    state = {prefix + k: v for k, v in golden['state_dict'].items()}
    path = saved({key: state} if key else state, tmp_path / 'a.pth')
    found, words = video(path).state_dict(), text(path).state_dict()
    assert len(found) + len(words) + 1 == len(state)
    for tower, own in (('vision', found), ('text', words)):
        for name, value in own.items():
            assert torch.equal(
                value, golden['state_dict'][f'{tower}_encoder.{name}']), name


def test_hub_folder_in_safetensors(golden, tmp_path, log):
    state = {f'model.{k}': v for k, v in golden['state_dict'].items()}
    save_file(state, tmp_path / 'model.safetensors')
    encoder = video(str(tmp_path))
    assert torch.equal(encoder.proj, state['model.vision_encoder.proj'])
    assert log[0].startswith('Loaded 45 tensors of the image tower from')
    assert 'layout ViCLIP, stored as float32, activation quick_gelu' in log[0]


def test_whole_checkpoint_of_ours_is_a_source(source, tmp_path):
    encoder = video(source)
    state = {f'backbone.encoder.{k}': v
             for k, v in encoder.state_dict().items()}
    state['adapter.3.up.weight'] = torch.zeros(3)
    again = video(saved(dict(state_dict=state), tmp_path / 'epoch_1.pth'))
    for name, value in encoder.state_dict().items():
        assert torch.equal(again.state_dict()[name], value), name


@pytest.mark.parametrize('change, message', [
    (dict(lacks='proj'), 'does not fit this encoder: it lacks proj; give'),
    (dict(lacks='temporal_positional_embedding'),
     'it lacks temporal_positional_embedding; give'),
    (dict(adds='vision_encoder.mask_token'), 'it also holds mask_token; give'),
    (dict(adds='itm_head.weight'), 'looks like ViCLIP but also holds itm_hea'),
])
def test_files_that_are_not_whole_are_refused(golden, tmp_path, change,
                                              message):
    state = dict(golden['state_dict'])
    if 'lacks' in change:
        del state[f'vision_encoder.{change["lacks"]}']
    else:
        state[change['adds']] = torch.zeros(3)
    with pytest.raises(ValueError, match=message):
        video(saved(state, tmp_path / 'a.pth'))


def test_wrong_encoders_are_refused(source):
    with pytest.raises(ValueError, match="holds a video tower, with a temporal"
                       " embedding, .* set type='ViCLIPVisionEncoder'"):
        tiny.vision(weights=source, arch=VISION)
    with pytest.raises(ValueError, match="act='gelu' but .*ViCLIP.* was "
                       "trained with 'quick_gelu'"):
        video(source, act='gelu')
    with pytest.raises(ValueError, match='has tubelet_size=1 but the encoder '
                       'has tubelet_size=2'):
        video(source, tubelet_size=2)
    with pytest.raises(ValueError, match='positions for 32 tokens, fewer than '
                       'context_length=77'):
        text(source, arch=dict(TEXT, context_length=77))


def test_foreign_pickles_are_not_run(tmp_path):
    with pytest.raises(RuntimeError, match='refused because it asks for'):
        video(saved(dict(model=nn.Linear(1, 1)), tmp_path / 'a.pth'))


# -- weights of another shape ----------------------------------------------


def test_loading_does_what_the_official_loader_does(golden):
    facts = golden['loading']
    assert torch.equal(inflate(facts['conv1_2d'], 3),
                       facts['conv1_inflated_t3'])
    close(resize_positions(facts['positional_embedding'], facts['grid_out'],
                           antialias=False),
          facts['positional_embedding_resized'])
    table = golden['state_dict'][
        'vision_encoder.temporal_positional_embedding']
    assert torch.equal(
        resize_frames(table, facts['temporal_truncated_to'], 'zeros'),
        facts['temporal_truncated'])
    assert torch.equal(
        resize_frames(table, facts['temporal_zero_padded_to'], 'zeros'),
        facts['temporal_zero_padded'])


def test_positions_are_resized_when_loaded(golden, source, log):
    facts = golden['loading']
    encoder = video(source, arch=dict(VISION, image_size=80))
    close(encoder.positional_embedding.data,
          resize_positions(
              golden['state_dict']['vision_encoder.positional_embedding'],
              facts['grid_out'], antialias=False))
    assert 'positions resized from 3x3 to 5x5 (bicubic)' in log[0]


@pytest.mark.parametrize('how', ['linear', 'zeros'])
def test_temporal_embedding_is_resized_when_loaded(golden, source, how, log):
    table = golden['state_dict'][
        'vision_encoder.temporal_positional_embedding']
    more = video(source, num_frames=6, temporal_resize=how)
    rows = more.temporal_positional_embedding.data
    assert 'temporal embedding resized from 4 to 6 frames' in log[0]
    if how == 'zeros':
        assert torch.equal(rows, F.pad(table, (0, 0, 0, 2)))
    else:  # frames lie at the middles of their parts of the clip
        close(rows[:, 1], 0.5 * (table[:, 0] + table[:, 1]))
        close(rows[:, :1], table[:, :1])
    fewer = video(source, num_frames=2, temporal_resize=how)
    assert torch.equal(fewer.temporal_positional_embedding, table[:, :2])
    one = video(source, num_frames=1, temporal_resize=how)
    close(encode(one, golden['inputs']['video_single_frame']),
          golden['outputs']['vision_embeds_single_frame'])


def test_temporal_embedding_that_must_not_be_resized(source):
    with pytest.raises(ValueError, match='has a temporal embedding of 4 '
                       'frames, and the encoder of 6: sample 4 frames, or set '
                       "temporal_resize='linear'"):
        video(source, num_frames=6, temporal_resize=None)


def clip_of_images(tmp_path: Path) -> tuple[nn.Module, str]:
    """open_clip's image model of toy size, and its file."""
    clip = tiny.reference()
    return clip, saved(clip.state_dict(), tmp_path / 'clip.pt')


def test_weights_of_clip_are_inflated(tmp_path, log):
    clip, path = clip_of_images(tmp_path)
    encoder = video(path, arch=tiny.VISION, tubelet_size=FRAMES)
    assert ('patch kernel inflated to 4 frames, temporal embedding zero'
            in log[0])
    # With a single tubelet, it is CLIP on its middle frame.
    frames = tiny.frames(FRAMES)
    with torch.no_grad():
        wanted = clip.encode_image(frames[2:3])
    close(encode(encoder, frames.transpose(0, 1)[None]), wanted)
    # Released sizes have tubelets of one frame: CLIP on a single frame.
    encoder = video(path, arch=tiny.VISION)
    assert not encoder.temporal_positional_embedding.any()
    close(encode(encoder, frames[2:3, :, None]), wanted)


def test_tags_are_those_of_the_clip_of_the_same_sizes(tmp_path, monkeypatch):
    clip, path = clip_of_images(tmp_path)
    asked = []
    monkeypatch.setattr(pretrained, 'download_pretrained',
                        lambda config: asked.append(config) or path)
    encoder = video('openai', arch=dict(name='ViCLIP-B-16', **tiny.VISION))
    assert torch.equal(encoder.proj, clip.visual.proj)
    assert asked == [pretrained.get_pretrained_cfg('ViT-B-16', 'openai')]
    with pytest.raises(ValueError, match="'internvid' is neither a file nor "
                       'an open_clip tag of ViT-B-16: use one of openai, '):
        video('internvid', arch='ViCLIP-B-16')


# -- frame counts ----------------------------------------------------------


def clips(frames: int, batch: int = 2) -> Tensor:
    generator = torch.Generator().manual_seed(3)
    return torch.randn(batch, 3, frames, 48, 48, generator=generator)


def drawn(**changes) -> ViCLIPVisionEncoder:
    return tiny.randomize(video(**changes))


@pytest.mark.parametrize('how', ['linear', 'zeros'])
@pytest.mark.parametrize('frames', [1, 2, 6])
def test_other_frame_counts_in_eval_mode(frames, how):
    """As an encoder of that size with the resized embedding."""
    encoder = drawn(temporal_resize=how)
    other = video(num_frames=frames)
    state = encoder.state_dict()
    name = 'temporal_positional_embedding'
    state[name] = resize_frames(state[name], frames, how)
    other.load_state_dict(state)
    assert torch.equal(encode(encoder, clips(frames)),
                       encode(other, clips(frames)))


def test_frame_counts_that_cannot_be_served():
    encoder = drawn(temporal_resize=None)
    for frames in (1, FRAMES):
        encode(encoder, clips(frames))
    with pytest.raises(ValueError, match='^clips of 6 frames have no positions'
                       ' in a temporal embedding of 4 frames: sample as many, '
                       "or set temporal_resize='linear'$"):
        encode(encoder, clips(6))
    with pytest.raises(ValueError, match='clips of 6 frames have no positions '
                       '.*: sample as many, or set num_frames=6$'):
        encode(drawn().train(), clips(6))
    with pytest.raises(ValueError, match='clips of 3 frames cannot be cut into'
                       ' tubelets of 2: sample a multiple of it'):
        encode(drawn(tubelet_size=2), clips(3))


def test_order_of_frames_counts_by_the_temporal_embedding_alone():
    encoder, batch = drawn(), clips(FRAMES)
    with torch.no_grad():
        encoder.temporal_positional_embedding.normal_(std=5)
    assert not torch.allclose(encode(encoder, batch),
                              encode(encoder, batch.flip(2)), atol=1e-3)
    with torch.no_grad():
        encoder.temporal_positional_embedding.zero_()
    close(encode(encoder, batch), encode(encoder, batch.flip(2)))


def test_tubelets_are_those_of_a_3d_convolution():
    encoder, batch = drawn(tubelet_size=2), clips(FRAMES)
    found = encoder.conv1(batch.transpose(1, 2).flatten(0, 1))
    wanted = F.conv3d(batch, encoder.conv1.weight, stride=(2, 16, 16))
    close(found.unflatten(0, (2, 2)).transpose(1, 2), wanted, atol=1e-4)
    out = encoder(batch.transpose(1, 2).flatten(0, 1), FRAMES)
    assert out.layout.num_frames == 2
    assert out.tokens.shape == (2, 1 + 9 * 2, 64)


@pytest.mark.parametrize('options, message', [
    (dict(num_frames=5, tubelet_size=2), 'num_frames=5 is no positive '
     'multiple of tubelet_size=2: change'),
    (dict(num_frames=0), 'num_frames=0 is no positive multiple'),
    (dict(temporal_resize='cubic'), "unknown temporal_resize='cubic': use one "
     "of 'linear', 'zeros', None"),
    (dict(arch='ViCLIP-H-14'), "knows no model 'ViCLIP-H-14': .* or use "
     'ViCLIP-B-16 or ViCLIP-L-14')])
def test_wrong_options(options, message):
    with pytest.raises(ValueError, match=message):
        video(**options)


# -- tokens ----------------------------------------------------------------


@pytest.mark.parametrize('arch, name', [
    ('ViCLIP-B-16', 'tokens'), ('ViT-B-16', 'tokens_77')])
def test_tokens_are_those_of_the_official_tokenizer(golden, arch, name):
    facts = golden['tokenizer']
    tokens, cut = tokenize_truncating(facts['texts'], text_arch(arch))
    assert torch.equal(tokens, facts[name])
    long = arch == 'ViCLIP-B-16'  # the sixth text has 40 tokens
    assert cut.tolist() == [False] * 5 + [long, False]
    whole = [t for t, is_cut in zip(facts['texts'], cut) if not is_cut]
    assert torch.equal(tokenize(whole, text_arch(arch)), tokens[~cut])
    if long:
        with pytest.raises(ValueError, match='has 4. tokens and the text '
                           'tower reads 32: shorten'):
            tokenize(facts['texts'], text_arch(arch))


# -- in a backbone ---------------------------------------------------------


def backbone(*adapters: dict, frozen: bool = True, **changes) -> nn.Module:
    model = MODELS.build(dict(
        type='CLIPViT', encoder=dict(VIDEO, frozen=frozen),
        num_frames=FRAMES, adapters=list(adapters), **changes))
    return tiny.randomize(model)


def test_backbone_gives_one_feature_for_each_clip(golden, source):
    model = MODELS.build(dict(
        type='CLIPViT', encoder=dict(VIDEO, weights=source, frozen=True),
        num_frames=FRAMES))
    model.init_weights()
    features = model(golden['inputs']['video'])
    assert features.shape == (2, 1, 32)
    close(features[:, 0], golden['outputs']['vision_embeds'])
    neck = MODELS.build(dict(type='MoTE', embed_dims=32, num_layers=1,
                             num_experts=2, num_heads=2))
    with pytest.raises(ValueError, match='one vector for each clip: use an '
                       'encoder that returns a feature for each frame'):
        neck(features)


LORA = dict(type='LoRA', layers=[1, 2], rank=2)
ADAPTFORMER = dict(type='AdaptFormer', layers=[1, 2], bottleneck_dims=4,
                   dropout=0.)


def test_adapters_train_on_joint_tokens():
    model, plain = backbone(LORA, ADAPTFORMER), backbone()
    plain.encoder.load_state_dict(model.encoder.state_dict())
    out = model(clips(FRAMES))
    assert out.shape == (2, 1, 32)
    assert not torch.allclose(out, plain(clips(FRAMES)), atol=1e-3)
    out.square().mean().backward()
    for name, parameter in model.named_parameters():
        moves = parameter.grad is not None and bool(parameter.grad.any())
        assert moves == name.startswith('adapters.'), name


def test_adapters_train_on_text(golden, source):
    from mmvidadapt.models.adapters import AdapterStack
    texts = text(source, frozen=True)
    stack = AdapterStack([LORA, ADAPTFORMER], 48, 4, 3, 1, (1, 1), 'text')
    tokens = golden['inputs']['text_tokens']
    close(texts(tokens, [stack]), texts(tokens))  # both start from nothing
    tiny.randomize(stack)
    texts(tokens, [stack]).square().mean().backward()
    assert all(p.grad.any() for p in stack.parameters())
    assert all(p.grad is None for p in texts.parameters())


@pytest.mark.parametrize('name', ['InTI', 'LocalMHRA', 'GlobalUniBlock'])
def test_adapters_of_frames_are_refused(name):
    with pytest.raises(ValueError, match=f'{name} works on framewise tokens, '
                       'not on a joint encoder: use AdaptFormer or LoRA or '
                       'MSTAVideo, or another encoder'):
        backbone(dict(type=name, layers=[1]))


def test_adapters_learn_the_frames_that_tubelets_leave():
    model = MODELS.build(dict(
        type='CLIPViT', encoder=dict(VIDEO, tubelet_size=2),
        num_frames=FRAMES, adapters=[LORA]))
    assert model.adapters.num_frames == [2] * 4
    assert model(clips(FRAMES)).shape == (2, 1, 32)


def test_frames_of_the_encoder_are_told_by_the_backbone():
    with pytest.raises(ValueError, match='num_frames=8 in encoder is told by '
                       'the backbone: set num_frames of CLIPViT, and remove'):
        MODELS.build(dict(type='CLIPViT', num_frames=4,
                          encoder=dict(VIDEO, num_frames=8)))


def test_every_parameter_trains_and_recomputing_changes_nothing():
    model = backbone(frozen=False)
    again = MODELS.build(dict(
        type='CLIPViT', num_frames=FRAMES, encoder=dict(VIDEO, with_cp=True)))
    again.load_state_dict(model.state_dict())
    outs = [m.train()(clips(FRAMES)) for m in (model, again)]
    assert torch.equal(*outs)
    for out in outs:
        out.square().mean().backward()
    for (name, a), b in zip(model.named_parameters(), again.parameters()):
        assert a.grad is not None and a.grad.any(), name
        torch.testing.assert_close(a.grad, b.grad)


def test_compiled_blocks_answer_alike(compiler):
    plain = backbone(LORA)
    compiled = backbone(LORA, compile=dict(backend='eager'))
    compiled.load_state_dict(plain.state_dict())
    torch.testing.assert_close(compiled(clips(FRAMES)), plain(clips(FRAMES)))
    torch._dynamo.reset()


def test_autocast_keeps_the_residual_stream_in_float32():
    encoder, seen = drawn(), []
    for block in encoder.transformer.resblocks:
        block.register_forward_hook(
            lambda m, a, out: seen.append(out[0].dtype))
    exact = encode(encoder, clips(FRAMES))
    seen.clear()
    with torch.autocast('cpu', torch.bfloat16):
        rough = encode(encoder, clips(FRAMES))
    assert seen == [torch.float32] * 3
    assert 0 < (rough - exact).norm() / exact.norm() < 0.05


@pytest.mark.parametrize('name, vision, joint', [
    ('viclip_b16', 86_198_784, 512), ('viclip_l14', 303_974_400, 768)])
def test_base_configs(name, vision, joint, monkeypatch):
    path = ROOT / 'configs' / '_base_' / 'models' / f'{name}.py'
    size = name[-3].upper() + '-' + name[-2:]
    assert Config.fromfile(path).model.cls_head.text.weights == (
        f'checkpoints/ViCLIP-{size}.pth')
    monkeypatch.setenv('VICLIP', 'some/file.pth')
    cfg = Config.fromfile(path)
    with DefaultScope.overwrite_default_scope('mmaction'), \
            torch.device('meta'):
        model = MODELS.build(cfg.model)
    encoder = model.backbone.encoder
    assert encoder.weights == model.cls_head.text['weights'] == 'some/file.pth'
    assert sum(p.numel() for p in encoder.parameters()) == vision
    assert model.cls_head.class_features.shape == (400, joint)
    assert not any(p.requires_grad for p in model.parameters())
    assert cfg.model.data_preprocessor.mean == [123.675, 116.28, 103.53]
    assert cfg.model.data_preprocessor.std == [58.395, 57.12, 57.375]


def test_attention_is_the_fused_kernel(monkeypatch):
    seen = []
    fused = F.scaled_dot_product_attention
    monkeypatch.setattr(
        F, 'scaled_dot_product_attention',
        lambda q, *a, **k: seen.append(tuple(q.shape)) or fused(q, *a, **k))
    backbone()(clips(FRAMES))
    assert seen == [(2, 4, 1 + 9 * FRAMES, 16)] * 3


def test_checkpoints_leave_out_what_the_source_can_restore(source):
    encoder = video(source, frozen=True)
    assert list(encoder.state_dict()) == ['fingerprint']
    again = ViCLIPVisionEncoder(VISION, 'quick_gelu', source, project=True,
                                num_frames=FRAMES, frozen=True)
    again.load_state_dict(encoder.state_dict(), strict=True)
    for a, b in zip(encoder.parameters(), again.parameters()):
        assert torch.equal(a, b)
    # Copies are restored, what was computed is kept.
    fewer = video(source, num_frames=2, frozen=True)
    assert list(fewer.state_dict()) == ['fingerprint']
    more = video(source, num_frames=6, frozen=True)
    assert set(more.state_dict()) == {
        'fingerprint', 'temporal_positional_embedding'}


def test_single_frames_of_clip_stay_as_they_are():
    """The plain image tower still reads frame by frame."""
    encoder = CLIPVisionEncoder(tiny.VISION, 'quick_gelu')
    out = encoder(tiny.frames(4), 2)
    assert out.layout.kind == 'framewise'
    assert encoder.class_features(out.tokens, out.layout).shape == (2, 2, 32)
