"""Datasets, transforms and sampling."""

from .broken_video import (
    guard_reading,
    guarded_pipeline,
)
from .class_lists import class_names
from .descriptions import class_descriptions
from .sample_fetcher import TooManyBrokenVideosError
from .synthetic import SyntheticFrames, SyntheticVideo, SyntheticVideoDataset
from .transforms import (
    ClipColorJitter,
    ClipGrayscale,
    ClipRandAugment,
    EqualSegmentSample,
    KineticsSample,
    LabelAwareFlip,
    LocalWindow,
    RepeatAugment,
    SomethingSample,
    TorchCodecDecode,
    TorchCodecInit,
    VideoDecode,
    VideoInit,
    WideThreeCrop,
)
from .video_reader import BrokenVideoError, VideoReader, find_damage

__all__ = ['BrokenVideoError', 'ClipColorJitter', 'ClipGrayscale',
           'ClipRandAugment', 'EqualSegmentSample', 'KineticsSample',
           'LabelAwareFlip', 'LocalWindow', 'RepeatAugment',
           'SomethingSample', 'SyntheticFrames', 'SyntheticVideo',
           'SyntheticVideoDataset', 'TooManyBrokenVideosError',
           'TorchCodecDecode', 'TorchCodecInit', 'VideoDecode', 'VideoInit',
           'VideoReader', 'WideThreeCrop',
           'class_descriptions', 'class_names', 'find_damage',
           'guard_reading', 'guarded_pipeline']
