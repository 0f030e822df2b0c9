"""Generated clips in place of a data set, so that any config runs."""

import copy
from typing import List, Optional, Sequence, Union

import numpy as np
from mmaction.datasets import BaseActionDataset
from mmaction.registry import DATASETS, TRANSFORMS
from mmcv.transforms import BaseTransform
from mmengine.config import Config

from .class_lists import class_names

#: Frames, height and width of a generated video.
VIDEO_SHAPE = (64, 256, 340)


@TRANSFORMS.register_module()
class SyntheticVideo(BaseTransform):
    """Stand in for a video reader: state how many frames there are.

    Its name lacks the word ``Init``, by which files are looked for.

    Added keys: ``total_frames``, ``avg_fps``.
    """

    def transform(self, results: dict) -> dict:
        """Add the frame count of a generated video."""
        results['total_frames'] = VIDEO_SHAPE[0]
        results['avg_fps'] = 30
        return results


@TRANSFORMS.register_module()
class SyntheticFrames(BaseTransform):
    """Stand in for a decoder: make the frames that the sampler chose.

    A frame depends on the video and its own number only; its colour shows the
    label, so a loss can fall.

    Required keys: ``frame_inds``, ``video_index``, ``hue``.
    Added keys: ``imgs``, ``original_shape``, ``img_shape``.
    """

    def transform(self, results: dict) -> dict:
        """Add the frames."""
        _, height, width = VIDEO_SHAPE
        inds = np.asarray(results['frame_inds']).reshape(-1)
        frames = {}
        for i in np.unique(inds).tolist():
            rng = np.random.default_rng((results['video_index'], i))
            noise = rng.integers(0, 96, (height // 4, width // 4, 3))
            frame = np.kron(noise, np.ones((4, 4, 1))) + results['hue']
            frames[i] = np.clip(frame, 0, 255).astype(np.uint8)
        results['imgs'] = [frames[i].copy() for i in inds.tolist()]
        results['original_shape'] = results['img_shape'] = (height, width)
        return results


@DATASETS.register_module()
class SyntheticVideoDataset(BaseActionDataset):
    """Generated videos that run through a real pipeline.

    Args:
        num_videos (int): Videos in the set.
        pipeline (list): Transforms after the decoder.
        num_classes (int): Classes; video ``i`` has label ``i mod K``.
        multi_class (bool): Whether labels are given as sets of classes.
        num_repeats (int): Augmented copies of each video; above 1 an item is
            a list, as that of ``RepeatAugDataset``.
        test_mode (bool): As in every MMAction2 data set.

    Raises:
        ValueError: If there is not at least one video and one class.
    """

    def __init__(self, num_videos: int, pipeline: list, num_classes: int,
                 multi_class: bool = False, num_repeats: int = 1,
                 test_mode: bool = False) -> None:
        if num_videos < 1 or num_classes < 1:
            raise ValueError(
                f'a synthetic data set of {num_videos} videos and '
                f'{num_classes} classes is empty: ask for at least one each')
        self.num_videos = num_videos
        self.num_repeats = num_repeats
        super().__init__('', pipeline, multi_class=multi_class,
                         num_classes=num_classes, test_mode=test_mode)

    def load_data_list(self) -> List[dict]:
        """One entry for each generated video."""
        hues = np.random.default_rng(0).integers(
            0, 160, (self.num_classes, 3))
        return [
            dict(filename=f'synthetic_{i:04d}', video_index=i,
                 label=[i % self.num_classes]
                 if self.multi_class else i % self.num_classes,
                 hue=hues[i % self.num_classes])
            for i in range(self.num_videos)
        ]

    def prepare_data(self, idx: int) -> Union[dict, List[dict]]:
        """One sample, or ``num_repeats`` augmented copies of it."""
        if self.num_repeats == 1:
            return super().prepare_data(idx)
        return [super(SyntheticVideoDataset, self).prepare_data(idx)
                for _ in range(self.num_repeats)]


def _synthetic_pipeline(pipeline: Sequence[dict]) -> List[dict]:
    steps: List[dict] = []
    for step in pipeline:
        name = step['type']
        if name.endswith('Init'):
            step = dict(type='SyntheticVideo')
        elif name.endswith('Decode'):
            # A frame folder has no reader: its length comes from here.
            if not any(s['type'] == 'SyntheticVideo' for s in steps):
                steps.insert(0, dict(type='SyntheticVideo'))
            step = dict(type='SyntheticFrames')
        steps.append(copy.deepcopy(step))
    if not any(s['type'] == 'SyntheticFrames' for s in steps):
        raise ValueError(
            'the pipeline has no decoder that synthetic clips could replace: '
            'name one whose type ends in Decode')
    return steps


def _find_pipeline(dataset: dict) -> Optional[dict]:
    while 'pipeline' not in dataset:
        if 'dataset' not in dataset:
            return None
        dataset = dataset['dataset']
    return dataset


def synthetic_dataset(dataset: dict, num_videos: int,
                      num_classes: int) -> dict:
    """The config of a generated data set that takes another one's place.

    Args:
        dataset (dict): Config of a video or frame-folder data set, possibly
            wrapped (``RepeatDataset`` and the like).
        num_videos (int): Videos to generate.
        num_classes (int): Classes of the model.

    Returns:
        dict: Its replacement, with the same sampling, crops and views.

    Raises:
        ValueError: If there is no pipeline with a decoder.
    """
    inner = _find_pipeline(dataset)
    if inner is None:
        raise ValueError(f'the data set {dataset.get("type")} has no pipeline '
                         'for synthetic clips: run it on real data')
    return dict(
        type='SyntheticVideoDataset',
        num_videos=num_videos,
        num_classes=num_classes,
        multi_class=inner.get('multi_class', False),
        num_repeats=inner.get('num_repeats', 1),
        test_mode=inner.get('test_mode', False),
        pipeline=_synthetic_pipeline(inner['pipeline']))


def use_synthetic_data(cfg: Config, num_videos: int) -> None:
    """Replace every data set of a config by generated clips, in place.

    Args:
        cfg (Config): The config; its pipelines, batch sizes and samplers stay.
        num_videos (int): Videos of each data set.

    Raises:
        ValueError: If the number of classes or a decoder is not to be found.
    """
    num_classes = _num_classes(cfg.model)
    for split in ('train', 'val', 'test'):
        loader = cfg.get(f'{split}_dataloader')
        if loader is not None:
            loader.dataset = synthetic_dataset(
                loader.dataset, num_videos, num_classes)


def _num_classes(model: Union[dict, Config]) -> int:
    head = model.get('cls_head') or {}
    if 'classes' in head:
        return len(class_names(head['classes']))
    num_classes = head.get('num_classes')
    if num_classes is None:
        raise ValueError('synthetic clips need model.cls_head.num_classes: '
                         'state it in the config')
    return num_classes
