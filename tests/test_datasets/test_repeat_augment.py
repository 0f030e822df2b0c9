"""Two augmented copies of a video, with every decoder and with frames."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmaction.registry import DATASETS
from mmengine.config import Config
from mmengine.dataset import DefaultSampler
from mmengine.registry import FUNCTIONS, init_default_scope
from torch.utils.data import DataLoader
from toy_videos import write_video

from mmvidadapt.datasets import BrokenVideoError, guard_reading
from mmvidadapt.datasets.sample_fetcher import (
    BrokenCount,
    EpochStamper,
    SampleFetcher,
)
from mmvidadapt.datasets.synthetic import use_synthetic_data
from mmvidadapt.datasets.transforms import RepeatAugment

AUGMENT = [
    dict(type='ClipRandAugment', config='rand-m7-n4-mstd0.5-inc1'),
    dict(type='Resize', scale=(40, 36), keep_ratio=False),
    dict(type='RandomResizedCrop', area_range=(0.08, 1.0)),
    dict(type='Resize', scale=(32, 32), keep_ratio=False),
    dict(type='LabelAwareFlip', classes='sthv2', flip_ratio=0.5),
    dict(type='FormatShape', input_format='NCTHW'),
    dict(type='PackActionInputs')]
WINDOW = dict(type='LocalWindow', window=3,
              sampler=dict(type='SomethingSample', clip_len=2))


@pytest.fixture(autouse=True, scope='module')
def _scope() -> None:
    """Types without a prefix are MMAction2's."""
    init_default_scope('mmaction')


def videos(folder: Path, reader: str = 'Decord', **repeat) -> object:
    """Four videos of labels 86 to 89."""
    lines = [f'{write_video(folder / f"{label}.mp4", 20)} {label}\n'
             for label in range(86, 90)]
    (folder / 'list.txt').write_text(''.join(lines))
    return DATASETS.build(dict(
        type='VideoDataset', ann_file=str(folder / 'list.txt'),
        serialize_data=False, pipeline=[
            dict(type=f'{reader}Init'), WINDOW, dict(type=f'{reader}Decode'),
            dict(type='RepeatAugment', **{'transforms': AUGMENT, **repeat})]))


def folders(root: Path) -> object:
    """Four folders of frames of labels 86 to 89."""
    lines = []
    for label in range(86, 90):
        (root / str(label)).mkdir()
        for number in range(1, 9):
            image = np.random.RandomState(label + number).randint(
                0, 255, (48, 64, 3), dtype=np.uint8)
            cv2.imwrite(str(root / f'{label}/{number:05}.jpg'), image)
        lines.append(f'{label} 8 {label}\n')
    (root / 'list.txt').write_text(''.join(lines))
    return DATASETS.build(dict(
        type='RawframeDataset', ann_file=str(root / 'list.txt'),
        data_prefix=dict(img=str(root)), filename_tmpl='{:05}.jpg',
        pipeline=[WINDOW, dict(type='RawFrameDecode'),
                  dict(type='RepeatAugment', transforms=AUGMENT)]))


def batches(dataset: object, workers: int = 0, epoch: int = 0) -> list:
    """One epoch, fetched as SampleGuardHook has it done."""
    guard_reading(dataset)
    dataset.__getitems__ = SampleFetcher(
        dataset, 3, BrokenCount(1, torch.multiprocessing.get_context()))
    sampler = EpochStamper(DefaultSampler(dataset, shuffle=True, seed=0))
    sampler.epoch = epoch
    return list(DataLoader(
        dataset, batch_size=2, sampler=sampler, num_workers=workers,
        collate_fn=FUNCTIONS.get('repeat_pseudo_collate')))


@pytest.mark.parametrize('source', ['Video', 'Decord', 'OpenCV', 'PyAV',
                                    'frames'])
def test_both_copies_of_a_video_are_augmented_each_in_its_own_way(
        source, tmp_path):
    dataset = (folders(tmp_path) if source == 'frames'
               else videos(tmp_path, source))
    found = batches(dataset)
    assert len(found) == 2
    for batch in found:
        assert [clip.shape for clip in batch['inputs']] == [
            (1, 3, 6, 32, 32)] * 4
        assert {clip.dtype for clip in batch['inputs']} == {torch.uint8}
        for first, second in (batch['inputs'][:2], batch['inputs'][2:]):
            assert not torch.equal(first, second)
    labels = [sample.gt_label.item() for batch in found
              for sample in batch['data_samples']]
    swap = {86: 87, 87: 86}
    for first, second in zip(labels[::2], labels[1::2]):
        assert second in (first, swap.get(first, first))


def test_without_augmentation_all_copies_show_the_same_frames(tmp_path):
    plain = [AUGMENT[1], *AUGMENT[5:]]
    for batch in batches(videos(tmp_path, transforms=plain, num_copies=3)):
        assert len(batch['inputs']) == 6
        for copies in (batch['inputs'][:3], batch['inputs'][3:]):
            assert torch.equal(copies[0], copies[1])
            assert torch.equal(copies[0], copies[2])


def test_a_step_that_works_in_place_touches_its_own_copy_only():
    def blacken(results: dict) -> dict:
        seen.append(results['imgs'][0].max())
        results['imgs'][0][:] = 0
        results['label'] += 1
        return results

    seen: list = []
    sample = dict(imgs=[np.full((2, 2, 3), 9, dtype=np.uint8)], label=0)
    copies = RepeatAugment(3, [blacken])(sample)
    assert seen == [9, 9, 9]
    assert [copy['label'] for copy in copies] == [1, 1, 1]
    assert sample['imgs'][0].max() == 9


def test_copies_are_the_same_for_any_number_of_workers(tmp_path):
    dataset = videos(tmp_path)
    here, there = batches(dataset), batches(dataset, workers=2)
    for one, two in zip(here, there):
        assert all(torch.equal(a, b)
                   for a, b in zip(one['inputs'], two['inputs']))
        assert ([s.gt_label for s in one['data_samples']]
                == [s.gt_label for s in two['data_samples']])
    later = batches(dataset, epoch=1)
    assert not torch.equal(here[0]['inputs'][0], later[0]['inputs'][0])


def test_a_broken_video_is_named_or_replaced_with_all_its_copies(tmp_path):
    dataset = videos(tmp_path)
    (tmp_path / '88.mp4').write_bytes(b'')
    labels = [sample.gt_label.item() for batch in batches(dataset)
              for sample in batch['data_samples']]
    assert len(labels) == 8 and 88 not in labels
    with pytest.raises(BrokenVideoError, match='88.mp4 is empty'):
        dataset[2]


def test_generated_clips_run_through_it(tmp_path):
    for reader in ('Decord', None):
        steps = [dict(type='DecordInit'), WINDOW, dict(type='DecordDecode')
                 ] if reader else [WINDOW, dict(type='RawFrameDecode')]
        cfg = Config(dict(
            model=dict(cls_head=dict(num_classes=174)),
            train_dataloader=dict(dataset=dict(
                type='VideoDataset', ann_file='none', pipeline=[
                    *steps, dict(type='RepeatAugment',
                                 transforms=AUGMENT)]))))
        use_synthetic_data(cfg, 4)
        dataset = DATASETS.build(cfg.train_dataloader.dataset)
        for batch in batches(dataset):
            assert len(batch['inputs']) == 4
            assert batch['inputs'][0].shape == (1, 3, 6, 32, 32)


@pytest.mark.parametrize('workers', [0, 1])
def test_copies_that_the_loader_leaves_together_are_an_error(
        workers, tmp_path):
    """MMEngine's default, which is what a config without the line has."""
    loader = DataLoader(videos(tmp_path), batch_size=2, num_workers=workers,
                        collate_fn=FUNCTIONS.get('pseudo_collate'))
    with pytest.raises(ValueError, match='ends in RepeatAugment, and the '
                       'data loader does not take its copies apart: add '
                       r"collate_fn=dict\(type='repeat_pseudo_collate'\)"):
        next(iter(loader))


def test_its_place_is_after_the_decoder():
    with pytest.raises(ValueError, match='found no imgs to augment: put it '
                       'after the transform that decodes'):
        RepeatAugment(transforms=AUGMENT)(dict(frame_inds=[1]))


def test_no_copy_at_all_is_refused():
    with pytest.raises(ValueError, match='num_copies is 0: ask for at least'):
        RepeatAugment(0)


def test_it_shows_its_arguments():
    shown = repr(RepeatAugment(2, [dict(type='ClipGrayscale')]))
    assert shown.startswith('RepeatAugment(num_copies=2, ')
    assert 'ClipGrayscale(prob=0.2)' in shown
