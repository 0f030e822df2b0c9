"""The two encoders: layouts, freezing, memory, precision, bad input."""

import copy

import pytest
import torch
from torch import nn

from mmvidadapt.models.clip import (
    CLIPTextEncoder,
    CLIPVisionEncoder,
    TokenLayout,
)
from mmvidadapt.models.clip.block import build_activation
from mmvidadapt.models.clip.drop_path import ClipDropPath
from tests import tiny_clip as tiny


def _train_encoder(**changes) -> CLIPVisionEncoder:
    encoder = CLIPVisionEncoder(**{
        **dict(arch=dict(tiny.VISION, num_layers=4), act='gelu'), **changes})
    return tiny.randomize(encoder)


def _run(encoder: nn.Module, images: torch.Tensor) -> torch.Tensor:
    out = encoder(images, 2)
    return encoder.class_features(out.tokens, out.layout)


def _saved_bytes(function: callable) -> tuple[torch.Tensor, int]:
    """Call a function; also count what autograd keeps for backward."""
    kept: dict[int, int] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
        out = function()
    return out, sum(kept.values())


# -- layout ----------------------------------------------------------------


@pytest.mark.parametrize('arguments, message', [
    (('frames', 2, (1, 1)), "unknown token layout 'frames': use one of "
     'framewise, joint, text'),
    (('joint', 0, (1, 1)), 'needs positive sizes, got num_frames=0'),
    (('joint', 2, (0, 1)), r'grid_size=\(0, 1\): check the shape')])
def test_wrong_layout(arguments, message):
    with pytest.raises(ValueError, match=message):
        TokenLayout(*arguments)


def test_layout_counts_and_splits():
    layout = TokenLayout('framewise', 3, (2, 4))
    tokens = torch.arange(6).view(6, 1, 1)  # two clips of three frames
    assert layout.num_patches == 8
    assert layout.split_frames(tokens)[1].flatten().tolist() == [3, 4, 5]
    assert layout.with_frames(1).num_frames == 1
    with pytest.raises(ValueError, match=r'cannot split \(6, 1, 1\) tokens of '
                       'a framewise layout into clips of 4 frames: pass'):
        layout.with_frames(4).split_frames(tokens)
    with pytest.raises(ValueError, match='of a text layout'):
        TokenLayout('text', 1, (6, 1)).split_frames(tokens)


def test_joint_layout_splits_patches_by_place_then_frame():
    layout = TokenLayout('joint', 3, (1, 2))
    tokens = torch.arange(14).view(2, 7, 1)  # two clips: class token, 2*3
    patches = layout.split_patches(tokens)
    assert patches[1, :, :, 0].tolist() == [[8, 9, 10], [11, 12, 13]]
    for wrong in (layout.with_frames(2), TokenLayout('text', 1, (7, 1))):
        with pytest.raises(ValueError, match=r'cannot split \(2, 7, 1\) '
                           'tokens of a (joint|text) layout into .* patches'):
            wrong.split_patches(tokens)


def test_unknown_activation():
    with pytest.raises(ValueError, match="unknown activation 'relu': use gelu "
                       'or quick_gelu'):
        build_activation('relu')


@pytest.mark.parametrize('grad', [False, True])
def test_quick_gelu_is_its_formula_and_changes_no_input(grad):
    x = torch.randn(50, requires_grad=grad)
    before = x.detach().clone()
    torch.testing.assert_close(build_activation('quick_gelu')(x),
                               before * torch.sigmoid(1.702 * before))
    assert torch.equal(x.detach(), before)


# -- image encoder ---------------------------------------------------------


def test_frames_do_not_see_each_other():
    encoder, images = _train_encoder().eval(), tiny.frames(4)
    both = _run(encoder, images)
    assert both.shape == (2, 2, 32)
    for i in range(4):
        alone = tiny.image_features(encoder, images[i:i + 1])
        torch.testing.assert_close(both.flatten(0, 1)[i:i + 1], alone)


def test_output_channels_follow_the_configuration():
    images = tiny.frames()
    for project, channels in ((True, 24), (False, 32)):
        encoder = _train_encoder(project=project)
        assert encoder.output_dims == channels
        assert _run(encoder, images).shape == (1, 2, channels)
    bare = _train_encoder(post_norm=False)
    assert not [name for name in bare.state_dict() if 'ln_post' in name]


def test_frames_of_another_size_are_refused():
    with pytest.raises(ValueError, match=r'frames of \(48, 48\) pixels do not '
                       r'fit an encoder built for \(32, 32\): change the crop'
                       ' size of the pipeline or image_size in arch'):
        _run(_train_encoder(), tiny.frames(image_size=48))


def test_every_parameter_gets_a_gradient():
    encoder = _train_encoder(project=True)
    _run(encoder, tiny.frames()).square().mean().backward()
    without = [name for name, param in encoder.named_parameters()
               if param.grad is None or not param.grad.any()]
    assert without == []


def test_checkpointing_changes_memory_and_nothing_else():
    images = tiny.frames(8)
    plain, again = (_train_encoder(with_cp=with_cp, drop_path_rate=0.5)
                    for with_cp in (False, True))
    again.load_state_dict(plain.state_dict())
    results = []
    for encoder in (plain, again):
        torch.manual_seed(1)  # the same blocks drop
        out, kept = _saved_bytes(lambda e=encoder: _run(e, images))
        out.square().mean().backward()
        results.append((out, kept, [p.grad for p in encoder.parameters()]))
    (out_a, kept_a, grads_a), (out_b, kept_b, grads_b) = results
    assert torch.equal(out_a, out_b)
    for a, b in zip(grads_a, grads_b):
        torch.testing.assert_close(a, b)
    assert kept_b < 0.5 * kept_a


def test_stochastic_depth_grows_from_nothing_to_its_rate():
    blocks = _train_encoder(drop_path_rate=0.3).transformer.resblocks
    rates = [block.drop_path.drop_prob for block in blocks]
    assert rates == pytest.approx([0, 0.1, 0.2, 0.3])


def test_stochastic_depth_drops_whole_clips():
    encoder = _train_encoder(drop_path_rate=0.5)
    clips = tiny.frames(16).repeat_interleave(4, 0)  # 4 equal frames each
    torch.manual_seed(0)
    out = encoder(clips, 4)
    tokens = out.layout.split_frames(out.tokens)
    torch.testing.assert_close(tokens, tokens[:, :1].expand_as(tokens))
    assert not torch.allclose(out.tokens, encoder.eval()(clips, 4).tokens)


@pytest.mark.parametrize('kind, frames', [
    ('framewise', 4), ('joint', 4), ('text', 1)])
def test_drop_path_keeps_the_mean_in_every_layout(kind, frames):
    drop, layout = ClipDropPath(0.25), TokenLayout(kind, frames, (1, 2))
    rows = 4000 * frames if kind == 'framewise' else 4000
    torch.manual_seed(0)
    out = drop(torch.ones(rows, 3, 2), layout)
    clips = out.view(4000, -1)
    assert torch.equal(clips, clips[:, :1].expand_as(clips))
    assert clips.unique().tolist() == pytest.approx([0, 4 / 3])
    assert clips.mean() == pytest.approx(1, abs=0.03)
    assert torch.equal(drop.eval()(out, layout), out)


def test_frozen_encoder_keeps_eval_mode_and_saves_nothing():
    encoder = _train_encoder(frozen=True, drop_path_rate=0.5)
    assert not encoder.train().training
    assert not any(m.training for m in encoder.modules())
    assert not any(p.requires_grad for p in encoder.parameters())
    out, kept = _saved_bytes(lambda: _run(encoder, tiny.frames()))
    assert not out.requires_grad
    assert kept == 0
    # As a part of a model in train mode, too.
    model = nn.Sequential(encoder, nn.Dropout()).train()
    assert model[1].training
    assert not encoder.transformer.training


def test_autocast_keeps_the_residual_stream_in_float32():
    encoder, seen = _train_encoder(), []
    for block in encoder.transformer.resblocks:
        block.register_forward_hook(lambda m, a, out: seen.append(
            out[0].dtype))
    images = tiny.frames()
    exact = _run(encoder, images)
    with torch.autocast('cpu', torch.bfloat16):
        out = _run(encoder, images)
    out.float().square().mean().backward()
    assert seen == [torch.float32] * 8
    assert all(p.dtype == p.grad.dtype == torch.float32
               for p in encoder.parameters() if p.grad is not None)
    error = (out - exact).norm() / exact.norm()
    assert 0 < error < 0.05


def test_deep_copy_and_state_dict_round_trip():
    encoder = _train_encoder(frozen=True)
    twin = copy.deepcopy(encoder)
    fresh = CLIPVisionEncoder(dict(tiny.VISION, num_layers=4), 'gelu')
    fresh.load_state_dict(encoder.state_dict(), strict=True)
    images = tiny.frames()
    for other in (twin, fresh.eval()):
        assert torch.equal(_run(encoder, images), _run(other, images))
    assert twin.frozen


# -- text encoder ----------------------------------------------------------


def test_padding_changes_nothing():
    encoder = tiny.randomize(tiny.text())
    torch.testing.assert_close(encoder(tiny.TOKENS),
                               encoder(tiny.padded_tokens()))
    # Nor does what follows the end token.
    tokens = tiny.padded_tokens()
    tokens[0, 4:] = 7
    torch.testing.assert_close(encoder(tokens), encoder(tiny.TOKENS))


def test_texts_longer_than_the_context_are_refused():
    with pytest.raises(ValueError, match='texts of 13 tokens do not fit a '
                       'context of 12: tokenize with context_length=12'):
        tiny.text()(torch.zeros(1, 13, dtype=torch.long))


def test_open_clips_tokenizer_fits():
    import open_clip
    encoder = CLIPTextEncoder(dict(tiny.TEXT, vocab_size=49408,
                                   context_length=77), 'gelu').eval()
    tokens = open_clip.get_tokenizer('ViT-B-16')(['a cat', 'two dogs play'])
    features = encoder(tokens)
    assert features.shape == (2, encoder.output_dims)
    assert not torch.allclose(features[0], features[1])


def test_frozen_text_encoder_and_checkpointing():
    frozen = tiny.text(frozen=True)
    assert not frozen.train().training
    out, kept = _saved_bytes(lambda: frozen(tiny.TOKENS))
    assert not out.requires_grad
    assert kept == 0
    plain = tiny.randomize(tiny.text())
    again = tiny.text(with_cp=True)
    again.load_state_dict(plain.state_dict())
    outs = [_saved_bytes(lambda e=e: e(tiny.TOKENS)) for e in (plain, again)]
    for out, _ in outs:
        out.square().mean().backward()
    assert torch.equal(outs[0][0], outs[1][0])
    assert outs[1][1] < outs[0][1]
    for a, b in zip(plain.parameters(), again.parameters()):
        torch.testing.assert_close(a.grad, b.grad)
