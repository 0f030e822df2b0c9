"""Mirror a clip, and with it a class that speaks of left or right."""

import re
from collections.abc import Sequence

import torch
from mmaction.datasets.transforms import Flip
from mmaction.registry import TRANSFORMS

from ..class_lists import class_names, plain_name

__all__ = ['LabelAwareFlip', 'mirrored_classes']

_SIDE = re.compile(r'\b(left|right)\b', re.IGNORECASE)
# "Right" that stresses the next word and tells no side.
_STRESS = re.compile(r'\bright (?=(out|away|now)\b)', re.IGNORECASE)


def mirrored_classes(names: Sequence[str]) -> list[int | None]:
    """What each class is called in a mirror.

    Args:
        names (Sequence[str]): Names in the order of the labels.

    Returns:
        list[int | None]: For each class the one whose name has left and
        right exchanged, the class itself if its name tells no side, and
        ``None`` if its name does but no class is the mirrored one.
    """
    places = {plain_name(name): place for place, name in enumerate(names)}
    other = dict(left='right', right='left')
    partners: list[int | None] = []
    for place, name in enumerate(names):
        mirrored = plain_name(_SIDE.sub(
            lambda side: other[side[0].lower()], name))
        if not _SIDE.search(_STRESS.sub('', name)):
            partners.append(places.get(mirrored, place))
        else:
            partners.append(places.get(mirrored))
    return partners


@TRANSFORMS.register_module()
class LabelAwareFlip(Flip):
    """Flip a clip horizontally and exchange the labels of left and right.

    The exchange is derived from the names of the classes: "Pushing something
    from left to right" becomes "Pushing something from right to left". A
    class that tells a side and has no mirrored partner is never flipped; all
    others keep their label. (The TDS-CLIP program has fixed numbers, those
    of Something-Something V2, for V1 too, where they are other classes.)

    Required keys: imgs, img_shape, modality, label. Modified keys: imgs,
    label. Added keys: flip, flip_direction.

    Args:
        classes (str | Sequence[str]): Names of the classes, as
            :func:`~mmvidadapt.datasets.class_lists.class_names` takes them:
            ``'sthv1'``, ``'sthv2'``, a text file, or the names.
        flip_ratio (float): How often. Defaults to 0.5.

    Raises:
        ValueError: If ``flip_ratio`` is not a probability, or the classes
            are unknown.
    """

    def __init__(self,
                 classes: str | Sequence[str],
                 flip_ratio: float = 0.5) -> None:
        if not 0 <= flip_ratio <= 1:
            raise ValueError(f'flip_ratio is {flip_ratio}: give a '
                             'probability from 0 to 1.')
        super().__init__(flip_ratio)
        self.classes = classes
        self.partners = mirrored_classes(class_names(classes))
        self.num_classes = len(self.partners)

    def transform(self, results: dict) -> dict:
        """Flip ``results['imgs']`` and its label, or neither.

        Args:
            results (dict): A sample of MMAction2; ``label`` is a number, or
                a vector with a 1 for each class.

        Returns:
            dict: The same, flipped or not.

        Raises:
            ValueError: If the label does not belong to the classes.
        """
        mirrored = self._mirror(results['label'])
        if mirrored is None:
            results.update(flip=False, flip_direction=self.direction)
            return results
        results = super().transform(results)
        if results['flip']:
            results['label'] = mirrored
        return results

    def _mirror(
            self,
            label: int | torch.Tensor) -> int | torch.Tensor | None:
        """The label in a mirror; ``None`` where there is none."""
        count = self.num_classes
        if not isinstance(label, torch.Tensor):
            if label == -1:  # MMAction2's mark of a video without a label
                return label
            if not 0 <= label < count:
                raise ValueError(
                    f'label {label} is outside the {count} classes of '
                    'LabelAwareFlip: correct the label, or its classes.')
            return self.partners[label]
        if label.shape != (count, ):
            raise ValueError(
                f'a label of shape {tuple(label.shape)} does not fit the '
                f'{count} classes of LabelAwareFlip: correct num_classes of '
                'the data set, or its classes.')
        mirrored = torch.zeros_like(label)
        for place in label.nonzero().flatten().tolist():
            partner = self.partners[place]
            if partner is None:
                return None
            mirrored[partner] = label[place]
        return mirrored

    def __repr__(self) -> str:
        return (f'{type(self).__name__}(classes={self.classes!r}, '
                f'flip_ratio={self.flip_ratio})')
