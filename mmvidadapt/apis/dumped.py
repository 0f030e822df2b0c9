"""Read the predictions that ``tools/test.py --dump`` writes."""

import io
import pickle
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch


class Scores(NamedTuple):
    """Scores of videos, in the order of the test set.

    Args:
        scores (np.ndarray): ``(V, K)``, float32.
        labels (np.ndarray): The class of each video, ``(V)``.
    """

    scores: np.ndarray
    labels: np.ndarray


class _TensorUnpickler(pickle.Unpickler):
    """Unpickles tensors and plain containers; runs nothing else."""

    _PLAIN = {('torch._utils', '_rebuild_tensor_v2'),
              ('collections', 'OrderedDict'), ('_codecs', 'encode')}

    def find_class(self, module: str, name: str) -> Any:
        """A name that a file asks for, if it is harmless."""
        if (module, name) in self._PLAIN:
            return super().find_class(module, name)
        if (module, name) == ('torch.storage', '_load_from_bytes'):
            # torch's own would read any pickle.
            return lambda data: torch.load(io.BytesIO(data),
                                           weights_only=True)
        raise pickle.UnpicklingError(f'it asks for {module}.{name}')


def read_scores(path: Path) -> Scores:
    """Read scores and classes of videos; no code of the file is run.

    Args:
        path (Path): What ``tools/test.py --dump`` wrote.

    Returns:
        Scores: Of all videos.

    Raises:
        FileNotFoundError: If it does not exist.
        ValueError: If it is something else, views are not averaged, or
            videos have several classes.
    """
    if not path.is_file():
        raise FileNotFoundError(
            f'{path} does not exist: give what tools/test.py --dump wrote')
    try:
        with path.open('rb') as file:
            samples = _TensorUnpickler(file).load()
        scores = [sample['pred_score'].float() for sample in samples]
        labels = [sample['gt_label'] for sample in samples]
        sizes = {tuple(score.shape) for score in scores}
    except Exception as error:  # a damaged pickle raises anything
        reason = str(error).partition('\n')[0] or type(error).__name__
        raise ValueError(f'{path} holds no predictions ({reason}): give what '
                         'tools/test.py --dump wrote') from None
    if not scores:
        raise ValueError(f'{path} holds no video: test at least one')
    if len(sizes) > 1 or len(scores[0].shape) != 1:
        raise ValueError(
            f'{path} has scores for each view apart: set model.cls_head.'
            "average_clips, for example to 'prob', and test again")
    if any(label.numel() != 1 for label in labels):
        raise ValueError(f'{path} has videos with several classes or none: '
                         'give predictions of a test set with one class for '
                         'each video')
    classes = np.array([int(label) for label in labels])
    if not 0 <= classes.min() <= classes.max() < len(scores[0]):
        raise ValueError(
            f'{path} has a video of class {classes.max()} and scores of '
            f'{len(scores[0])} classes: test with the classes of the model')
    return Scores(torch.stack(scores).numpy(), classes)
