"""The data configs of TDS-CLIP: sizes, views, and a run on real files."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmaction.registry import DATASETS
from mmengine.config import Config
from mmengine.registry import init_default_scope
from toy_recognizer import toy_runner
from toy_videos import write_video

from mmvidadapt.datasets.synthetic import use_synthetic_data
from tests.conftest import ROOT

FOLDER = ROOT / 'configs' / '_base_' / 'datasets'
NAMES = ('ssv1_tds', 'ssv2_tds', 'k400_tds')
SPLITS = ('train', 'val', 'test')


def load(name: str) -> Config:
    """One of the data configs, with a head of as many classes."""
    init_default_scope('mmaction')
    cfg = Config.fromfile(FOLDER / f'{name}.py')
    cfg.model = dict(cls_head=dict(
        num_classes=400 if name == 'k400_tds' else 174))
    return cfg


def steps(pipeline: list) -> list:
    """All steps of a pipeline, those inside RepeatAugment included."""
    found = []
    for step in pipeline:
        found += [step, *steps(step.get('transforms', []))]
    return found


@pytest.mark.parametrize('name', NAMES)
def test_clips_and_views_have_the_sizes_of_the_protocol(name):
    cfg = load(name)
    use_synthetic_data(cfg, 2)
    np.random.seed(0)
    copies = DATASETS.build(cfg.train_dataloader.dataset)[0]
    assert [copy['inputs'].shape for copy in copies] == [
        (1, 3, 40, 224, 224)] * 2
    assert not torch.equal(copies[0]['inputs'], copies[1]['inputs'])
    for split, views in (('val', 1), ('test', 12 if 'k400' in name else 6)):
        clip = DATASETS.build(cfg[f'{split}_dataloader'].dataset)[0]['inputs']
        assert clip.shape == (views, 3, 40, 224, 224)
        assert clip.dtype == torch.uint8


@pytest.mark.parametrize('name', NAMES)
def test_settings_are_those_of_the_published_program(name):
    cfg = load(name)
    something = name != 'k400_tds'
    train = {step.type: step for step in steps(cfg.train_pipeline)}
    assert cfg.train_dataloader.batch_size == 16
    assert train['RepeatAugment'].num_copies == 2
    assert ('ClipRandAugment' in train) == something
    assert ('ClipGrayscale' in train) == (not something)
    if something:
        assert train['ClipRandAugment'].config == 'rand-m7-n4-mstd0.5-inc1'
        assert train['LabelAwareFlip'].classes == 'sthv' + name[3]
        # On the frames as they were decoded, before any resizing.
        order = [step.type for step in steps(cfg.train_pipeline)]
        assert order.index('ClipRandAugment') < order.index('Resize')
    rule = 'SomethingSample' if something else 'KineticsSample'
    place = 0 if name == 'ssv1_tds' else 1
    for split in SPLITS:
        window = cfg[f'{split}_pipeline'][place]
        assert (window.type, window.window) == ('LocalWindow', 5)
        assert (window.sampler.type, window.sampler.clip_len) == (rule, 8)
        assert window.sampler.get('test_mode', False) == (split != 'train')
        resize = next(step for step in steps(cfg[f'{split}_pipeline'])
                      if step.type == 'Resize')
        assert resize.interpolation == 'bicubic'
        # Width and height: the frames of Something are 256 x 320.
        assert resize.scale == ((320, 256) if something else (-1, 256))
        dataset = cfg[f'{split}_dataloader'].dataset
        assert dataset.pipeline == cfg[f'{split}_pipeline']
        assert dataset.ann_file == cfg[
            'ann_file_train' if split == 'train' else 'ann_file_val']


@pytest.mark.parametrize('name', NAMES)
def test_a_config_that_inherits_can_change_the_number_of_frames(name,
                                                                tmp_path):
    place = 0 if name == 'ssv1_tds' else 1
    path = tmp_path / 'vitb_16f.py'
    lines = [f'_base_ = [{str(FOLDER / name) + ".py"!r}]']
    for split in SPLITS:
        pipeline = f'{split}_pipeline'
        lines += [
            f'{pipeline} = _base_.{pipeline}',
            f'{pipeline}[{place}].sampler.clip_len = 16',
            f'{split}_dataloader = dict(dataset=dict(pipeline={pipeline}))']
    path.write_text('\n'.join(lines))
    cfg, plain = Config.fromfile(path), load(name)
    for split in SPLITS:
        for old, new in (
                (plain[f'{split}_pipeline'], cfg[f'{split}_pipeline']),
                (plain[f'{split}_dataloader'].dataset.pipeline,
                 cfg[f'{split}_dataloader'].dataset.pipeline)):
            assert new[place].sampler.clip_len == 16
            old[place].sampler.clip_len = 16
            assert new == old


def write_data(cfg: Config, folder: Path) -> None:
    """Four videos or folders of frames in place of the data set."""
    raw = cfg.dataset_type == 'RawframeDataset'
    lines = []
    for label in range(4):
        if raw:
            (folder / str(label)).mkdir()
            for number in range(1, 13):
                cv2.imwrite(
                    str(folder / f'{label}/{number:05}.jpg'),
                    np.full((48, 64, 3), 9 * number, dtype=np.uint8))
            lines.append(f'{label} 12 {label}\n')
        else:
            write_video(folder / f'{label}.mp4', 20)
            lines.append(f'{label}.mp4 {label}\n')
    (folder / 'list.txt').write_text(''.join(lines))
    for split in SPLITS:
        loader = cfg[f'{split}_dataloader']
        loader.update(batch_size=2, num_workers=0, persistent_workers=False)
        loader.dataset.ann_file = str(folder / 'list.txt')
        key, = loader.dataset.data_prefix
        loader.dataset.data_prefix[key] = str(folder)


def shrink(cfg: Config) -> None:
    """Smaller frames and fewer of them, all else as it is."""
    for split in SPLITS:
        for step in steps(cfg[f'{split}_dataloader'].dataset.pipeline):
            if 'sampler' in step:
                step.sampler.clip_len = 2
            if 'crop_size' in step:
                step.crop_size = 24
            if step.type == 'Resize':
                step.scale = {(320, 256): (34, 28), (-1, 256): (-1, 28),
                              (224, 224): (24, 24)}[tuple(step.scale)]


@pytest.mark.parametrize('name', NAMES)
def test_a_run_trains_validates_and_tests_on_real_files(name, tmp_path):
    cfg = load(name)
    write_data(cfg, tmp_path)
    shrink(cfg)
    shapes = []
    runner = toy_runner(
        tmp_path / 'run', custom_hooks=[dict(type='SampleGuardHook')],
        **{'train_cfg.max_epochs': 1,
           'model.cls_head.num_classes': cfg.model.cls_head.num_classes,
           **{f'{split}_dataloader': cfg[f'{split}_dataloader']
              for split in SPLITS}})
    runner.model.backbone.register_forward_pre_hook(
        lambda module, inputs: shapes.append(tuple(inputs[0].shape)))
    runner.train()
    views = 12 if name == 'k400_tds' else 6
    # Two copies of two videos, twice; then one view of each of two.
    assert shapes == [(4, 3, 10, 24, 24)] * 2 + [(2, 3, 10, 24, 24)] * 2
    shapes.clear()
    runner.test()
    assert shapes == [(2 * views, 3, 10, 24, 24)] * 2
