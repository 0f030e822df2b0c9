"""Is the label one of the classes? Asked by every head and by every run."""

from torch import Tensor


def label_fault(label: int, num_classes: int) -> str:
    """Say what is wrong with a label and what to do.

    Args:
        label (int): A label outside ``0 .. num_classes - 1``.
        num_classes (int): Classes ``K`` of the head.

    Returns:
        str: The end of a sentence, from 'label' to the remedy.
    """
    fault = (f'label {label} is outside the {num_classes} classes '
             f'(0 to {num_classes - 1}): ')
    if label < 0:
        return fault + 'give every video a class number, counted from 0'
    return fault + ('correct it in the annotation file, or set num_classes '
                    f'of the head to at least {label + 1} (a TextHead has as '
                    'many as its classes)')


def check_labels(labels: Tensor, num_classes: int) -> None:
    """Refuse labels that the head has no class for.

    Args:
        labels (Tensor): Class numbers of any shape, or soft labels
            (floating point) of shape ``(..., K)``.
        num_classes (int): Classes ``K`` of the head.

    Raises:
        ValueError: Naming the first wrong label, or the wrong width of
            soft labels, and the remedy.
    """
    if labels.is_floating_point():
        if labels.shape[-1] != num_classes:
            raise ValueError(
                f'soft labels of {labels.shape[-1]} classes reach a head of '
                f'{num_classes}: set num_classes alike in the dataset, the '
                'batch augmentation and the head')
        return
    wrong = labels[(labels < 0) | (labels >= num_classes)]
    if len(wrong):
        raise ValueError(label_fault(int(wrong[0]), num_classes))
