"""The configs of TDS-CLIP say what the paper's tables say, row by row."""

import math
from functools import lru_cache

import pytest
import torch
from mmaction.registry import MODELS
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from torch import nn

from mmvidadapt.models.side import DifferenceGate
from tests.conftest import ROOT
from tests.test_configs import learning_rates, load, sampled, window
from tests.tiny import SIZE, shrink_model

ABLATIONS = sorted(
    path.stem for path in (ROOT / 'configs/tds_clip').glob('vitb_ssv1*.py'))


def config(name: str) -> Config:
    return load(f'tds_clip/{name}.py')


@pytest.mark.parametrize(
    'name, arch, frames, side_dims, classes, epochs, lr, clips', [
        # Table 1
        ('vitb_ssv1', 'ViT-B-16', 8, 320, 174, 40, 1e-3, 2),
        ('vitb_ssv1_16f', 'ViT-B-16', 16, 320, 174, 40, 1e-3, 2),
        ('vitl_ssv1', 'ViT-L-14', 8, 512, 174, 30, 1e-4, 2),
        ('vitb_ssv2', 'ViT-B-16', 8, 320, 174, 30, 1e-3, 2),
        ('vitb_ssv2_16f', 'ViT-B-16', 16, 320, 174, 30, 1e-3, 2),
        ('vitl_ssv2', 'ViT-L-14', 8, 512, 174, 30, 1e-4, 2),
        # Table 2
        ('vitb_k400', 'ViT-B-16', 8, 320, 400, 30, 1e-3, 4),
        ('vitb_k400_32f', 'ViT-B-16', 32, 320, 400, 30, 1e-3, 4),
        ('vitl_k400', 'ViT-L-14', 8, 512, 400, 30, 1e-4, 4),
        # Side4Video, by its own report
        ('vitb_ssv1_side4video', 'ViT-B-16', 8, 320, 174, 40, 1e-3, 2),
        ('vitb_ssv2_side4video', 'ViT-B-16', 8, 320, 174, 30, 1e-3, 2),
        ('vitb_k400_side4video', 'ViT-B-16', 8, 320, 400, 30, 1e-3, 4),
        # Not in the papers
        ('vitb32_ssv2', 'ViT-B-32', 8, 320, 174, 30, 1e-3, 2),
        ('vitb32_ssv2_side4video', 'ViT-B-32', 8, 320, 174, 30, 1e-3, 2),
    ])
def test_rows_of_the_tables_have_their_recipe(
        name: str, arch: str, frames: int, side_dims: int, classes: int,
        epochs: int, lr: float, clips: int) -> None:
    cfg = config(name)
    backbone, head = cfg.model.backbone, cfg.model.cls_head
    assert backbone.encoder == dict(
        arch=arch, act='quick_gelu', weights='openai')
    assert (backbone.num_frames, backbone.side_dims) == (frames, side_dims)
    assert (head.num_classes, head.in_channels) == (classes, side_dims)
    assert head.label_smooth_eps == 0.1
    assert window(cfg) == (1 if 'side4video' in name else 5)
    assert cfg.train_cfg.max_epochs == epochs
    assert cfg.optim_wrapper.optimizer.lr == lr
    views = sampled(cfg.test_pipeline)
    assert views['num_clips'] == clips
    assert [s.type for s in cfg.test_pipeline].count('WideThreeCrop') == 1


@pytest.mark.parametrize('name', ['vitb_ssv1', 'vitb_ssv2', 'vitb_k400'])
def test_each_step_sees_256_clips_in_pairs_of_the_same_frames(
        name: str) -> None:
    cfg = config(name)
    copies = cfg.train_pipeline[-1]
    assert copies.type == 'RepeatAugment'
    assert copies.num_copies * cfg.auto_scale_lr.base_batch_size == 256
    assert cfg.train_dataloader.collate_fn.type == 'repeat_pseudo_collate'


def test_side4video_sees_256_videos_of_kinetics_once() -> None:
    cfg = config('vitb_k400_side4video')
    assert cfg.train_pipeline[-1].num_copies == 1
    assert cfg.auto_scale_lr.base_batch_size == 256
    assert cfg.train_dataloader.batch_size == 32


def test_something_is_augmented_at_random_and_flipped_with_its_label(
        ) -> None:
    for version in ('1', '2'):
        cfg = config(f'vitb_ssv{version}')
        steps = {s.type: s for s in cfg.train_pipeline[-1].transforms}
        assert steps['ClipRandAugment'].config == 'rand-m7-n4-mstd0.5-inc1'
        assert steps['LabelAwareFlip'].classes == f'sthv{version}'
        assert 'ClipGrayscale' not in steps and 'Flip' not in steps


def test_kinetics_is_flipped_and_sometimes_grey() -> None:
    steps = {s.type: s
             for s in config('vitb_k400').train_pipeline[-1].transforms}
    assert steps['ClipGrayscale'].prob == 0.2
    assert steps['Flip'].flip_ratio == 0.5
    assert 'ClipRandAugment' not in steps


@pytest.mark.parametrize('name, epochs, lr', [
    ('vitb_ssv1', 40, 1e-3), ('vitb_k400', 30, 1e-3),
    ('vitl_ssv1', 30, 1e-4)])
def test_schedule_is_a_warm_up_from_0_and_then_a_cosine_to_0(
        name: str, epochs: int, lr: float) -> None:
    rates = learning_rates(f'tds_clip/{name}.py', epochs, 10)
    assert rates[:4] == pytest.approx([lr * e / 4 for e in range(4)])
    rest = epochs - 4
    assert rates[4:] == pytest.approx([
        lr / 2 * (1 + math.cos(math.pi * e / rest))
        for e in range(rest)])


def test_everything_that_trains_is_decayed_and_nothing_else() -> None:
    cfg = config('vitb_ssv1')
    shrink_model(cfg)
    assert cfg.optim_wrapper.type == 'AmpOptimWrapper'
    assert cfg.optim_wrapper.pop('dtype') == 'float16'
    assert cfg.optim_wrapper.pop('loss_scale') == 'dynamic'
    cfg.optim_wrapper.type = 'OptimWrapper'  # float16 is for GPUs
    model = MODELS.build(cfg.model)
    groups = build_optim_wrapper(
        model, cfg.optim_wrapper).optimizer.param_groups
    assert {group['weight_decay'] for group in groups} == {0.15}
    assert {group['betas'] for group in groups} == {(0.9, 0.999)}
    held = {id(p) for group in groups for p in group['params']}
    for name, param in model.named_parameters():
        assert (id(param) in held) != name.startswith('backbone.encoder.'), (
            name)


@lru_cache(maxsize=None)
def facts(name: str) -> tuple:
    """What a real model is made of."""
    with torch.device('meta'):
        side = MODELS.build(config(name).model.backbone)
    gates = [block.temporal.gate for block in side.blocks]
    kinds = {(g.difference, g.kernel_size) for g in gates if g is not None}
    return (
        sum(p.numel() for p in side.parameters() if p.requires_grad),
        side.num_frames, side.window, side.stem.alpha, side.stem.padding,
        [i for i, gate in enumerate(gates) if gate is not None],
        *(kinds or {(None, None)}))


def side4video(dims: int) -> int:
    """Parameters of Side4Video beside ViT-B/16, counted by hand."""
    norm = 2 * dims
    stem = 3 * dims * 3 * 16**2 + dims + norm
    tap = 2 * 768 + (768 + 1) * dims
    temporal = norm + 2 * (dims + 1) * dims + 4 * dims
    attention = norm + 4 * (dims + 1) * dims
    mlp = norm + 8 * dims**2 + 5 * dims
    positions = 14**2 * dims
    return stem + positions + 12 * (tap + temporal + attention + mlp) + norm


def gate(dims: int = 320) -> int:
    """Parameters of one gate."""
    return 2 * dims * (dims // 16) + 2 * (dims // 16 + dims)


def motion(window: int, dims: int = 320) -> int:
    """Parameters of the way of the frame differences."""
    return 3 * dims * (window - 1) * 3 * 16**2 + 3 * dims


def tds(dims: int) -> int:
    """Parameters of the whole side network."""
    return side4video(dims) + 12 * gate(dims) + motion(5, dims)


ALL = list(range(12))
PLAIN, PAPER = side4video(320), tds(320)  # 21.06 M and 24.17 M


@pytest.mark.parametrize('name, expected', [
    ('vitb_ssv1', (PAPER, 8, 5, 1.0, 1, ALL, ('pool', 3))),
    ('vitb_ssv2_published', (PAPER, 8, 5, 0.5, 1, ALL, ('pool', 3))),
    ('vitb_ssv1_16f', (PAPER, 16, 5, 1.0, 1, ALL, ('pool', 3))),
    ('vitb_ssv1_baseline', (PLAIN, 8, 1, 1.0, 1, [], (None, None))),
    ('vitb_ssv1_td', (PLAIN + 12 * gate(), 8, 1, 1.0, 1, ALL, ('pool', 3))),
    ('vitb_ssv1_window-3',
     (PLAIN + 12 * gate() + motion(3), 8, 3, 1.0, 1, ALL, ('pool', 3))),
    ('vitb_ssv1_alpha-0.5', (PAPER, 8, 5, 0.5, 1, ALL, ('pool', 3))),
    ('vitb_ssv1_alpha-1.5', (PAPER, 8, 5, 1.5, 1, ALL, ('pool', 3))),
    # Three weights and a bias for each of 20 channels and 12 layers.
    ('vitb_ssv1_diff-conv',
     (PAPER + 12 * 20 * 4, 8, 5, 1.0, 1, ALL, ('conv', 3))),
    ('vitb_ssv1_diff-direct', (PAPER, 8, 5, 1.0, 1, ALL, ('direct', 3))),
    ('vitb_ssv1_kernel-5', (PAPER, 8, 5, 1.0, 1, ALL, ('pool', 5))),
    ('vitb_ssv1_kernel-7', (PAPER, 8, 5, 1.0, 1, ALL, ('pool', 7))),
    ('vitb_ssv1_dims-128', (tds(128), 8, 5, 1.0, 1, ALL, ('pool', 3))),
    ('vitb_ssv1_dims-512', (tds(512), 8, 5, 1.0, 1, ALL, ('pool', 3))),
    ('vitb_ssv1_td_1-6',
     (PLAIN + 6 * gate(), 8, 1, 1.0, 1, ALL[:6], ('pool', 3))),
    ('vitb_ssv1_td_7-12',
     (PLAIN + 6 * gate(), 8, 1, 1.0, 1, ALL[6:], ('pool', 3))),
    ('vitb_ssv1_side4video', (PLAIN, 8, 1, 1.0, 0, [], (None, None))),
])
def test_each_ablation_is_the_model_it_says(
        name: str, expected: tuple) -> None:
    assert facts(name) == expected


def test_the_side_networks_have_the_published_size() -> None:
    assert (round(PLAIN / 1e6, 2), round(PAPER / 1e6, 2)) == (21.06, 24.17)


def test_no_two_configs_of_ssv1_are_the_same_model() -> None:
    assert len(ABLATIONS) == 16
    assert len({str(facts(name)) for name in ABLATIONS}) == 16


@pytest.mark.parametrize('name', [
    'alpha-0.5', 'alpha-1.5', 'diff-direct', 'kernel-5', 'kernel-7'])
def test_switches_without_weights_change_the_output(name: str) -> None:
    outputs = []
    clip = torch.randn(1, 3, 8 * 5, SIZE, SIZE)
    for variant in ('vitb_ssv1', f'vitb_ssv1_{name}'):
        cfg = config(variant)
        shrink_model(cfg)
        side = MODELS.build(cfg.model.backbone).eval()
        if not outputs:
            # Else a gate that nothing has trained yet says little.
            for gate in side.modules():
                if isinstance(gate, DifferenceGate):
                    nn.init.normal_(gate.fc2.weight)
            state = side.state_dict()
            del state['switches']  # which would be refused
        side.load_state_dict(state)
        with torch.no_grad():
            outputs.append(side(clip))
    assert (outputs[0] - outputs[1]).norm() > 1e-4 * outputs[0].norm()


def test_the_published_preset_only_weighs_the_differences_less() -> None:
    mine, theirs = config('vitb_ssv2'), config('vitb_ssv2_published')
    theirs.model.backbone.preset = 'paper'
    assert mine.to_dict() == theirs.to_dict()
