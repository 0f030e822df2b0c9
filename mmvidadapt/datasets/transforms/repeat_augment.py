"""Several augmented copies of one decoded clip."""

from collections.abc import Callable, Sequence
from copy import deepcopy

from mmaction.registry import TRANSFORMS
from mmcv.transforms import BaseTransform, Compose

__all__ = ['RepeatAugment']


@TRANSFORMS.register_module()
class RepeatAugment(BaseTransform):
    """Augment the same frames several times, each time differently.

    Repeated augmentation (arXiv:1901.09335). ``RepeatAugDataset`` has it for
    decord alone and in a fixed order of transforms; as the last step of a
    pipeline it works with every decoder and with folders of frames. The data
    loader needs ``collate_fn=dict(type='repeat_pseudo_collate')``, which
    makes ``num_copies`` clips out of each video of a batch.

    Required keys: imgs, and what the transforms require.

    Args:
        num_copies (int): Copies of each video. Defaults to 2.
        transforms (Sequence[dict | Callable]): The steps after decoding,
            ``PackActionInputs`` last. Defaults to none.

    Raises:
        ValueError: If there is not at least one copy.
    """

    def __init__(self,
                 num_copies: int = 2,
                 transforms: Sequence[dict | Callable] = ()) -> None:
        if num_copies < 1:
            raise ValueError(f'num_copies is {num_copies}: ask for at least '
                             'one copy of each video.')
        self.num_copies = num_copies
        self.transforms = Compose([
            TRANSFORMS.build(step) if isinstance(step, dict) else step
            for step in transforms])

    def transform(self, results: dict) -> list[dict]:
        """Run the transforms once for each copy.

        Args:
            results (dict): A decoded sample of MMAction2.

        Returns:
            list[dict]: What the transforms make of each copy.

        Raises:
            ValueError: If nothing has been decoded.
        """
        if 'imgs' not in results:
            raise ValueError(
                'RepeatAugment found no imgs to augment: put it after the '
                'transform that decodes, as the last of the pipeline.')
        return [self.transforms(deepcopy(results))
                for _ in range(self.num_copies)]

    def __repr__(self) -> str:
        return (f'{type(self).__name__}(num_copies={self.num_copies}, '
                f'transforms={self.transforms})')
