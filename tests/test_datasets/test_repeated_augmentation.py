"""MMAction2's repeated augmentation with our transforms and our guard."""

from pathlib import Path

import numpy as np
import pytest
import torch
from mmaction.registry import DATASETS
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


@pytest.fixture(autouse=True, scope='module')
def _scope() -> None:
    """Types without a prefix are MMAction2's."""
    init_default_scope('mmaction')


def repeated(folder: Path, sample_once: bool = True,
             num_videos: int = 4) -> object:
    """Two copies of each video with UniFormerV2's augmentation."""
    lines = [f'{write_video(folder / f"{place}.mp4", 20)} {place}\n'
             for place in range(num_videos)]
    (folder / 'list.txt').write_text(''.join(lines))
    return DATASETS.build(dict(
        type='RepeatAugDataset', num_repeats=2, sample_once=sample_once,
        ann_file=str(folder / 'list.txt'), serialize_data=False,
        pipeline=[
            dict(type='DecordInit'),
            dict(type='UniformSample', clip_len=4),
            dict(type='DecordDecode'),
            dict(type='Resize', scale=(-1, 36)),
            dict(type='ClipRandAugment', config='rand-m7-n4-mstd0.5-inc1'),
            dict(type='RandomResizedCrop', area_range=(0.08, 1.0)),
            dict(type='Resize', scale=(32, 32), keep_ratio=False),
            dict(type='ClipColorJitter', prob=1.0),
            dict(type='FormatShape', input_format='NCTHW'),
            dict(type='PackActionInputs')]))


def batches(dataset: object, workers: int, epoch: int = 0) -> list[dict]:
    """One epoch, fetched as the hook has it done."""
    guard_reading(dataset)
    dataset.__getitems__ = SampleFetcher(
        dataset, 3, BrokenCount(1, torch.multiprocessing.get_context()))
    sampler = EpochStamper(DefaultSampler(dataset, shuffle=True, seed=0))
    sampler.epoch = epoch
    return list(DataLoader(
        dataset, batch_size=2, sampler=sampler, num_workers=workers,
        collate_fn=FUNCTIONS.get('repeat_pseudo_collate')))


@pytest.mark.parametrize('sample_once', [True, False])
def test_both_copies_of_a_video_are_augmented_each_in_its_own_way(
        sample_once, tmp_path):
    found = batches(repeated(tmp_path, sample_once), workers=0)
    assert len(found) == 2
    for batch in found:
        assert len(batch['inputs']) == 4
        assert batch['inputs'][0].shape == (1, 3, 4, 32, 32)
        labels = [sample.gt_label.item() for sample in
                  batch['data_samples']]
        assert labels[0] == labels[1] and labels[2] == labels[3]
        for first, second in (batch['inputs'][:2], batch['inputs'][2:]):
            assert not torch.equal(first, second)


def test_copies_are_the_same_for_any_number_of_workers(tmp_path):
    dataset = repeated(tmp_path)
    here, there = batches(dataset, 0), batches(dataset, 2)
    for one, two in zip(here, there):
        assert all(torch.equal(a, b)
                   for a, b in zip(one['inputs'], two['inputs']))
    later = batches(dataset, 0, epoch=1)
    assert not torch.equal(here[0]['inputs'][0], later[0]['inputs'][0])


def test_a_broken_video_is_named_in_both_copies_at_once(tmp_path):
    dataset = repeated(tmp_path)
    guard_reading(dataset)
    (tmp_path / '1.mp4').write_bytes(b'')
    with pytest.raises(BrokenVideoError, match=r'1.mp4 is empty'):
        dataset[1]
    assert len(dataset[0]) == 2


def test_a_broken_video_is_replaced_with_both_its_copies(tmp_path):
    dataset = repeated(tmp_path)
    (tmp_path / '1.mp4').unlink()
    found = batches(dataset, workers=0)
    labels = np.concatenate([[sample.gt_label.item()
                              for sample in batch['data_samples']]
                             for batch in found])
    assert len(labels) == 8
    assert 1 not in labels
    assert (labels[::2] == labels[1::2]).all()
