"""Which patches the class token of an encoder looks at."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmvidadapt.apis.class_attention import class_attention
from mmvidadapt.models.backbones import CLIPViT, SideCLIPViT
from tests.tiny_clip import VISION, randomize, reference

ARCH = dict(VISION, image_size=48)  # 3 x 3 patches


def sharpened(model: nn.Module) -> nn.Module:
    """Attention that is far from uniform."""
    for name, value in model.named_parameters():
        if name.endswith(('in_proj_weight', 'ln_1.weight')):
            value.data.mul_(6)
    return model


def backbone(adapters: tuple = (), kind: str = 'CLIPVisionEncoder',
             **encoder: object) -> CLIPViT:
    options = dict(dict(arch=ARCH, act='quick_gelu', weights=None), **encoder)
    model = CLIPViT(dict(options, type=kind), 4, adapters)
    return sharpened(randomize(model)).eval()


def clip(batch: int = 2, num_frames: int = 4) -> Tensor:
    return torch.randn(batch, 3, num_frames, 48, 48)


def test_shares_are_those_of_open_clip() -> None:
    model = sharpened(reference(image_size=48))
    ours = backbone(project=True)
    ours.encoder.load_state_dict({
        name.removeprefix('visual.'): value
        for name, value in model.state_dict().items()
        if name.startswith('visual.')})
    x = clip()
    wanted = []

    def keep(block: nn.Module, args: tuple) -> None:
        y = block.ln_1(args[0])
        wanted.append(block.attn(y, y, y, need_weights=True,
                                 average_attn_weights=False)[1])

    for block in model.visual.transformer.resblocks:
        block.register_forward_pre_hook(keep)
    with torch.no_grad():
        model.encode_image(x.transpose(1, 2).flatten(0, 1))
    found = class_attention(ours, x, [0, 1])
    assert list(found) == [0, 1] and len(wanted) == 2
    for layer, shares in enumerate(wanted):  # (B*T, heads, 1+N, 1+N)
        torch.testing.assert_close(found[layer].itself.flatten(0, 1),
                                   shares[:, :, 0, 0])
        torch.testing.assert_close(
            found[layer].patches.flatten(0, 1).flatten(2),
            shares[:, :, 0, 1:])
    assert found[0].patches.shape == (2, 4, 2, 3, 3)
    assert found[1].patches.std() > .01


def test_relative_positions_take_part() -> None:
    ours = backbone(arch=dict(ARCH, rel_pos_bias=True))
    x = clip()
    with torch.no_grad():
        tokens = ours.encoder.ln_pre(ours.encoder.embed(
            x.transpose(1, 2).flatten(0, 1), 4)[0])
        block = ours.encoder.transformer.resblocks[0]
        block.attn.rel_pos_bias.table.normal_(std=2)
        _, shares = F.multi_head_attention_forward(
            *[block.ln_1(tokens).transpose(0, 1)] * 3, 32, 2,
            block.attn.in_proj_weight, block.attn.in_proj_bias, None, None,
            False, 0., block.attn.out_proj.weight, block.attn.out_proj.bias,
            training=False, average_attn_weights=False,
            attn_mask=block.attn.rel_pos_bias().expand(8, -1, -1, -1)
            .flatten(0, 1))
    found = class_attention(ours, x, [0])[0]
    torch.testing.assert_close(found.itself.flatten(0, 1), shares[:, :, 0, 0])
    torch.testing.assert_close(
        found.patches.flatten(0, 1).flatten(2), shares[:, :, 0, 1:])


def test_a_joint_class_token_looks_at_the_patches_of_all_frames() -> None:
    ours = backbone(kind='ViCLIPVisionEncoder')
    x = clip()
    with torch.no_grad():
        encoder = ours.encoder
        tokens = encoder.ln_pre(encoder.embed(
            x.transpose(1, 2).flatten(0, 1), 4)[0])
        block = encoder.transformer.resblocks[0]
        y = block.ln_1(tokens).transpose(0, 1)
        attn = block.attn
        _, shares = F.multi_head_attention_forward(
            y, y, y, 32, 2, attn.in_proj_weight, attn.in_proj_bias, None,
            None, False, 0., attn.out_proj.weight, attn.out_proj.bias,
            training=False, average_attn_weights=False)
    found = class_attention(ours, x, [0])[0]
    assert found.patches.shape == (2, 4, 2, 3, 3)
    torch.testing.assert_close(found.itself, shares[:, None, :, 0, 0])
    for n in range(9):  # patch n of frame t is token 1 + n*T + t
        for t in range(4):
            torch.testing.assert_close(
                found.patches[:, t, :, n // 3, n % 3],
                shares[:, :, 0, 1 + n * 4 + t])


@pytest.mark.parametrize('kind, frames', [
    ('CLIPVisionEncoder', (2, 3)), ('ViCLIPVisionEncoder', (1, 2, 3))])
def test_shares_of_a_class_token_sum_to_one(kind: str,
                                            frames: tuple) -> None:
    found = class_attention(backbone(kind=kind), clip(), [-1])
    assert list(found) == [1]
    axes = (3, 4) if kind == 'CLIPVisionEncoder' else (1, 3, 4)
    patches, itself = found[1]
    total = patches.sum(dim=axes) + (
        itself if kind == 'CLIPVisionEncoder' else itself[:, 0])
    torch.testing.assert_close(total, torch.ones_like(total))


def test_adapters_take_part_as_they_do_in_the_model() -> None:
    x = clip()
    plain = backbone()
    changed = backbone((dict(type='LoRA', layers=[1], rank=4), ))
    changed.encoder.load_state_dict(plain.encoder.state_dict())
    first, second = (class_attention(model, x, [0, 1])
                     for model in (plain, changed))
    torch.testing.assert_close(first[0].patches, second[0].patches)
    assert (first[1].patches - second[1].patches).abs().max() > .01


def test_frames_that_were_merged_are_fewer() -> None:
    found = class_attention(backbone((dict(type='InTI', layers=[1]), )),
                            clip(), [0, 1])
    assert found[0].patches.shape[:2] == (2, 4)
    assert found[1].patches.shape[:2] == (2, 2)
    assert found[1].itself.shape == (2, 2, 2)


def test_the_clip_of_a_side_network_is_looked_into() -> None:
    side = SideCLIPViT(dict(arch=ARCH, act='quick_gelu', weights=None),
                       num_frames=4, side_dims=16, window=3)
    randomize(side.encoder)
    x = clip(2, 12)
    plain = backbone()
    # The CLIP under a side network has no post norm, which attention ignores.
    fit = plain.encoder.load_state_dict(side.encoder.state_dict(),
                                        strict=False)
    assert not fit.unexpected_keys
    assert {name.split('.')[0] for name in fit.missing_keys} <= {
        'ln_post', 'proj'}
    torch.testing.assert_close(
        class_attention(side, x, [1])[1].patches,
        class_attention(plain, x[:, :, 1::3], [1])[1].patches)


def test_the_model_is_left_as_it_was() -> None:
    model = backbone((dict(type='LoRA', layers=[0], rank=4), )).train()
    x = clip()
    modes = [module.training for module in model.modules()]
    class_attention(model, x, [0])
    assert [module.training for module in model.modules()] == modes
    assert not any(module._forward_hooks for module in model.modules())


def test_what_is_not_there_is_refused() -> None:
    for layer in (2, -3):
        with pytest.raises(ValueError, match=f'no layer {layer}: choose from '
                                             '0 to 1'):
            class_attention(backbone(), clip(), [0, layer])
    with pytest.raises(ValueError, match='Linear has no encoder'):
        class_attention(nn.Linear(1, 1), clip(), [0])
