"""Several augmented copies of one decoded clip."""

from collections.abc import Callable, Iterable, Sequence
from copy import deepcopy

from mmaction.registry import TRANSFORMS
from mmcv.transforms import BaseTransform, Compose

__all__ = ['RepeatAugment']


class _Copies(list):
    """Copies of one video, which a collate function must take apart.

    Others collate the first copies of all videos, then the second ones, and
    make the same kind of list of that; here that is an error, where else the
    model would get arguments that it cannot explain.

    Args:
        items (Iterable): The copies.

    Raises:
        ValueError: If the items are batches.
    """

    def __init__(self, items: Iterable = ()) -> None:
        super().__init__(items)
        if any(isinstance(item, dict) and isinstance(
                item.get('inputs'), (list, tuple)) for item in self):
            raise ValueError(
                'the pipeline ends in RepeatAugment, and the data loader '
                'does not take its copies apart: add collate_fn=dict(type='
                "'repeat_pseudo_collate') to the data loader")


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
        return _Copies(self.transforms(deepcopy(results))
                       for _ in range(self.num_copies))

    def __repr__(self) -> str:
        return (f'{type(self).__name__}(num_copies={self.num_copies}, '
                f'transforms={self.transforms})')
