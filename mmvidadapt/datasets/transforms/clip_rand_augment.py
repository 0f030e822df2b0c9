"""timm's RandAugment with one draw for all frames of a clip."""

import random
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from mmaction.registry import TRANSFORMS
from mmcv.transforms import BaseTransform
from PIL import Image

from .clip_color import map_frames

__all__ = ['ClipRandAugment']


def _posterize(plain: Callable[..., Image.Image], image: Image.Image,
               bits: int, **kwargs: Any) -> Image.Image:
    """Keep at least one bit: at full strength timm asks for none of them,
    which newer Pillow refuses.
    """
    return plain(image, max(1, bits), **kwargs)


@TRANSFORMS.register_module()
class ClipRandAugment(BaseTransform):
    """Apply the same randomly chosen operations to every frame.

    RandAugment (arXiv:1909.13719) as timm has it and UniFormerV2 trains by;
    every frame gets the same operations with the same strengths.

    Required keys: imgs. Modified keys: imgs.

    Args:
        config (str): timm's description. Defaults to
            ``'rand-m7-n4-mstd0.5-inc1'``: 4 operations of strength 7 with
            deviation 0.5, chosen among those that grow with the strength,
            each applied with probability 0.5.
        interpolation (str): ``'bicubic'``, ``'bilinear'`` or ``'nearest'``,
            for the geometric operations. Defaults to 'bicubic'.
        fill (tuple[int, int, int]): Colour of what comes in from outside.
            Defaults to (128, 128, 128).

    Raises:
        ValueError: If ``config`` or ``interpolation`` is unknown.
    """

    def __init__(self,
                 config: str = 'rand-m7-n4-mstd0.5-inc1',
                 interpolation: str = 'bicubic',
                 fill: tuple[int, int, int] = (128, 128, 128)) -> None:
        from timm.data.auto_augment import rand_augment_transform
        known = ('bicubic', 'bilinear', 'nearest')
        if interpolation not in known:
            raise ValueError(f'interpolation is {interpolation!r}: choose '
                             f'one of {", ".join(known)}.')
        self.config = config
        hparams = dict(
            translate_pct=0.45, img_mean=tuple(fill),
            interpolation=getattr(Image.Resampling, interpolation.upper()))
        try:
            self.augment = rand_augment_transform(config, hparams)
        except (AssertionError, ValueError) as error:
            raise ValueError(
                f'config is {config!r}, which timm does not understand: '
                "write it like 'rand-m7-n4-mstd0.5-inc1'.") from error

        for operation in self.augment.ops:
            if operation.name.startswith('Posterize'):
                operation.aug_fn = partial(_posterize, operation.aug_fn)

    def transform(self, results: dict) -> dict:
        """Augment ``results['imgs']``.

        Args:
            results (dict): A sample of MMAction2.

        Returns:
            dict: The same with new frames.
        """
        # timm draws while it augments an image; going back to the same state
        # before each frame gives them all the same draws.
        state = random.getstate(), np.random.get_state()

        def augment(frame: np.ndarray) -> np.ndarray:
            random.setstate(state[0])
            np.random.set_state(state[1])
            return np.asarray(self.augment(Image.fromarray(frame))).copy()

        results['imgs'] = map_frames(augment, results['imgs'])
        return results

    def __repr__(self) -> str:
        return f'{type(self).__name__}(config={self.config!r})'
