"""Transforms of a whole clip: its frames, and one draw for all of them."""

from .clip_color import ClipColorJitter, ClipGrayscale
from .clip_rand_augment import ClipRandAugment
from .label_aware_flip import LabelAwareFlip
from .local_window import LocalWindow
from .repeat_augment import RepeatAugment
from .segment_sample import (
    EqualSegmentSample,
    KineticsSample,
    SomethingSample,
)
from .torch_codec import TorchCodecDecode, TorchCodecInit
from .video_decode import VideoDecode, VideoInit
from .wide_three_crop import WideThreeCrop

__all__ = ['ClipColorJitter', 'ClipGrayscale', 'ClipRandAugment',
           'EqualSegmentSample', 'KineticsSample', 'LabelAwareFlip',
           'LocalWindow', 'RepeatAugment', 'SomethingSample',
           'TorchCodecDecode', 'TorchCodecInit', 'VideoDecode',
           'VideoInit', 'WideThreeCrop']
