"""A BEiT of mmpretrain, and means over patches as features of frames."""

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from mmaction.registry import MODELS
from mmengine.registry import DefaultScope
from torch import Tensor, nn

from mmvidadapt.apis import exporting
from mmvidadapt.models.backbones import CLIPViT, SideCLIPViT
from mmvidadapt.models.clip.viclip import ViCLIPVisionEncoder
from mmvidadapt.models.clip.vision_encoder import CLIPVisionEncoder
from tests import tiny_clip as tiny

#: 3 x 3 patches, so that places differ in more than their neighbours.
SIZE = 48
SIZES = dict(embed_dims=32, num_layers=2, num_heads=2,
             feedforward_channels=128)
ARCH = dict(tiny.VISION, image_size=SIZE, pre_norm=False, norm_eps=1e-2,
            abs_pos_emb=False, rel_pos_bias=True)
OPTIONS = dict(arch=ARCH, act='gelu', project=False, out_type='avg_featmap')
LORA = dict(type='LoRA', layers=[0, 1], rank=2, targets=['q', 'k', 'v'])


def mmpretrain_model(name: str = 'BEiTViT', **changes) -> nn.Module:
    """Random weights, an eps that shows, places that matter."""
    import mmpretrain.models
    torch.manual_seed(0)
    model = tiny.randomize(getattr(mmpretrain.models, name)(**{**dict(
        arch=SIZES, img_size=SIZE, patch_size=16, out_type='avg_featmap',
        norm_cfg=dict(type='LN', eps=1e-2)), **changes}))
    for param, value in model.named_parameters():
        if 'bias_table' in param or 'gamma' in param:
            value.data.normal_(std=2.)
    model.eval()  # returns nothing
    return model


def saved(model: nn.Module, path: Path, **more: Tensor) -> str:
    torch.save(dict(state_dict={
        **{f'backbone.{k}': v for k, v in model.state_dict().items()},
        **more}), path)
    return str(path)


def encoder(weights: str | None = None, arch: dict | None = None,
            **changes) -> CLIPVisionEncoder:
    return tiny.vision(**{**OPTIONS, **changes, 'weights': weights,
                          'arch': {**ARCH, **(arch or {})}})


def images() -> Tensor:
    return tiny.frames(image_size=SIZE)


def assert_equal_features(ours: CLIPVisionEncoder, theirs: nn.Module) -> None:
    with torch.no_grad():
        torch.testing.assert_close(tiny.image_features(ours, images()),
                                   theirs(images())[-1], atol=1e-5, rtol=1e-5)


# -- parity ----------------------------------------------------------------


ABSOLUTE = dict(abs_pos_emb=True, rel_pos_bias=False)


@pytest.mark.parametrize('theirs, arch', [
    (dict(), {}),
    (dict(use_rel_pos_bias=False, use_shared_rel_pos_bias=True), {}),
    (dict(use_abs_pos_emb=True), dict(abs_pos_emb=True)),
    (dict(use_abs_pos_emb=True, use_rel_pos_bias=False,
          layer_scale_init_value=0.), ABSOLUTE),  # EVA
    (dict(bias=False), {}),
    (dict(layer_cfgs=dict(bias=True)), {}),
    (dict(name='VisionTransformer', final_norm=False), ABSOLUTE),  # MAE
], ids=str)
def test_features_are_those_of_mmpretrain(theirs, arch, tmp_path):
    theirs = mmpretrain_model(**theirs)
    assert_equal_features(
        encoder(saved(theirs, tmp_path / 'beit.pth'), arch), theirs)


def test_a_pretrained_beit_has_a_class_token_and_its_norm(tmp_path, log):
    theirs = mmpretrain_model(
        use_rel_pos_bias=False, use_shared_rel_pos_bias=True,
        final_norm=True, out_type='cls_token')
    path = saved(theirs, tmp_path / 'beit.pth', **{
        name: torch.zeros(1) for name in (
            'backbone.mask_token', 'head.layer.weight',
            'target_generator.encoder.cls_token')})
    assert_equal_features(encoder(path, out_type='cls_token'), theirs)
    assert 'relative positions copied to every block' in log[0]


@pytest.mark.parametrize('final_norm', [False, True])
def test_what_was_normalised_otherwise_is_had_without_the_norm(
        final_norm, tmp_path):
    theirs = mmpretrain_model(final_norm=final_norm, out_type='featmap')
    path = saved(theirs, tmp_path / 'beit.pth')
    ours = encoder(path, post_norm=False)
    if final_norm:
        theirs.ln1 = nn.Identity()
    with torch.no_grad():
        torch.testing.assert_close(
            tiny.image_features(ours, images()),
            theirs(images())[-1].mean(dim=(2, 3)), atol=1e-5, rtol=1e-5)


def test_our_own_checkpoint_of_a_beit(tmp_path):
    trained = tiny.randomize(encoder())
    path = saved(trained, tmp_path / 'epoch_1.pth')
    again = encoder(path).state_dict()
    assert again.keys() == trained.state_dict().keys()
    assert not any('index' in name for name in again)
    assert all(torch.equal(again[name], value)
               for name, value in trained.state_dict().items())


def test_gradients_of_the_tables_are_those_of_mmpretrain(tmp_path):
    theirs = mmpretrain_model()
    ours = encoder(saved(theirs, tmp_path / 'beit.pth')).train()
    tiny.image_features(ours, images()).square().sum().backward()
    theirs(images())[-1].square().sum().backward()
    for block, layer in zip(ours.transformer.resblocks, theirs.layers):
        wanted = layer.attn.relative_position_bias_table.grad
        assert wanted.abs().max() > 1e-3
        torch.testing.assert_close(block.attn.rel_pos_bias.table.grad, wanted,
                                   atol=1e-5, rtol=1e-4)
        keys = block.attn.in_proj_bias.grad.chunk(3)[1]
        assert keys.abs().max() < 1e-5, 'zero in a BEiT, and stays so'


def test_a_frozen_beit_is_left_to_its_source(tmp_path):
    theirs = mmpretrain_model()
    path = saved(theirs, tmp_path / 'beit.pth')
    ours = encoder(path, frozen=True)
    assert not any(value.requires_grad for value in ours.parameters())
    assert not tiny.image_features(ours, images()).requires_grad
    small = ours.state_dict()
    assert [*small] == ['fingerprint']
    again = CLIPVisionEncoder(**OPTIONS, weights=path, frozen=True)
    again.load_state_dict(small)
    assert_equal_features(again, theirs)


def test_a_side_network_reads_the_blocks_of_a_beit(tmp_path):
    theirs = mmpretrain_model()
    path = saved(theirs, tmp_path / 'beit.pth')
    side = SideCLIPViT(dict(arch=ARCH, act='gelu', weights=path),
                       num_frames=2, side_dims=16, num_heads=2, window=1)
    side.init_weights()
    theirs.out_type = 'raw'
    with torch.no_grad():
        torch.testing.assert_close(side.encoder(images(), 1).tokens,
                                   theirs(images())[-1], atol=1e-5, rtol=1e-5)
    assert [name for name in side.state_dict()
            if name.startswith('encoder.')] == ['encoder.fingerprint']


# -- around the attention --------------------------------------------------


def backbone(*adapters: dict, **changes) -> CLIPViT:
    torch.manual_seed(0)
    model = CLIPViT(dict(OPTIONS), 4, adapters, **changes)
    return tiny.randomize(model).eval()


def clips() -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(2, 3, 4, SIZE, SIZE, generator=generator)


def test_only_a_bias_keeps_torch_from_its_fastest_kernel(monkeypatch):
    seen = []
    kernel = F.scaled_dot_product_attention

    def attend(*args, attn_mask=None, **kwargs) -> Tensor:
        seen.append(None if attn_mask is None else attn_mask.shape)
        return kernel(*args, attn_mask=attn_mask, **kwargs)

    monkeypatch.setattr(F, 'scaled_dot_product_attention', attend)
    backbone()(clips())
    assert seen == [(1, 2, 10, 10)] * 2
    seen.clear()
    tiny.image_features(tiny.vision(), tiny.frames())
    tiny.text()(tiny.TOKENS)
    assert seen == [None] * 5


def test_merged_frames_are_averaged_over_their_patches():
    model = backbone(dict(type='InTI', layers=[1]))
    found = {}
    model.encoder.transformer.resblocks[1].register_forward_hook(
        lambda block, args, out: found.update(tokens=out[0]))
    out = model(clips())
    assert found['tokens'].shape == (4, 10, 32)
    wanted = model.encoder.ln_post(found['tokens'][:, 1:].mean(dim=1))
    torch.testing.assert_close(out, wanted.unflatten(0, (2, 2)))


def test_lora_changes_the_projections_beside_the_bias():
    plain, adapted = backbone(), backbone(LORA)
    adapted.encoder.load_state_dict(plain.encoder.state_dict())
    with torch.no_grad():
        for block, lora in zip(plain.encoder.transformer.resblocks,
                               adapted.adapters[0].values()):
            for rows, name in zip(block.attn.in_proj_weight.chunk(3), 'qkv'):
                low = lora.low_rank[name]
                rows += low.up.weight @ low.down.weight
        torch.testing.assert_close(adapted(clips()), plain(clips()),
                                   atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize('changes', [dict(compile=dict(backend='aot_eager')),
                                     dict(with_cp=True)], ids=str)
def test_compiled_or_recomputed_blocks_answer_alike(changes, compiler):
    plain = backbone().train()
    other = (CLIPViT(dict(OPTIONS, **changes), 4) if 'with_cp' in changes
             else backbone(**changes)).train()
    other.load_state_dict(plain.state_dict())
    outs = plain(clips()), other(clips())
    torch.testing.assert_close(*outs)
    for out in outs:
        out.square().mean().backward()
    for (name, a), b in zip(plain.named_parameters(), other.parameters()):
        torch.testing.assert_close(a.grad, b.grad, msg=name)


def test_lower_precision():
    model = backbone()
    with torch.no_grad():
        wanted = model(clips())
        with torch.autocast('cpu', torch.bfloat16):
            found = model(clips())
        half = model.to(torch.bfloat16)(clips().bfloat16())
    for out in (found, half):
        torch.testing.assert_close(out.float(), wanted, atol=.05, rtol=.05)


@pytest.mark.parametrize('form', ['torch_export', 'onnx'])
def test_it_can_leave_pytorch(form, onnx, tmp_path):
    with DefaultScope.overwrite_default_scope('mmaction'):
        model = tiny.randomize(MODELS.build(dict(
            type='Recognizer3D',
            backbone=dict(type='CLIPViT', encoder=OPTIONS, num_frames=4),
            cls_head=dict(type='LinearHead', in_channels=32, num_classes=6,
                          average_clips='score'))))
    exporter = exporting.Exporter(model.eval(), (3, 4, SIZE, SIZE))
    exporter.write(tmp_path / 'model', form)  # compares


# -- what does not fit -----------------------------------------------------


@pytest.mark.parametrize('theirs, changes, message', [
    (dict(), dict(arch=dict(pre_norm=True, abs_pos_emb=True,
                            rel_pos_bias=False)),
     r'is a ViT without the norm before the first block that every CLIP has, '
     'without positions added to its tokens, with relative positions in its '
     'attention: set pre_norm=False, abs_pos_emb=False, rel_pos_bias=True, '
     'norm_eps=1e-6 in arch, or use other weights$'),
    (dict(use_abs_pos_emb=True, use_rel_pos_bias=False), {},
     'is a ViT with positions added to its tokens, without relative positions '
     'in its attention: set abs_pos_emb=True, rel_pos_bias=False in arch'),
    (dict(), dict(out_type='cls_token'),
     "features are means over patches, and out_type='cls_token' reads others: "
     "set out_type='avg_featmap' in encoder, or post_norm=False"),
    (dict(final_norm=True, out_type='cls_token'), {},
     "features are class tokens, and out_type='avg_featmap' reads others: "
     "set out_type='cls_token' in encoder, or post_norm=False"),
    (dict(final_norm=True), {}, 'with a norm before and after the mean: set '
     'post_norm=False in encoder to do without both'),
    (dict(out_type='raw'), {}, r'lacks ln_post.weight, ln_post.bias.*'
     r'one without a last norm post_norm=False\)'),
    (dict(img_size=32), {}, 'has relative positions of 2x2 patches, which are '
     'not resized: set image_size=32 in arch, or use other weights'),
    (dict(), dict(arch=dict(num_heads=4)),
     'has num_heads=2 but the encoder has num_heads=4: set arch to'),
    (dict(with_cls_token=False), {}, 'no class token'),
    (dict(name='VisionTransformer', layer_cfgs=dict(
        ffn_type='swiglu_fused')), {},
     'is a ViT with SwiGLU layers, which no encoder here has: use one with '
     'GELU'),
], ids=str)
def test_other_vits_are_refused_with_what_to_set(theirs, changes, message,
                                                 tmp_path):
    path = saved(mmpretrain_model(**theirs), tmp_path / 'vit.pth')
    with pytest.raises(ValueError, match=message) as error:
        encoder(path, **changes)
    assert '\n' not in str(error.value)


def test_a_beit_without_a_part_is_refused(tmp_path):
    state = mmpretrain_model().state_dict()
    del state['layers.1.attn.v_bias']
    torch.save(state, tmp_path / 'beit.pth')
    with pytest.raises(ValueError, match='lacks transformer.resblocks.1.attn.'
                       'in_proj_bias; it also holds transformer.resblocks.1.'
                       'attn.q_bias'):
        encoder(str(tmp_path / 'beit.pth'))


def test_options_have_known_values():
    with pytest.raises(ValueError, match="unknown out_type='raw': use "
                       'cls_token or avg_featmap'):
        encoder(out_type='raw')
    with pytest.raises(ValueError, match='rel_pos_bias=1: give True or False'):
        encoder(arch=dict(rel_pos_bias=1))


@pytest.mark.parametrize('arch, more', [
    (dict(rel_pos_bias=True), {}), (dict(abs_pos_emb=False), {}),
    ({}, dict(out_type='avg_featmap'))], ids=str)
def test_a_video_tower_is_no_beit(arch, more):
    with pytest.raises(ValueError, match='one class token for a clip: remove '
                       'abs_pos_emb and rel_pos_bias from arch'):
        ViCLIPVisionEncoder({**tiny.VISION, **arch}, 'gelu', **more)
