"""Every config builds, runs forward and backward, and is complete."""

import math
from pathlib import Path

import pytest
import torch
from mmaction.registry import MODELS, PARAM_SCHEDULERS, TRANSFORMS
from mmaction.structures import ActionDataSample
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmengine.registry import init_default_scope

from mmvidadapt.datasets.class_lists import class_names
from mmvidadapt.models.backbones.side_clip_vit import PRESETS
from tests.conftest import ROOT
from tests.tiny import SIZE, describe_classes, files, shrink_model, splits

CONFIGS = sorted(
    path.relative_to(ROOT / 'configs')
    for path in (ROOT / 'configs').rglob('*.py')
    if path.relative_to(ROOT / 'configs').parts[0] != '_base_')
PUBLISHED = [path for path in CONFIGS if path.parts[0] != 'quickstart']


#: GPUs of the published runs, where they are not 8.
GPUS = {'mote': 3, 'mixed/vitb_k400_inti-mote.py': 3}


def load(path: str | Path) -> Config:
    init_default_scope('mmaction')
    return Config.fromfile(ROOT / 'configs' / path)


def test_all_configs_are_found() -> None:
    assert len([p for p in PUBLISHED if p.parts[0] == 'inti']) == 43
    assert len([p for p in PUBLISHED if p.parts[0] == 'tds_clip']) == 28
    assert len([p for p in PUBLISHED if p.parts[0] == 'mote']) == 45
    assert len([p for p in PUBLISHED if p.parts[0] == 'mixed']) == 7


def num_classes(cfg: Config) -> int:
    """Classes of the head of a config."""
    head = cfg.model.cls_head
    return (len(class_names(head.classes)) if head.type == 'TextHead'
            else head.num_classes)


def window(cfg: Config) -> int:
    """Frames that stand for one frame of the clip."""
    backbone = cfg.model.backbone
    if backbone.type != 'SideCLIPViT':
        return 1
    return backbone.get('window') or PRESETS[backbone.preset]['window']


def sampled(pipeline: list) -> dict:
    """What a pipeline asks its decoder for, of a video of 100 frames."""
    results = dict(total_frames=100, start_index=0)
    for step in pipeline:
        if step.type.endswith('Decode'):
            return results
        if not step.type.endswith('Init'):
            results = TRANSFORMS.build(step)(results)
    raise AssertionError('nothing decodes')


def train_step(model: torch.nn.Module, cfg: Config) -> tuple:
    """Forward and backward, as a tiny config has them.

    Args:
        model (torch.nn.Module): The model of the config.
        cfg (Config): The config, after :func:`shrink_model`.

    Returns:
        tuple: Frames and samples that it saw.
    """
    num_frames = cfg.model.backbone.num_frames * window(cfg)
    frames = torch.randint(
        0, 255, (2, 1, 3, num_frames, SIZE, SIZE), dtype=torch.uint8)
    samples = [ActionDataSample().set_gt_label(i) for i in range(2)]
    batch = dict(inputs=list(frames), data_samples=samples)
    data = model.data_preprocessor(batch, training=True)
    losses = model(**data, mode='loss')
    loss, _ = model.parse_losses(losses)
    loss.backward()
    return frames, samples


@pytest.mark.parametrize('path', PUBLISHED, ids=str)
def test_model_runs_forward_and_backward(path: Path,
                                         tmp_path: Path) -> None:
    cfg = load(path)
    shrink_model(cfg)
    describe_classes(cfg, tmp_path)
    model = MODELS.build(cfg.model)
    frames, samples = train_step(model, cfg)
    lonely = [name for name, p in model.named_parameters()
              if p.requires_grad and p.grad is None]
    # Else a distributed run would stop in its second step.
    assert bool(lonely) == cfg.get('find_unused_parameters', False), lonely
    model.eval()
    batch = dict(inputs=list(frames), data_samples=samples)
    data = model.data_preprocessor(batch, training=False)
    with torch.no_grad():
        found = model(**data, mode='predict')
    scores = torch.stack([s.pred_score for s in found])
    assert scores.shape == (2, num_classes(cfg))
    assert scores.sum(dim=1) == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize('path', PUBLISHED, ids=str)
def test_config_is_complete(path: Path) -> None:
    cfg = load(path)
    assert cfg.custom_imports.imports == ['mmvidadapt']
    assert splits(cfg) == (
        ['test'] if 'zeroshot' in path.stem else ['train', 'val', 'test'])
    for split in splits(cfg):
        for step in files(cfg[f'{split}_dataloader']).pipeline:
            TRANSFORMS.build(step)
    for split in set(splits(cfg)) - {'train'}:
        dataset = cfg[f'{split}_dataloader'].dataset
        assert list(dataset.data_prefix.values()) == [cfg.data_root_val]
        assert dataset.ann_file == cfg.ann_file_val
    if 'train' in splits(cfg):
        # One node of GPUs, the batch of one step.
        assert cfg.auto_scale_lr.base_batch_size == (
            GPUS.get(str(path), GPUS.get(path.parts[0], 8))
            * cfg.train_dataloader.batch_size)
        dataset = files(cfg.train_dataloader)
        assert list(dataset.data_prefix.values()) == [cfg.data_root]
    num_frames = cfg.model.backbone.num_frames * window(cfg)
    for split in splits(cfg):
        # init_recognizer and the Inferencer read it at the top level.
        pipeline = cfg[f'{split}_pipeline']
        assert pipeline == files(cfg[f'{split}_dataloader']).pipeline
        frames = sampled(pipeline)
        assert frames['clip_len'] == num_frames
        assert len(frames['frame_inds']) == num_frames * frames['num_clips']
    blending = cfg.model.data_preprocessor.get('blending')
    for augment in blending.augments if blending else ():
        assert augment.num_classes == num_classes(cfg)


def learning_rates(path: str, epochs: int, steps: int) -> list:
    """The learning rate at the first step of each epoch."""
    cfg = load(path)
    wrapper = torch.nn.Linear(1, 1)
    optimizer = torch.optim.AdamW(
        wrapper.parameters(), lr=cfg.optim_wrapper.optimizer.lr)
    schedulers = []
    for scheduler in cfg.param_scheduler:
        scheduler = dict(scheduler)
        if scheduler.pop('convert_to_iter_based', False):
            cls = PARAM_SCHEDULERS.get(scheduler.pop('type'))
            schedulers.append(cls.build_iter_from_epoch(
                optimizer=optimizer, epoch_length=steps, **scheduler))
    rates = []
    for step in range(epochs * steps):
        if step % steps == 0:
            rates.append(optimizer.param_groups[0]['lr'])
        optimizer.step()
        for scheduler in schedulers:
            scheduler.step()
    return rates


def test_k400_schedule_is_a_warm_up_under_a_cosine_from_step_0() -> None:
    rates = learning_rates('inti/vitb_k400.py', 30, 10)
    lr = 2.2e-5
    cosine = [lr / 100 + (lr - lr / 100) / 2 * (
        1 + math.cos(math.pi * e / 30))
        for e in range(30)]
    assert rates[:5] == pytest.approx([lr * e / 5 for e in range(5)])
    assert rates[5:] == pytest.approx(cosine[5:], rel=1e-5)


def test_ssv2_schedule_is_a_warm_up_and_then_a_cosine() -> None:
    rates = learning_rates('inti/vitb_ssv2_temp.py', 22, 10)
    low, high = 1e-6, 2e-5
    assert rates[:5] == pytest.approx(
        [low + (high - low) * e / 5 for e in range(5)])
    assert rates[5:] == pytest.approx([
        low + (high - low) / 2 * (1 + math.cos(math.pi * e / 17))
        for e in range(17)])


def test_ssv2_recipe_decays_no_vector() -> None:
    cfg = load('inti/vitb_ssv2_temp.py')
    shrink_model(cfg)
    cfg.optim_wrapper.type = 'OptimWrapper'
    cfg.optim_wrapper.pop('dtype')
    model = MODELS.build(cfg.model)
    wrapper = build_optim_wrapper(model, cfg.optim_wrapper)
    decayed = {id(p) for group in wrapper.optimizer.param_groups
               if group['weight_decay'] for p in group['params']}
    for name, param in model.named_parameters():
        assert (id(param) in decayed) == (param.dim() > 1), name
