"""Where the tokens of a side network are large."""

import pytest
import torch
from torch import nn

from mmvidadapt.apis.side_activations import side_activations, without_sme
from mmvidadapt.models.backbones import CLIPViT, SideCLIPViT

ARCH = dict(embed_dims=32, num_layers=2, num_heads=2, patch_size=8,
            image_size=24, output_dims=16)


def side_network(**options) -> SideCLIPViT:
    return SideCLIPViT(dict(arch=ARCH, act='quick_gelu', weights=None),
                       num_frames=4, side_dims=16, **options)


def test_every_part_has_a_norm_for_each_patch_of_each_frame() -> None:
    found = side_activations(side_network(), torch.randn(2, 3, 20, 24, 24))
    assert list(found) == ['stem', 'block 0', 'block 1']
    for norms in found.values():
        assert norms.shape == (2, 4, 3, 3) and norms.dtype == torch.float32


def test_norms_are_those_of_the_tokens() -> None:
    model, clip = side_network().eval(), torch.randn(2, 3, 20, 24, 24)
    tokens = model.stem(clip)  # (B*T, N, D)
    expected = tokens.pow(2).sum(dim=-1).sqrt().view(2, 4, 3, 3)
    torch.testing.assert_close(side_activations(model, clip)['stem'],
                               expected)


def test_the_place_of_a_patch_is_its_place_in_the_map() -> None:
    model = side_network(window=1, stem_padding=0)
    clip = torch.zeros(1, 3, 4, 24, 24)
    clip[:, :, :, 16:, 8:16] = 3.  # third row, second column
    dark = side_activations(model, torch.zeros_like(clip))['stem']
    changed = side_activations(model, clip)['stem'] != dark
    assert changed[..., 2, 1].all()
    assert changed.sum() == 4


def test_with_the_sme_adapter_still_patches_differ_from_moving_ones() -> None:
    model = side_network(alpha=1., beta=0., stem_padding=0)
    clip = torch.randn(1, 3, 1, 24, 24).repeat(1, 1, 20, 1, 1)
    clip[..., :8, 16:] = torch.randn(1, 3, 20, 8, 8)  # first row, third
    norms = side_activations(model, clip)['stem']
    still = norms[:, :, 1:, :2]
    torch.testing.assert_close(still, still.mean().expand_as(still))
    assert (norms[..., 0, 2] != norms[..., 2, 0]).all()


def test_the_backbone_is_left_as_it_was() -> None:
    model = side_network(with_cp=True).train()
    model.blocks[0].eval()
    modes = [module.training for module in model.modules()]
    before = {name: value.clone()
              for name, value in model.state_dict().items()}
    side_activations(model, torch.randn(2, 3, 20, 24, 24))
    assert [module.training for module in model.modules()] == modes
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name]), name
    assert not any(module._forward_hooks for module in model.modules())


def test_hooks_go_even_if_the_clip_is_refused() -> None:
    model = side_network()
    with pytest.raises(ValueError, match='19 frames'):
        side_activations(model, torch.randn(1, 3, 19, 24, 24))
    assert not any(module._forward_hooks for module in model.modules())
    assert model.training


@pytest.mark.parametrize('backbone', [
    nn.Linear(1, 1),
    CLIPViT(dict(arch=ARCH, act='gelu', weights=None), num_frames=4)])
def test_a_model_without_side_network_is_refused(backbone) -> None:
    with pytest.raises(ValueError, match='has no side network.*SideCLIPViT'):
        side_activations(backbone, torch.randn(1, 3, 4, 24, 24))


def test_without_the_sme_adapter_centre_frames_alone_count() -> None:
    model, clip = side_network(alpha=.5).eval(), torch.randn(1, 3, 20, 24, 24)
    other = torch.randn_like(clip)
    other[:, :, 2::5] = clip[:, :, 2::5]
    parts = ['stem', 'block 0', 'block 1']
    with without_sme(model):
        first, second = (side_activations(model, x) for x in (clip, other))
    changed = side_activations(model, clip), side_activations(model, other)
    for part in parts:
        torch.testing.assert_close(first[part], second[part])
        assert not torch.allclose(changed[0][part], changed[1][part])
        assert not torch.allclose(changed[0][part], first[part])


def test_the_sme_adapter_is_switched_on_again() -> None:
    model = side_network(alpha=.5)
    with pytest.raises(KeyError), without_sme(model):
        assert model.stem.alpha == 0
        raise KeyError
    assert model.stem.alpha == .5
    with pytest.raises(ValueError, match='window=1, so no SME-Adapter'), \
            without_sme(side_network(window=1)):
        pass
