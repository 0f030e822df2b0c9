"""Read MMAction2's annotation lists with spaces in paths and named errors.

MMAction2 1.2.0 splits a line of a list at every delimiter: a path with a
space ends in 'too many values to unpack', an empty list in 'need at least
one array to concatenate', a word in place of the label in 'invalid literal
for int()'. Here the label is what stands last, and each fault names the
file, the line, and what to do.
"""

import os.path as osp
import tempfile
from collections.abc import Iterator
from functools import wraps
from pathlib import Path
from typing import Any

NO_LABEL = -1  # MMAction2's own mark


class ListError(ValueError):
    """A line of an annotation list that cannot be understood."""


def split_video_line(line: str, delimiter: str = ' ',
                     multi_class: bool = False) -> tuple[str, Any]:
    """Split a line of a video list into path and label.

    Args:
        line (str): ``path label``, for several classes
            ``path label label ...``. Everything before the label is the
            path. A line of one field is a path without a label.
        delimiter (str): What separates the fields.
        multi_class (bool): Whether all integers at the end are labels.

    Returns:
        tuple[str, Any]: The path, and an int (-1 without a label); for
        ``multi_class`` a list of ints.

    Raises:
        ListError: If the last field is no integer, or there are several
            labels without ``multi_class``.
    """
    fields = line.strip().split(delimiter)
    count = _trailing_integers(fields)
    if len(fields) > 1 and not count:
        raise ListError(
            f'{fields[-1]!r} is not an integer label: end the line with the '
            'class number; in a list without labels, set a delimiter that '
            "does not occur in the paths, such as delimiter='\\t'")
    if not multi_class:
        if count > 1 and osp.splitext(fields[-count - 1])[1]:
            raise ListError(
                f'{count} labels follow the path: set multi_class=True and '
                'num_classes, or leave one label')
        count = min(count, 1)
    path = delimiter.join(fields[:len(fields) - count]).rstrip()
    labels = [int(field) for field in fields[len(fields) - count:]]
    if multi_class:
        return path, labels
    return path, labels[0] if labels else NO_LABEL


def split_rawframe_line(line: str, with_offset: bool = False,
                        multi_class: bool = False) -> dict[str, Any]:
    """Split a line of a frame list into folder, numbers and label.

    Args:
        line (str): ``folder [offset] total_frames [label ...]``, separated
            by white space, which the folder's name may hold too.
        with_offset (bool): Whether the first number is the offset.
        multi_class (bool): Whether there may be several labels.

    Returns:
        dict[str, Any]: ``frame_dir``, ``total_frames``, ``label`` (a list
        for ``multi_class``, -1 where there is none), maybe ``offset``.

    Raises:
        ListError: If numbers are missing, or too many.
    """
    fields = line.split()
    count = _trailing_integers(fields)
    needed = 2 if with_offset else 1
    layout = 'folder ' + 'offset ' * with_offset + 'total_frames label'
    if count < needed:
        raise ListError(f'{count} numbers end the line, {needed} are needed:'
                        f' write `{layout}`')
    if count > needed + 1 and not multi_class:
        raise ListError(
            f'{count} numbers end the line, at most {needed + 1} are '
            f'understood: write `{layout}`, set multi_class=True for several'
            ' labels, or rename a folder that ends in a number of its own')
    numbers = [int(field) for field in fields[len(fields) - count:]]
    # Only the numbers are parted by white space of any kind and length.
    info: dict[str, Any] = dict(
        frame_dir=line.strip().rsplit(maxsplit=count)[0])
    if with_offset:
        info['offset'] = numbers[0]
    info['total_frames'] = numbers[needed - 1]
    labels = numbers[needed:] or [NO_LABEL]
    info['label'] = labels if multi_class else labels[0]
    return info


def _trailing_integers(fields: list[str]) -> int:
    """Count the integers at the end; the first field is always a path."""
    count = 0
    for field in reversed(fields[1:]):
        try:
            int(field)
        except ValueError:
            break
        count += 1
    return count


def _lines(ann_file: str, what: str) -> Iterator[tuple[int, str]]:
    """Yield number and text of every line that is not blank.

    Raises:
        FileNotFoundError: If there is no such list.
        ListError: If there is no such line.
    """
    from mmengine.fileio import list_from_file
    try:
        lines = list_from_file(ann_file)
    except FileNotFoundError as error:
        raise FileNotFoundError(
            f'the annotation list {ann_file} does not exist: correct '
            'ann_file of the data set, or write the list') from error
    empty = True
    for number, line in enumerate(lines, 1):
        if line.strip():
            empty = False
            yield number, line
    if empty:
        raise ListError(f'{ann_file} is empty: write one line for each video,'
                        f' `{what}`')


def _check_classes(dataset: Any) -> None:
    """Refuse several labels without the number of classes.

    Raises:
        ValueError: If ``num_classes`` is missing.
    """
    if dataset.multi_class and dataset.num_classes is None:
        raise ValueError(f'{dataset.ann_file} is read with multi_class=True: '
                         'set num_classes of the dataset as well')


def _check_range(dataset: Any, labels: Any) -> None:
    """Refuse labels that the one-hot vector of several classes cannot hold.

    Raises:
        ListError: If a label is outside the classes of the dataset.
    """
    if not dataset.multi_class:
        return
    for label in labels:
        if label != NO_LABEL and not 0 <= label < dataset.num_classes:
            raise ListError(
                f'label {label} is outside the {dataset.num_classes} classes '
                f'(0 to {dataset.num_classes - 1}): correct it, or set '
                'num_classes of the dataset and the head')


def _load_videos(self: Any) -> list[dict]:
    """Replace ``VideoDataset.load_data_list``."""
    _check_classes(self)
    prefix = self.data_prefix['video']
    data_list = []
    for number, line in _lines(self.ann_file, 'path label'):
        try:
            path, label = split_video_line(line, self.delimiter,
                                           self.multi_class)
            _check_range(self, label)
        except ListError as error:
            raise ListError(f'{self.ann_file}, line {number}: '
                            f'{error}') from None
        if prefix is not None:
            path = osp.join(prefix, path)
        data_list.append(dict(filename=path, label=label, ann_line=number))
    return data_list


def _load_rawframes(self: Any) -> list[dict]:
    """Replace ``RawframeDataset.load_data_list``."""
    _check_classes(self)
    prefix = self.data_prefix['img']
    data_list = []
    for number, line in _lines(self.ann_file, 'folder total_frames label'):
        try:
            info = split_rawframe_line(line, self.with_offset,
                                       self.multi_class)
            _check_range(self, info['label'])
        except ListError as error:
            raise ListError(f'{self.ann_file}, line {number}: '
                            f'{error}') from None
        if prefix is not None:
            info['frame_dir'] = osp.join(prefix, info['frame_dir'])
        data_list.append(dict(info, ann_line=number))
    return data_list


def _fails(dataset_type: type, line: str, **attributes: Any) -> bool:
    """Return whether a class cannot read a list of this one line."""
    with tempfile.TemporaryDirectory() as folder:
        ann_file = Path(folder, 'list.txt')
        ann_file.write_text(line)
        dataset: Any = object.__new__(dataset_type)
        dataset.__dict__.update(attributes, ann_file=str(ann_file),
                                multi_class=False, num_classes=None)
        try:
            dataset.load_data_list()
        except ValueError:
            return True
        return False


def videos_needed() -> bool:
    """Return whether ``VideoDataset`` fails on a path with a space."""
    from mmaction.datasets.video_dataset import VideoDataset
    return _fails(VideoDataset, 'a clip.mp4 1', delimiter=' ',
                  data_prefix=dict(video=None))


def videos_mend() -> None:
    """Give ``VideoDataset`` the reader above."""
    from mmaction.datasets.video_dataset import VideoDataset
    VideoDataset.load_data_list = _load_videos


def rawframes_needed() -> bool:
    """Return whether ``RawframeDataset`` fails on such a folder."""
    from mmaction.datasets.rawframe_dataset import RawframeDataset
    return _fails(RawframeDataset, 'a clip 9 1', with_offset=False,
                  data_prefix=dict(img=None))


def rawframes_mend() -> None:
    """Give ``RawframeDataset`` the reader above."""
    from mmaction.datasets.rawframe_dataset import RawframeDataset
    RawframeDataset.load_data_list = _load_rawframes


def labels_needed() -> bool:
    """Return whether nothing compares the labels with the classes."""
    from mmengine.runner.runner import Runner
    return not hasattr(Runner.register_hooks, '__wrapped__')


def labels_mend() -> None:
    """Give every run the hook that compares labels with classes."""
    from mmengine.runner.runner import Runner
    old_register = Runner.register_hooks

    @wraps(old_register)
    def register_hooks(self: Any, *args: Any, **kwargs: Any) -> None:
        from ..engine.hooks.check_labels_hook import CheckLabelsHook
        old_register(self, *args, **kwargs)
        if not any(isinstance(hook, CheckLabelsHook) for hook in self.hooks):
            self.register_hook(CheckLabelsHook())

    Runner.register_hooks = register_hooks
