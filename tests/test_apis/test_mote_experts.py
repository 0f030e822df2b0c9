"""What each expert does by itself: against forced routing, step by step."""

import math
from unittest import mock

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from mmaction.registry import MODELS
from mmaction.structures import ActionDataSample
from mmengine.registry import init_default_scope
from torch import Tensor, nn

from mmvidadapt.apis.mote_experts import (
    FRAMES,
    MERGED,
    MODULATED,
    has_patches,
    study_experts,
)
from mmvidadapt.models.necks.mote import Draw
from tests.tiny_clip import randomize

#: So many classes that two experts rarely agree by chance.
EXPERTS, LAYERS, WIDTH, CLASSES, VIEWS = 3, 2, 24, 300, 2
SIZE, PATCH = 24, 8  # a grid of 3 x 3


def build(backbone: dict | None = None, head: dict | None = None,
          neck: dict | None = None, **options) -> nn.Module:
    init_default_scope('mmaction')
    encoder = dict(arch=dict(embed_dims=32, num_layers=2, num_heads=2,
                             patch_size=PATCH, image_size=SIZE,
                             output_dims=WIDTH), act='quick_gelu',
                   weights=None, project=True)
    model = MODELS.build(dict(
        type='Recognizer3D',
        backbone={**dict(type='CLIPViT', encoder=encoder, num_frames=4),
                  **(backbone or {})},
        neck={**dict(type='MoTE', embed_dims=WIDTH, num_layers=LAYERS,
                     num_experts=EXPERTS, num_heads=2), **(neck or {})},
        cls_head={**dict(
            type='TextHead', in_channels=WIDTH, average_clips='score',
            classes=[f'name {i}' for i in range(CLASSES)],
            features=torch.randn(CLASSES, WIDTH)), **(head or {})},
        data_preprocessor=dict(
            type='ActionDataPreprocessor', mean=[100., 110., 120.],
            std=[50., 60., 70.], format_shape='NCTHW'), **options))
    randomize(model)
    # Strong enough, so that experts disagree and the modulation matters.
    for name, parameter in model.neck.named_parameters():
        if 'c_proj' in name:
            parameter.data.mul_(20)
    if hasattr(model.cls_head, 'finetune_features'):
        model.cls_head.finetune_features = F.normalize(
            torch.randn(9, WIDTH), dim=-1)
    return model.eval()


def batches(numbers: tuple = (2, 1), frames: int = 4) -> list[dict]:
    found = []
    for number in numbers:
        inputs = [torch.randint(  # each patch has a colour
            256, (VIEWS, 3, frames, 3, 3), dtype=torch.uint8
        ).repeat_interleave(PATCH, -1).repeat_interleave(PATCH, -2)
            for _ in range(number)]
        samples = [ActionDataSample().set_gt_label(
            int(torch.randint(CLASSES, ()))) for _ in range(number)]
        found.append(dict(inputs=inputs, data_samples=samples))
    return found


@torch.no_grad()
def frame_features(model: nn.Module, batch: dict) -> Tensor:
    """``(B*V, T, D)``."""
    inputs = model.data_preprocessor(
        dict(inputs=batch['inputs'], data_samples=None))['inputs']
    return model.backbone(inputs.flatten(0, 1))


@torch.no_grad()
def by_routing(model: nn.Module, frames: Tensor, expert: int) -> Tensor:
    """The temporal features of a training step that draws one expert."""
    neck = model.neck
    drawn = Draw([(expert, expert)] * LAYERS, [math.inf] * LAYERS)
    with mock.patch.object(neck, 'draw', lambda: drawn):
        temporal = neck.train()(frames)[0][1]
    neck.eval()
    return temporal


def predicted(model: nn.Module, videos: Tensor) -> list[int]:
    """From features of views, step by step."""
    cosines = F.normalize(videos, dim=-1) @ model.cls_head.class_features.T
    return cosines.unflatten(0, (-1, VIEWS)).mean(dim=1).argmax(-1).tolist()


@pytest.mark.parametrize('design', ['ffn', 'up', 'down', 'both'])
def test_an_expert_is_what_a_step_that_draws_it_computes(design) -> None:
    model, clips = build(neck=dict(design=design)), batches()
    study = study_experts(model, clips)
    expected: dict[str, list] = {name: [] for name in study.predicted}
    for batch in clips:
        frames = frame_features(model, batch)
        pooled = frames.mean(dim=1)
        expected[FRAMES] += predicted(model, pooled)
        for expert in range(EXPERTS):
            expected[f'expert {expert}'] += predicted(
                model, pooled + by_routing(model, frames, expert).mean(dim=1))
        with torch.no_grad():
            temporal = model.neck(frames)[0][1]
        expected[MERGED] += predicted(model, pooled + temporal.mean(dim=1))
        expected[MODULATED] += [int(sample.pred_label) for sample
                                in model.test_step(batch)]
    assert study.predicted == expected
    assert list(expected) == [FRAMES, 'expert 0', 'expert 1', 'expert 2',
                              MERGED, MODULATED]
    assert len({tuple(found) for found in expected.values()}) > 3
    assert study.labels == [int(sample.gt_label) for batch in clips
                            for sample in batch['data_samples']]


def test_similarities_are_mean_cosines_of_views() -> None:
    model, clips = build(), batches()
    study = study_experts(model, clips)
    found = []  # for each view, (1+E, 2, D)
    for batch in clips:
        frames = frame_features(model, batch)
        temporal = [by_routing(model, frames, e) for e in range(EXPERTS)]
        with torch.no_grad():
            temporal.insert(0, model.neck(frames)[0][1])
        for view in range(len(frames)):
            found.append([(frames[view].mean(0) + part[view].mean(0),
                           part[view].mean(0)) for part in temporal])
    for kind, values in enumerate((study.video_similarity,
                                   study.temporal_similarity)):
        for one in range(1 + EXPERTS):
            for two in range(1 + EXPERTS):
                mean = np.mean([float(F.cosine_similarity(
                    view[one][kind], view[two][kind], dim=0))
                    for view in found])
                assert values[one, two] == pytest.approx(mean, abs=1e-5)
    assert study.experts == [MERGED, 'expert 0', 'expert 1', 'expert 2']
    assert study.temporal_similarity.min() < 0.95


def test_maps_are_cosines_of_video_and_patches_in_the_middle_frame() -> None:
    model, clips = build(), batches((2, 2))
    study = study_experts(model, clips, mapped=[0, 3])
    assert [one.place for one in study.maps] == [0, 3]
    for one, batch, place in zip(study.maps, clips, (0, 1)):
        clip = batch['inputs'][place][0]  # the first view (3, T, H, W)
        assert one.label == int(batch['data_samples'][place].gt_label)
        np.testing.assert_array_equal(one.frame,
                                      clip[:, 2].permute(1, 2, 0).numpy())
        frames = frame_features(model, batch)[place * VIEWS][None]
        encoder = model.backbone.encoder
        mean, std = (torch.tensor(v)[:, None, None] for v in (
            (100., 110., 120.), (50., 60., 70.)))
        with torch.no_grad():
            tokens = encoder(((clip[:, 2] - mean) / std)[None], 1).tokens
            patches = encoder.ln_post(tokens[0, 1:]) @ encoder.proj
        videos = {f'expert {e}': frames + by_routing(model, frames, e)
                  for e in range(EXPERTS)}
        videos[FRAMES] = frames
        with torch.no_grad():
            videos[MERGED] = frames + model.neck(frames)[0][1]
        assert one.cosines.keys() == videos.keys()
        for name, video in videos.items():
            for row in range(3):
                for column in range(3):
                    cosine = F.cosine_similarity(
                        video[0].mean(0), patches[3 * row + column], dim=0)
                    assert one.cosines[name][row, column] == pytest.approx(
                        float(cosine), abs=1e-5)


def test_the_frame_shown_is_the_one_whose_patches_are_compared() -> None:
    model = build(dict(adapters=[dict(type='InTI', layers=[1])]))
    batch, = batches((1, ))
    found, = study_experts(model, [batch], [0]).maps
    # Frames 2 and 3 of 4 are merged into the second of 2.
    np.testing.assert_array_equal(
        found.frame, batch['inputs'][0][0, :, 2].permute(1, 2, 0).numpy())


def test_the_encoder_runs_once_for_each_batch() -> None:
    model, clips = build(), batches((2, 1, 2))
    with mock.patch.object(type(model.backbone), 'forward',
                           autospec=True,
                           side_effect=type(model.backbone).forward) as run:
        study_experts(model, clips, [1])
    assert run.call_count == 3


def test_views_in_several_parts_give_the_same() -> None:
    clips = batches((1, 1))
    model = build()
    whole = study_experts(model, clips, [1])
    model.test_cfg = dict(max_testing_views=1)
    parts = study_experts(model, clips, [1])
    assert parts.predicted == whole.predicted
    np.testing.assert_allclose(parts.temporal_similarity,
                               whole.temporal_similarity, atol=1e-5)
    np.testing.assert_array_equal(parts.maps[0].frame, whole.maps[0].frame)
    for name, values in whole.maps[0].cosines.items():
        np.testing.assert_allclose(parts.maps[0].cosines[name], values,
                                   atol=1e-5)


def test_merged_is_merged_as_the_config_says() -> None:
    model = build(neck=dict(merge_weights=[0., 0., 1.]))
    study = study_experts(model, batches((4, )))
    assert study.predicted[MERGED] == study.predicted['expert 2']
    assert study.video_similarity[0, 3] == pytest.approx(1, abs=1e-5)
    assert study.video_similarity[0, 1] < 0.999


def test_accuracies_are_shares_of_videos_and_of_those_of_a_class() -> None:
    study = study_experts(build(), batches())
    study.labels = [4, 4, 1]
    study.predicted = {MERGED: [4, 0, 1], 'expert 0': [0, 0, 0]}
    assert study.accuracy() == {MERGED: pytest.approx(2 / 3), 'expert 0': 0}
    assert study.class_accuracy() == {1: {MERGED: 1, 'expert 0': 0},
                                      4: {MERGED: .5, 'expert 0': 0}}


def test_the_model_is_left_as_it_was() -> None:
    model = build().train()
    model.backbone.eval()
    modes = [module.training for module in model.modules()]
    before = {key: value.clone() for key, value in model.state_dict().items()}
    state = torch.get_rng_state()
    clips = batches((1, ))
    torch.set_rng_state(state)
    study_experts(model, clips, [0])
    assert torch.equal(torch.get_rng_state(), state)  # drew nothing
    assert [module.training for module in model.modules()] == modes
    for key, value in model.state_dict().items():
        assert torch.equal(value, before[key]), key
    assert model.cls_head.modulate and not model.neck.merged
    assert not any(module._forward_hooks or module._forward_pre_hooks
                   for module in model.neck.modules())


def test_other_heads_and_backbones_have_no_modulation_and_no_maps() -> None:
    encoder = dict(arch=dict(
        embed_dims=32, num_layers=2, num_heads=2, patch_size=PATCH,
        image_size=SIZE, output_dims=WIDTH), act='quick_gelu', weights=None)
    init_default_scope('mmaction')
    model = MODELS.build(dict(
        type='Recognizer3D',
        backbone=dict(type='SideCLIPViT', encoder=encoder, num_frames=4,
                      side_dims=16, preset='side4video'),
        neck=dict(type='MoTE', embed_dims=16, num_layers=1, num_experts=2),
        cls_head=dict(type='LinearHead', in_channels=16,
                      num_classes=CLASSES, average_clips='prob'),
        data_preprocessor=dict(type='ActionDataPreprocessor',
                               format_shape='NCTHW'))).eval()
    assert not has_patches(model)
    study = study_experts(model, batches((2, )))
    assert list(study.predicted) == [FRAMES, 'expert 0', 'expert 1', MERGED]
    assert study.maps == []
    with pytest.raises(ValueError, match='SideCLIPViT has no patch tokens'):
        study_experts(model, batches((2, )), [0])


def test_what_cannot_be_compared_is_refused() -> None:
    plain = build(neck=dict(num_experts=0))
    with pytest.raises(ValueError, match='no experts of MoTE .* num_experts'):
        study_experts(plain, batches())
    model = build(head=dict(average_clips=None))
    with pytest.raises(ValueError, match='set model.cls_head.average_clips'):
        study_experts(model, batches())
    assert not model.neck.merged and model.cls_head.modulate
    with pytest.raises(ValueError, match='no video to look at'):
        study_experts(build(), [])
    batch, = batches((1, ))
    batch['data_samples'][0].set_gt_label([0, 1])
    with pytest.raises(ValueError, match='one class for each video'):
        study_experts(build(), [batch])
    model.cls_head = nn.Linear(2, 2)
    with pytest.raises(ValueError, match='Linear does not take frame'):
        study_experts(model, batches())
