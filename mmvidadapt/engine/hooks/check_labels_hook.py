"""Compare the labels of the annotation lists with the classes of the head.

Only a run knows both: the dataset knows file, line and label, the head knows
the number of classes. Asked before the first step, a wrong list costs no
training time, and all ranks stop alike.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from weakref import WeakSet

from mmaction.registry import HOOKS
from mmengine.dataset import BaseDataset
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner

from ...datasets.class_lists import plain_name
from ...models.heads.checks import label_fault

__all__ = ['CheckLabelsHook']


@HOOKS.register_module()
class CheckLabelsHook(Hook):
    """Refuse a run whose lists hold labels outside the classes.

    A transform that changes labels (it has ``num_classes``, as
    ``LabelAwareFlip`` does) must know as many classes as the model. Where
    the head knows the names of its classes (``class_names``, as
    ``TextHead`` does), a video in a folder named like a class must have the
    label of that class. Every run has this hook; it reads the lists, not the
    videos, and each list once. Models without ``cls_head.num_classes``,
    datasets that are no ``BaseDataset`` and labels that are no integers are
    left alone.
    """

    priority = 'VERY_HIGH'

    def __init__(self) -> None:
        self._checked: WeakSet = WeakSet()

    def before_train(self, runner: Runner) -> None:
        """Check the training list, and the one that validates it."""
        self._check(runner, runner.train_loop, unlabelled=False)
        if runner.val_loop is not None:
            self._check(runner, runner.val_loop, unlabelled=True)

    def before_val(self, runner: Runner) -> None:
        """Check the validation list."""
        self._check(runner, runner.val_loop, unlabelled=True)

    def before_test(self, runner: Runner) -> None:
        """Check the test list."""
        self._check(runner, runner.test_loop, unlabelled=True)

    def _check(self, runner: Runner, loop: Any, unlabelled: bool) -> None:
        """Check what a loop reads.

        Args:
            runner (Runner): Owns the model.
            loop (Any): A train, validation or test loop.
            unlabelled (bool): Whether -1, MMAction2's mark of a line
                without a label, may occur.
        """
        model = runner.model
        if is_model_wrapper(model):
            model = model.module
        head = getattr(model, 'cls_head', None)
        num_classes = getattr(head, 'num_classes', None)
        if not isinstance(num_classes, int) or num_classes < 1:
            return
        dataset = getattr(getattr(loop, 'dataloader', None), 'dataset', None)
        for part in _parts(dataset):
            if part not in self._checked:
                _check_transforms(getattr(part, 'pipeline', None),
                                  num_classes)
                _check_list(part, num_classes, unlabelled)
                _check_folders(part, getattr(head, 'class_names', []))
                self._checked.add(part)


def _parts(dataset: Any) -> Iterator[BaseDataset]:
    """Look into wrappers: concatenated, repeated and balanced datasets."""
    if isinstance(dataset, BaseDataset):
        yield dataset
    elif hasattr(dataset, 'dataset'):
        yield from _parts(dataset.dataset)
    else:
        for part in getattr(dataset, 'datasets', []):
            yield from _parts(part)


def _check_transforms(step: Any, num_classes: int) -> None:
    """Check a pipeline, and the pipelines inside its steps.

    Raises:
        ValueError: If a transform knows another number of classes.
    """
    known = getattr(step, 'num_classes', num_classes)
    if known != num_classes:
        name = type(step).__name__
        raise ValueError(
            f'{name} changes labels of {known} classes, and the model has '
            f'{num_classes}: give {name} the class names of this data set, '
            'or put Flip in its place')
    inner = getattr(step, 'transforms', ())
    for part in inner if isinstance(inner, (list, tuple)) else [inner]:
        _check_transforms(part, num_classes)


def _check_list(dataset: BaseDataset, num_classes: int,
                unlabelled: bool) -> None:
    """Check every entry of one list.

    Raises:
        ValueError: Naming the list, the line, the video, the label, the
            number of classes, and what to do.
    """
    dataset.full_init()
    for index in range(len(dataset)):
        # The base class's own method: the entry as the list has it.
        info = BaseDataset.get_data_info(dataset, index)
        labels = info.get('label')
        if not isinstance(labels, list):
            labels = [labels]
        for label in labels:
            if (not isinstance(label, int) or 0 <= label < num_classes
                    or (unlabelled and label == -1)):
                continue
            name = info.get('filename', info.get('frame_dir', ''))
            raise ValueError(f'{dataset.ann_file}, {_place(info, index)} '
                             f'({name}): '
                             f'{label_fault(label, num_classes)}')


def _check_folders(dataset: BaseDataset, names: Sequence[str]) -> None:
    """Compare labels with folders that are named like classes.

    Raises:
        ValueError: If a video of one class has the label of another.
    """
    labels = {plain_name(name): label for label, name in enumerate(names)}
    for index in range(len(dataset) if labels else 0):
        info = BaseDataset.get_data_info(dataset, index)
        path = info.get('filename', info.get('frame_dir', ''))
        label = info.get('label')
        folder = labels.get(plain_name(Path(path).parent.name), label)
        if isinstance(label, int) and label >= 0 and folder != label:
            raise ValueError(
                f'{dataset.ann_file}, {_place(info, index)} ({path}): label '
                f'{label} is {names[label]!r} among the classes of the head, '
                f'and the folder is that of class {folder}: give the head '
                'its classes in the order of the labels of this list')


def _place(info: dict, index: int) -> str:
    """Where an entry stands in its list."""
    return (f'line {info["ann_line"]}' if 'ann_line' in info
            else f'entry {index}')
