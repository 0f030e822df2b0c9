"""The exact frame numbers of TDS-CLIP, Side4Video, MoTE and MSTA.

TDS-CLIP (arXiv:2408.10688), no licence file: the rules are restated from its
description. A clip has ``T`` frames of a video of ``n``; ``s`` is
``(n - 1) / T``. MMAction2's ``UniformSample`` has two of the rules already:
that of Something-Something in testing, that of Kinetics in training.
"""

import numpy as np
from mmaction.datasets.transforms import UniformSample
from mmaction.registry import TRANSFORMS

__all__ = ['EqualSegmentSample', 'KineticsSample', 'SomethingSample']

# Frames that a dense clip spans.
DENSE_RANGE = 128


class SegmentSample(UniformSample):
    """What both rules share: the arguments and the dense test clips.

    Args:
        clip_len (int): Frames of a clip, ``T``.
        num_clips (int): Clips of a video.
        test_mode (bool): Whether frames are fixed instead of drawn.
        dense (bool): Whether clip ``k`` of ``c`` starts at ``k * floor(max(0,
            n - 128) / (c - 1))`` and takes every ``128 // T``-th frame,
            beginning anew at the end of the video.

    Raises:
        ValueError: If there is not at least one frame and one clip, or if
            ``dense`` is asked for in training, with one clip, or with more
            frames than it spans.
    """

    def __init__(self,
                 clip_len: int,
                 num_clips: int = 1,
                 test_mode: bool = False,
                 dense: bool = False) -> None:
        if clip_len < 1 or num_clips < 1:
            raise ValueError(
                f'{num_clips} clips of {clip_len} frames cannot be sampled: '
                'set num_clips and clip_len to at least 1.')
        if dense and (not test_mode or num_clips < 2
                      or clip_len > DENSE_RANGE):
            raise ValueError(
                f'dense=True with test_mode={test_mode}, {num_clips} clips '
                f'and {clip_len} frames is not defined: dense clips are for '
                f'testing, at least two, of at most {DENSE_RANGE} frames; to '
                'train on dense clips use SampleFrames.')
        super().__init__(clip_len, num_clips, test_mode)
        self.dense = dense

    def _get_sample_clips(self, num_frames: int) -> np.ndarray:
        """Frame numbers from 0, one clip after another: ``(c * T, )``."""
        if num_frames < 1:
            raise ValueError(
                f'a video of {num_frames} frames has none to sample: take '
                'it out of the list of videos.')
        if self.dense:
            return self._dense_clips(num_frames)
        if self.test_mode:
            return self._test_clips(num_frames)
        return np.concatenate([self._train_clip(num_frames)
                               for _ in range(self.num_clips)])

    def _dense_clips(self, num_frames: int) -> np.ndarray:
        """Clips that start evenly spread and run at a fixed stride."""
        step = max(0, num_frames - DENSE_RANGE) // (self.num_clips - 1)
        starts = step * np.arange(self.num_clips)
        places = DENSE_RANGE // self.clip_len * np.arange(self.clip_len)
        inds: np.ndarray = (starts[:, None] + places) % num_frames
        return inds.reshape(-1)

    def _test_clips(self, num_frames: int) -> np.ndarray:
        """Fixed frames; here clip ``k`` takes ``round(s * i) + int(s / (c +
        1) * (k + 1))``, halves to even.
        """
        return UniformSample._get_sample_clips(self, num_frames)

    def _train_clip(self, num_frames: int) -> np.ndarray:
        """Drawn frames; here one of ``round(s * i)`` to ``round(s * (i +
        1))``, both included.
        """
        return UniformSample._get_sample_clips(self, num_frames)

    def __repr__(self) -> str:
        return (f'{type(self).__name__}(clip_len={self.clip_len}, '
                f'num_clips={self.num_clips}, test_mode={self.test_mode}, '
                f'dense={self.dense})')


@TRANSFORMS.register_module()
class SomethingSample(SegmentSample):
    """Sample a Something-Something video as the TDS-CLIP program does.

    In training one frame is drawn from each segment ``[floor(i * n / T),
    floor((i + 1) * n / T))``; a video of at most ``T`` frames gives all of
    them and random repeats, in order. In testing clip ``k`` of ``c`` has the
    frames ``round(s * i) + int(s / (c + 1) * (k + 1))``; with one clip this
    is the rule of validation.

    Required keys: total_frames, start_index. Added keys: frame_inds,
    clip_len, frame_interval, num_clips.

    Args:
        clip_len (int): Frames of a clip, ``T``.
        num_clips (int): Clips of a video. Defaults to 1.
        test_mode (bool): Whether frames are fixed. Defaults to False.
        dense (bool): Whether test clips are dense: 128 frames at a stride
            of ``128 // T``. Defaults to False.
    """

    def _train_clip(self, num_frames: int) -> np.ndarray:
        if num_frames <= self.clip_len:
            repeats = np.random.randint(
                num_frames, size=self.clip_len - num_frames)
            return np.sort(np.concatenate([np.arange(num_frames), repeats]))
        edges = np.arange(self.clip_len + 1) * num_frames // self.clip_len
        return np.random.randint(edges[:-1], edges[1:])


@TRANSFORMS.register_module()
class EqualSegmentSample(SomethingSample):
    """Sample one frame from each of ``T`` equal segments of a video.

    In training as :class:`SomethingSample`. In testing clip ``k`` of ``c``
    has the frames ``int((i + (k + 1) / (c + 1)) * n / T)``: with one clip
    those in the middle of the segments, as the programs of ViFi-CLIP's family
    take them (MMAction2's ``SampleFrames`` with clips of one frame), with
    several clips evenly shifted ones. Several clips with ``test_mode=False``
    are drawn independently of each other, as in MSTA's tests.

    Required keys: total_frames, start_index. Added keys: frame_inds,
    clip_len, frame_interval, num_clips.

    Args:
        clip_len (int): Frames of a clip, ``T``.
        num_clips (int): Clips of a video. Defaults to 1.
        test_mode (bool): Whether frames are fixed. Defaults to False.
        dense (bool): As for :class:`SomethingSample`. Defaults to False.
    """

    def _test_clips(self, num_frames: int) -> np.ndarray:
        parts = self.num_clips + 1  # of a segment
        places = (parts * np.arange(self.clip_len)
                  + np.arange(1, parts)[:, None])  # (c, T)
        inds: np.ndarray = places * num_frames // (parts * self.clip_len)
        return inds.reshape(-1)


@TRANSFORMS.register_module()
class KineticsSample(SegmentSample):
    """Sample a Kinetics video as the TDS-CLIP and MoTE programs do.

    In training frame ``i`` is drawn from ``round(s * i)`` to ``round(s * (i +
    1))``, both included, as by ``UniformSample``. In testing clip ``k``
    starts at the ``k``-th of ``c`` integers from 0 to ``n / T - 1`` and has
    the frames ``int(start + n / T * i) mod n``; with one clip this is the
    rule of validation.

    Required keys: total_frames, start_index. Added keys: frame_inds,
    clip_len, frame_interval, num_clips.

    Args:
        clip_len (int): Frames of a clip, ``T``.
        num_clips (int): Clips of a video. Defaults to 1.
        test_mode (bool): Whether frames are fixed. Defaults to False.
        dense (bool): Whether test clips are dense: 128 frames at a stride
            of ``128 // T``. Defaults to False.
    """

    def _test_clips(self, num_frames: int) -> np.ndarray:
        stride = num_frames / self.clip_len
        starts = np.linspace(0, stride - 1, self.num_clips).astype(int)
        places = starts[:, None] + stride * np.arange(self.clip_len)
        inds: np.ndarray = places.astype(int) % num_frames
        return inds.reshape(-1)
