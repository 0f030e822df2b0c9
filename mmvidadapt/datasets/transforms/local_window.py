"""Widen each sampled frame to its neighbourhood, for the SME-Adapter."""

import numpy as np
from mmaction.registry import TRANSFORMS
from mmcv.transforms import BaseTransform

__all__ = ['LocalWindow']


@TRANSFORMS.register_module()
class LocalWindow(BaseTransform):
    """Replace each sampled frame by the frames around it.

    Source: TDS-CLIP (arXiv:2408.10688), short-term motion enhancement. Frame
    ``t`` of a clip becomes the frames at ``t * window`` to ``t * window +
    window - 1`` in the order of time, the sampled one in the middle::

        sampled    7                   20
        window 5   5  6  7  8  9       18 19 20 21 22

    It follows any transform that samples frames and stands before the
    decoder. With ``sampler`` it runs that transform first, so that both are
    one entry, as ``RepeatAugDataset`` needs it in its fixed order.

    Required keys: total_frames, start_index; without ``sampler`` also
    frame_inds and clip_len. Modified keys: frame_inds, clip_len.

    Args:
        window (int): Frames of a window, odd; 1 changes nothing. Defaults
            to 5.
        ends (str): What stands for frames outside the video. ``'clamp'``:
            its first or last frame, as published for folders of frames.
            ``'wrap'``: before the start it counts from the end of the
            video, as the published decoder of video files does; the end is
            clamped. Defaults to 'clamp'.
        sampler (dict | None): Config of a sampling transform that is run
            first. Defaults to None.

    Raises:
        ValueError: If ``window`` is not positive and odd, or ``ends`` is
            unknown.
    """

    ENDS = ('clamp', 'wrap')

    def __init__(self,
                 window: int = 5,
                 ends: str = 'clamp',
                 sampler: dict | None = None) -> None:
        if not isinstance(window, int) or window < 1 or window % 2 == 0:
            raise ValueError(
                f'window is {window!r}: give an odd number of frames, such as '
                '3 or 5, so that one is in the middle.')
        if ends not in self.ENDS:
            raise ValueError(f'ends is {ends!r}: choose one of '
                             f'{", ".join(self.ENDS)}.')
        self.window = window
        self.ends = ends
        self.sampler = None if sampler is None else TRANSFORMS.build(sampler)

    def transform(self, results: dict) -> dict:
        """Widen ``results['frame_inds']``.

        Args:
            results (dict): A sample of MMAction2 before decoding.

        Returns:
            dict: The same with ``window`` times as many frames.

        Raises:
            ValueError: If no frames have been sampled.
        """
        if self.sampler is not None:
            results = self.sampler(results)
        if 'frame_inds' not in results:
            raise ValueError(
                'LocalWindow found no frame_inds to widen: put it after a '
                'sampling transform, or give it one as sampler=dict(...).')
        first, total = results['start_index'], results['total_frames']
        inds = np.asarray(results['frame_inds'])
        reach = self.window // 2
        # (frames, 1) + (window, ) -> (frames, window), counted from 0
        places = (inds.reshape(-1, 1) - first
                  + np.arange(-reach, reach + 1))
        if self.ends == 'wrap':
            places = np.where(places < 0, places % total, places)
        places = np.clip(places, 0, total - 1) + first
        results['frame_inds'] = places.reshape(-1).astype(inds.dtype)
        results['clip_len'] *= self.window
        return results

    def __repr__(self) -> str:
        return (f'{type(self).__name__}(window={self.window}, '
                f'ends={self.ends!r}, sampler={self.sampler})')
