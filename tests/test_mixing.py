"""Methods mix by config: every row of the table trains, saves and tests.

A new mix is a row: its parts as a config states them, the frames that its
neck sees, and what each part is called in the model.
"""

import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from mmaction.registry import MODELS
from mmaction.structures import ActionDataSample
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmengine.registry import init_default_scope
from mmengine.runner import load_checkpoint
from mmengine.runner.checkpoint import save_checkpoint
from torch import Tensor, nn

from mmvidadapt.models.necks import MoTE
from tests.tiny_clip import VISION, randomize

FRAMES, CLASSES, SIDE = 8, 6, 32
JOINT, WIDTH = VISION['output_dims'], VISION['embed_dims']
ENCODER = dict(arch=VISION, act='quick_gelu')
GENERATOR = torch.Generator().manual_seed(0)
TEXTS = torch.randn(CLASSES, JOINT, generator=GENERATOR).tolist()


def clip_vit(adapters: tuple = (), project: bool = True,
             **encoder: Any) -> dict:
    return dict(type='CLIPViT', num_frames=FRAMES, adapters=list(adapters),
                encoder=dict(ENCODER, project=project, **encoder))


def side(**options: Any) -> dict:
    return dict(type='SideCLIPViT', num_frames=FRAMES, side_dims=SIDE,
                num_heads=2, encoder=ENCODER, **options)


def mote(width: int, **options: Any) -> dict:
    return dict(type='MoTE', embed_dims=width, num_layers=2, num_heads=2,
                **{**dict(num_experts=3), **options})


def text_head(width: int, **options: Any) -> dict:
    return dict(type='TextHead', in_channels=width, features=TEXTS,
                classes=[f'class {i}' for i in range(CLASSES)],
                average_clips='score', **options)


def linear_head(width: int) -> dict:
    return dict(type='LinearHead', in_channels=width, num_classes=CLASSES,
                average_clips='score')


INTI = dict(type='InTI', layers=[1])
MOTE_LOSSES = ('loss_cls', 'loss_cls_merged', 'loss_mse')


@dataclass
class Mix:
    """One row.

    Args:
        backbone (dict): Config.
        head (dict): Config.
        parts (tuple[str, ...]): Modules that the mix is made of, all of
            which train.
        neck (dict | None): Config.
        frozen (str | None): Module that does not train.
        neck_frames (int): Frames ``T'`` that reach the neck.
        losses (tuple[str, ...]): Names of the losses.
    """

    backbone: dict
    head: dict
    parts: tuple[str, ...]
    neck: dict | None = None
    frozen: str | None = None
    neck_frames: int = FRAMES
    losses: tuple[str, ...] = MOTE_LOSSES

    def config(self) -> dict:
        """A new config of the recognizer."""
        neck = {} if self.neck is None else dict(neck=self.neck)
        return copy.deepcopy(dict(
            type='Recognizer3D', backbone=self.backbone, **neck,
            cls_head=self.head, data_preprocessor=dict(
                type='ActionDataPreprocessor', mean=[128.] * 3,
                std=[64.] * 3, format_shape='NCTHW')))

    @property
    def window(self) -> int:
        """Frames of a local window."""
        return 5 if self.backbone.get('preset') != 'side4video' and (
            self.backbone['type'] == 'SideCLIPViT') else 1


WHOLE = ('backbone.encoder', 'backbone.adapters', 'neck', 'cls_head')
BESIDE = ('backbone.stem', 'backbone.taps', 'backbone.blocks', 'neck',
          'cls_head')
MIXES = {
    'InTI + MoTE': Mix(
        clip_vit([INTI]), text_head(JOINT), WHOLE, mote(JOINT),
        neck_frames=4),
    'InTI twice + MoTE': Mix(
        clip_vit([dict(INTI, layers=[0, 1])]), text_head(JOINT), WHOLE,
        mote(JOINT), neck_frames=2),
    'InTI + MoTE + linear head': Mix(
        clip_vit([INTI], project=False), linear_head(WIDTH), WHOLE,
        mote(WIDTH), neck_frames=4),
    'InTI + plain temporal transformer': Mix(
        clip_vit([INTI]), text_head(JOINT), WHOLE,
        mote(JOINT, num_experts=0), neck_frames=4, losses=('loss_cls', )),
    'InTI on a frozen CLIP + MoTE': Mix(
        clip_vit([INTI], frozen=True), text_head(JOINT), WHOLE[1:],
        mote(JOINT), frozen='backbone.encoder', neck_frames=4),
    'TDS-CLIP + MoTE': Mix(
        side(), text_head(SIDE, projection=True), BESIDE, mote(SIDE),
        frozen='backbone.encoder'),
    'TDS-CLIP with the lean backward + MoTE': Mix(
        side(with_cp=True), text_head(SIDE, projection=True), BESIDE,
        mote(SIDE), frozen='backbone.encoder'),
    'TDS-CLIP + MoTE + linear head': Mix(
        side(), linear_head(SIDE), BESIDE, mote(SIDE),
        frozen='backbone.encoder'),
    'Side4Video + MoTE': Mix(
        side(preset='side4video'), linear_head(SIDE), BESIDE, mote(SIDE),
        frozen='backbone.encoder'),
    'TDS-CLIP + text head': Mix(
        side(), text_head(SIDE, projection=True),
        ('backbone.stem', 'backbone.blocks', 'cls_head'),
        frozen='backbone.encoder', losses=('loss_cls', )),
}

#: What cannot be mixed, and what the error says.
REFUSED = {
    'TDS-CLIP + InTI': (
        Mix(side(adapters=[INTI]), linear_head(SIDE), ()),
        'InTI cannot sit inside the CLIP that a side network reads: .* put '
        'a neck such as MoTE behind SideCLIPViT, or use the adapter in '
        'CLIPViT'),
    'TDS-CLIP + text head of another width': (
        Mix(side(), text_head(SIDE), ()),
        'the features of frames have 32 channels and those of texts 24: '
        '.* set projection=True'),
    'InTI down to one frame + MoTE': (
        Mix(clip_vit([dict(INTI, layers=[0, 1])]) | dict(num_frames=4),
            text_head(JOINT), (), mote(JOINT)),
        'MoTE relates the frames of a clip, and the backbone gives one '
        'vector for each clip'),
    'InTI + MoTE of another width': (
        Mix(clip_vit([INTI], project=False), linear_head(WIDTH), (),
            mote(JOINT)),
        'MoTE reads frame features .* set embed_dims to the width of the '
        'backbone, or project=True in its encoder'),
}


@pytest.fixture(autouse=True, scope='module')
def _scope() -> None:
    """Types without a prefix are MMAction2's."""
    init_default_scope('mmaction')


@pytest.fixture(params=list(MIXES))
def mix(request: pytest.FixtureRequest) -> Mix:
    return MIXES[request.param]


def build(mix: Mix) -> nn.Module:
    """The model of a row with values that no default has."""
    torch.manual_seed(0)
    return randomize(MODELS.build(Config(mix.config()).to_dict()))


def clips(mix: Mix, number: int = 4, views: int = 1) -> dict:
    """A batch as a data loader gives it."""
    frames = mix.backbone['num_frames'] * mix.window
    draw = torch.Generator().manual_seed(1)
    shape = (views, 3, frames, *[VISION['image_size']] * 2)
    return dict(
        inputs=[torch.randint(0, 256, shape, generator=draw).byte()
                for _ in range(number)],
        data_samples=[ActionDataSample().set_gt_label(i % CLASSES)
                      for i in range(number)])


def losses_of(model: nn.Module, mix: Mix) -> dict[str, Tensor]:
    data = model.data_preprocessor(clips(mix), training=True)
    losses = model.train()(**data, mode='loss')
    return {name: value for name, value in losses.items() if 'loss' in name}


@torch.no_grad()
def scores(model: nn.Module, mix: Mix, views: int = 2) -> Tensor:
    data = model.data_preprocessor(clips(mix, 2, views), training=False)
    found = model.eval()(**data, mode='predict')
    return torch.stack([sample.pred_score for sample in found])


def trained(model: nn.Module, mix: Mix, steps: int = 2) -> nn.Module:
    """Train as a runner does."""
    wrapper = build_optim_wrapper(model, dict(
        constructor='TrainableParamsConstructor',
        optimizer=dict(type='AdamW', lr=1e-3)))
    for _ in range(steps):
        losses = losses_of(model, mix)
        assert {*losses} == {*mix.losses}
        assert all(value.isfinite() for value in losses.values())
        wrapper.update_params(sum(losses.values()))
    return model


def test_two_steps_train_what_trains_and_a_file_restores_it(
        mix: Mix, tmp_path: Path) -> None:
    model = build(mix)
    before = {name: value.clone()
              for name, value in model.named_parameters()}
    started = scores(model, mix)
    trained(model, mix)
    assert {name for name, value in model.named_parameters()
            if torch.equal(value, before[name])} == {
        name for name, value in model.named_parameters()
        if not value.requires_grad}
    found = scores(model, mix)
    assert found.shape == (2, CLASSES)
    assert not torch.allclose(found, started, atol=1e-4)

    path = tmp_path / 'mix.pth'
    save_checkpoint(dict(state_dict=model.state_dict()), str(path))
    again = MODELS.build(mix.config())
    load_checkpoint(again, str(path), strict=True)
    torch.testing.assert_close(scores(again, mix), found)


def test_every_part_gets_a_gradient_and_the_frozen_one_none(
        mix: Mix) -> None:
    model = build(mix)
    sum(losses_of(model, mix).values()).backward()
    for part in mix.parts:
        gradients = {name: value.grad for name, value in
                     model.get_submodule(part).named_parameters()}
        assert gradients, part
        assert not [name for name, grad in gradients.items()
                    if grad is None], part
        assert any(grad.any() for grad in gradients.values()), part
    frozen = [] if mix.frozen is None else list(
        model.get_submodule(mix.frozen).parameters())
    assert all(value.grad is None for value in frozen)
    assert len(frozen) == sum(
        not value.requires_grad for value in model.parameters())


def test_every_part_changes_the_scores(mix: Mix) -> None:
    model = trained(build(mix), mix)
    found = scores(model, mix)
    for part in (*mix.parts, *([mix.frozen] if mix.frozen else [])):
        other = copy.deepcopy(model)
        with torch.no_grad():
            for value in other.get_submodule(part).parameters():
                value.add_(torch.randn_like(value), alpha=0.3)
        assert (scores(other, mix) - found).abs().max() > 1e-3, part


def test_positions_are_those_of_the_frames_that_are_left(mix: Mix) -> None:
    if mix.neck is None:
        return
    model = build(mix)
    seen = []
    model.neck.register_forward_pre_hook(
        lambda neck, args: seen.append(args[0].shape[1]))
    sum(losses_of(model, mix).values()).backward()
    assert seen == [mix.neck_frames]
    used = model.neck.positional_embedding.grad.abs().sum(dim=1) > 0
    assert used.nonzero().flatten().tolist() == [*range(mix.neck_frames)]


def test_merged_experts_give_the_same_scores(mix: Mix) -> None:
    model = trained(build(mix), mix)
    if not getattr(getattr(model, 'neck', None), 'num_experts', 0):
        return
    found = scores(model, mix)
    assert isinstance(model.neck, MoTE)
    model.neck.merge()
    torch.testing.assert_close(scores(model, mix), found)
    model.neck.merge([1, 0, 0])
    assert not torch.allclose(scores(model, mix), found, atol=1e-5)


@pytest.mark.parametrize('name', REFUSED)
def test_what_does_not_mix_is_one_sentence(name: str) -> None:
    mix, message = REFUSED[name]
    with pytest.raises(ValueError, match=message) as error:
        losses_of(build(mix), mix)
    assert '\n' not in str(error.value)
