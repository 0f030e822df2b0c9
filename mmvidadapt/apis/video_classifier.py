"""One video, one line: from a file to names of actions and their scores.

::

    VideoClassifier('CONFIG', 'CKPT')('video.mp4')

It reads a video as the config's test does (frames, crops, views, decoder) and
names classes as the model does.
"""

import copy
import os
import os.path as osp
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmaction.apis import init_recognizer
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.logging import MMLogger
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from ..datasets.broken_video import BrokenVideoError
from ..datasets.class_lists import class_names
from ..datasets.video_files import find_videos, holds_frames
from ..models.heads import TextHead
from .cli import load_config
from .video_pipeline import VideoPipeline, test_set
from .windows import WindowReader

__all__ = ['Prediction', 'Timeline', 'VideoClassifier']

#: Classes of an answer, unless it is asked for more or fewer.
TOPK = 5
Videos = str | os.PathLike | Sequence[str | os.PathLike]


@dataclass(frozen=True)
class Prediction:
    """What a video shows, the likeliest first.

    Args:
        video (str): The file or folder.
        labels (list[str]): Names of the ``topk`` classes of highest score.
        scores (list[float]): Their scores, descending: probabilities, if the
            config averages views as probabilities.
        error (str | None): What is wrong with a video that could not be
            read; then there are no labels.
    """

    video: str
    labels: list[str] = field(default_factory=list)
    scores: list[float] = field(default_factory=list)
    error: str | None = None

    @property
    def label(self) -> str:
        """The likeliest class.

        Raises:
            BrokenVideoError: If the video could not be read.
        """
        if self.error is not None:
            raise BrokenVideoError(self.error, self.video)
        return self.labels[0]

    def as_dict(self) -> dict:
        """Plain containers, as JSON takes them."""
        if self.error is not None:
            return dict(video=self.video, error=self.error)
        return dict(video=self.video, labels=self.labels, scores=self.scores)

    def __str__(self) -> str:
        if self.error is not None:
            return f'left out: {self.error}'
        return f'{self.video}: ' + ', '.join(
            f'{label} {score:.3f}'
            for label, score in zip(self.labels, self.scores, strict=True))


@dataclass(frozen=True)
class Timeline:
    """Scores of a window that slides over a video.

    Args:
        video (str): The file or folder.
        classes (list[str]): Names of the ``K`` classes.
        starts (np.ndarray): Seconds at which the ``W`` windows start.
        length (float): Seconds that each of them lasts.
        scores (np.ndarray): ``(W, K)``, float32.
    """

    video: str
    classes: list[str]
    starts: np.ndarray
    length: float
    scores: np.ndarray

    @property
    def labels(self) -> list[str]:
        """The likeliest class of each window."""
        return [self.classes[k] for k in self.scores.argmax(axis=1)]

    def strongest(self, number: int) -> list[int]:
        """Places of the classes whose highest score is highest.

        Args:
            number (int): How many.

        Returns:
            list[int]: At most ``number``, the highest first.
        """
        order = np.argsort(-self.scores.max(axis=0), kind='stable')
        return order[:number].tolist()

    def as_dict(self, topk: int = TOPK) -> dict:
        """Plain containers, as JSON takes them.

        Args:
            topk (int): Classes told of each window.

        Returns:
            dict: Video and windows; those have ``start`` and ``end`` in
            seconds, ``labels`` and ``scores``.
        """
        windows = [
            dict(start=round(float(start), 3),
                 end=round(float(start) + self.length, 3),
                 **dict(zip(('labels', 'scores'),
                            _best(row, self.classes, topk), strict=True)))
            for start, row in zip(self.starts, self.scores, strict=True)]
        return dict(video=self.video, windows=windows)

    def __str__(self) -> str:
        lines = [f'{self.video}:']
        begin, labels = 0, self.labels
        for place in range(1, len(labels) + 1):  # windows of one label
            if place == len(labels) or labels[place] != labels[begin]:
                k = self.classes.index(labels[begin])
                lines.append(
                    f'  {self.starts[begin]:7.1f} to '
                    f'{self.starts[place - 1] + self.length:7.1f} s: '
                    f'{labels[begin]} up to '
                    f'{self.scores[begin:place, k].max():.3f}')
                begin = place
        return '\n'.join(lines)


def _best(scores: Any, names: Sequence[str],
          topk: int) -> tuple[list[str], list[float]]:
    """Names and scores of the classes of highest score."""
    order = np.argsort(-np.asarray(scores), kind='stable')[:topk]
    return [names[k] for k in order], [float(scores[k]) for k in order]


class _Samples(Dataset):
    """Videos through a pipeline; a broken one gives its sentence."""

    def __init__(self, videos: Sequence[Path],
                 classifier: 'VideoClassifier') -> None:
        self.videos = videos
        self.classifier = classifier

    def __len__(self) -> int:
        return len(self.videos)

    def __getitem__(self, place: int) -> dict | str:
        video = self.videos[place]
        try:
            return self.classifier.read(video)
        except BrokenVideoError as error:
            return str(error)


class VideoClassifier:
    """Names of actions in videos, by a config and a checkpoint.

    Args:
        config (str | os.PathLike | Config): A config with a test pipeline.
        checkpoint (str | os.PathLike): Its checkpoint. It is read without
            running code from it, and must fit the model.
        device (str | None): Where the model runs, as in ``'cuda:1'``; a GPU
            if there is one, else the CPU, if None.
        bf16 (bool): Compute in bfloat16 where torch's autocast does.
        labels (str | Sequence[str] | None): Names of the classes that the
            model was trained on, as
            :func:`~mmvidadapt.datasets.class_lists.class_names` takes them.
            If None those of the config: ``classes`` of a text head,
            ``metainfo`` of the test set, the file ``labels.txt`` beside its
            list of videos; else ``'class 0'``, ``'class 1'``, ...

    Raises:
        FileNotFoundError: If the config or the checkpoint is not there.
        CheckpointError: If the checkpoint is none.
        ValueError: If the config has no test pipeline, the device is not
            there, or names and classes differ in number.
    """

    def __init__(self, config: str | os.PathLike | Config,
                 checkpoint: str | os.PathLike, *,
                 device: str | None = None, bf16: bool = False,
                 labels: str | Sequence[str] | None = None) -> None:
        cfg = config if isinstance(config, Config) else (
            load_config(os.fspath(config)))
        if not osp.isfile(checkpoint):
            raise FileNotFoundError(
                f'checkpoint {os.fspath(checkpoint)!r} does not exist: give '
                'the path of a .pth or .safetensors file')
        self.cfg = copy.deepcopy(cfg)
        self.checkpoint = os.fspath(checkpoint)
        self.device = _device(device)
        self.bf16 = bf16
        #: How videos are read.
        self.pipeline = VideoPipeline(self.cfg)
        self._own = self._build(self.cfg)
        self._asked: tuple[list[str], nn.Module] | None = None
        #: Names of the classes that the model was trained on.
        self.labels = self._names(labels)

    @property
    def model(self) -> nn.Module:
        """The recognizer with the classes of its training, in eval mode."""
        return self._own

    def _build(self, cfg: Config) -> nn.Module:
        # It writes into the config that it is given.
        return init_recognizer(
            copy.deepcopy(cfg), self.checkpoint, self.device)

    # -- what the classes are ----------------------------------------------

    def _names(self, labels: str | Sequence[str] | None) -> list[str]:
        head = self._own.cls_head
        number = head.num_classes
        source: Any = labels
        if source is None and isinstance(head, TextHead):
            return list(head.class_names)
        if source is None:
            source = config_classes(self.cfg)
        if source is None:
            return [f'class {place}' for place in range(number)]
        names = class_names(source)
        if len(names) != number:
            raise ValueError(
                f'there are {len(names)} labels'
                f'{f" in {source}" if isinstance(source, str) else ""} and '
                f'the model has {number} classes: give labels that are its '
                'own')
        return names

    def choices(self, classes: str | Sequence[str] | None = None
                ) -> list[str]:
        """Names of the classes that answers choose from.

        Args:
            classes (str | Sequence[str] | None): As for :meth:`__call__`;
                the model is made ready for them.

        Returns:
            list[str]: In the order of the scores.

        Raises:
            ValueError: If the classes make no sense, or the model takes none.
        """
        return self._model(classes)[0]

    def _model(self, classes: str | Sequence[str] | None
               ) -> tuple[list[str], nn.Module]:
        """The model for some classes, and their names."""
        if classes is None:
            return self.labels, self._own
        head = self._own.cls_head
        if not isinstance(head, TextHead):
            raise ValueError(
                f'the model has a {type(head).__name__}, which knows the '
                f'{head.num_classes} classes of its training only: leave '
                'classes out, or take a model with a TextHead, as in '
                'configs/mote/vitb_k400.py')
        if head.text is None:
            raise ValueError(
                'the text features of the model are given in its config, '
                'without a text tower: leave classes out, or give text in '
                'place of features of cls_head')
        names = class_names(classes)
        if names == list(head.class_names):
            return names, self._own
        if self._asked is None or self._asked[0] != names:
            cfg = copy.deepcopy(self.cfg)
            cfg.model.cls_head.classes = names
            if head.modulate:  # compares no more classes than there are
                cfg.model.cls_head.modulation_k = min(
                    head.modulation_k, len(names))
            if cfg.model.get('consistency'):  # trains only
                cfg.model.consistency = None
            self._asked = None  # before the next one takes its place
            model = self._build(cfg)
            _share(self._own, model)
            self._asked = names, model
        return self._asked

    # -- reading -----------------------------------------------------------

    def read(self, video: str | os.PathLike) -> dict:
        """Views of one video, as the config's test makes them.

        Args:
            video (str | os.PathLike): A file or a folder of frames.

        Returns:
            dict: ``inputs`` ``(V, 3, T, H, W)`` uint8 and ``data_samples``.

        Raises:
            BrokenVideoError: If it cannot be read.
        """
        return self.pipeline.read(video)

    # -- answers -----------------------------------------------------------

    def __call__(self, videos: Videos,
                 classes: str | Sequence[str] | None = None,
                 topk: int = TOPK, batch_size: int = 1,
                 workers: int = 0) -> Prediction | list[Prediction]:
        """Say what videos show.

        Args:
            videos (Videos): A video file or a folder of frames; a folder of
                such; or several of them.
            classes (str | Sequence[str] | None): Names to choose from in
                place of the model's own (zero-shot); a model with a
                ``TextHead`` takes any, as ``classes`` of the head. New ones
                build the model anew; the last one is kept, and has only
                what depends on classes for itself.
            topk (int): Classes of an answer.
            batch_size (int): Videos that the model looks at at once.
            workers (int): Processes that read videos ahead; none if 0.

        Returns:
            Prediction | list[Prediction]: One for a single file or folder of
            frames, else a list. In a list a broken video has its ``error``,
            and a warning at the end names it.

        Raises:
            BrokenVideoError: If the only video cannot be read.
            FileNotFoundError: If a file or folder is not there.
            ValueError: If a folder holds no videos, or classes or another
                argument make no sense.
        """
        single = isinstance(videos, (str, os.PathLike)) and not (
            osp.isdir(videos) and not holds_frames(Path(videos)))
        given = [videos] if isinstance(videos, (str, os.PathLike)) else videos
        found = list(self.stream(given, classes, topk, batch_size, workers))
        if single:
            found[0].label  # noqa: B018  (raises if it could not be read)
            return found[0]
        broken = [one.error for one in found if one.error is not None]
        if broken:
            MMLogger.get_current_instance().warning(
                f'{len(broken)} of {len(found)} videos left out: '
                + ' '.join(broken))
        return found

    def stream(self, videos: Sequence[str | os.PathLike],
               classes: str | Sequence[str] | None = None,
               topk: int = TOPK, batch_size: int = 1,
               workers: int = 0) -> Iterator[Prediction]:
        """As :meth:`__call__`, one answer at a time.

        Args:
            videos (Sequence[str | os.PathLike]): Files and folders.
            classes (str | Sequence[str] | None): As there.
            topk (int): As there.
            batch_size (int): As there.
            workers (int): As there.

        Yields:
            Prediction: In the order of the videos.
        """
        paths = find_videos(videos)
        for name, value, least in (('topk', topk, 1), ('workers', workers, 0),
                                   ('batch_size', batch_size, 1)):
            _check_number(name, value, least)
        names, model = self._model(classes)
        self._check_batch(batch_size)
        loader = DataLoader(_Samples(paths, self), batch_size,
                            num_workers=workers, collate_fn=list)
        place = 0
        for batch in loader:
            scores = iter(self._scores(
                model, [one for one in batch if not isinstance(one, str)]))
            for one in batch:
                video = str(paths[place])
                place += 1
                if isinstance(one, str):
                    yield Prediction(video, error=one)
                else:
                    yield Prediction(video, *_best(
                        next(scores).numpy(), names, topk))

    def over_time(self, video: str | os.PathLike, window: float = 2.,
                  stride: float | None = None,
                  classes: str | Sequence[str] | None = None,
                  batch_size: int = 1, fps: float | None = None,
                  progress: Callable[[int, int], None] | None = None
                  ) -> Timeline:
        """Say what a long video shows at each time.

        A window is looked at as the config looks at a whole video. Each
        frame is decoded once, however windows overlap.

        Args:
            video (str | os.PathLike): A file or a folder of frames.
            window (float): Seconds that a window lasts.
            stride (float | None): Seconds between the starts of two windows;
                half a window if None.
            classes (str | Sequence[str] | None): As for :meth:`__call__`.
            batch_size (int): Windows that the model looks at at once.
            fps (float | None): Frames per second, which a folder of frames
                does not say; what the file says if None.
            progress (Callable[[int, int], None] | None): Told after each
                batch how many windows were looked at, and of how many.

        Returns:
            Timeline: Scores of the windows.

        Raises:
            BrokenVideoError: If it cannot be read.
            FileNotFoundError: If it is not there.
            ValueError: If an argument makes no sense.
        """
        found = find_videos([video])
        if found != [Path(video)]:
            raise ValueError(f'{video} is a folder of videos: look at them '
                             'over time one by one')
        path, = found
        _check_number('batch_size', batch_size, 1)
        self._check_batch(batch_size)
        names, model = self._model(classes)
        reader = WindowReader(
            self.pipeline.steps(path), self.pipeline.start(path),
            window, window / 2 if stride is None else stride, fps)
        scores: list[Tensor] = []
        batch: list[dict] = []
        for place, sample in enumerate(reader, 1):
            batch.append(sample)
            if len(batch) == batch_size or place == len(reader):
                scores.extend(self._scores(model, batch))
                batch = []
                if progress is not None:
                    progress(place, len(reader))
        return Timeline(
            str(path), names,
            np.array([one.first for one in reader.windows]) / reader.fps,
            reader.length / reader.fps, torch.stack(scores).numpy())

    def _check_batch(self, batch_size: int) -> None:
        views = (self._own.test_cfg or {}).get('max_testing_views')
        if views and batch_size > 1:
            raise ValueError(
                f'max_testing_views={views} of the config takes the views of '
                f'one video at a time and batch_size is {batch_size}: set '
                'one of them to None or 1')

    @torch.no_grad()
    def _scores(self, model: nn.Module, batch: list[dict]) -> list[Tensor]:
        """Scores of samples, each ``(K)`` float32 on the CPU."""
        if not batch:
            return []
        precision: AbstractContextManager = torch.autocast(
            self.device.type, torch.bfloat16) if self.bf16 else nullcontext()
        with precision:
            found = model.test_step(pseudo_collate(batch))
        scores = [one.pred_score.float().cpu() for one in found]
        if scores[0].dim() != 1:
            raise ValueError(
                'the model gives scores for each view apart: set '
                "model.cls_head.average_clips, for example to 'prob'")
        return scores


def _check_number(name: str, value: int, least: int) -> None:
    if value < least:
        raise ValueError(f'{name}={value} is too small: give at least '
                         f'{least}')


def _share(held: nn.Module, model: nn.Module) -> None:
    """Let a model hold the tensors of another one where they are equal."""
    own = {**dict(held.named_parameters()), **dict(held.named_buffers())}
    for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
        other = own.get(name)
        if (other is not None and other.dtype == tensor.dtype
                and torch.equal(other, tensor)):
            tensor.data = other.data


def _device(name: str | None) -> torch.device:
    """The device of a name, or the best one."""
    if name is None:
        return torch.device('cuda' if torch.cuda.is_available() else 'cpu')
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(f'there is no device {name!r} here ({reason}): give '
                         "'cpu', 'cuda' or none") from error
    return device


def config_classes(cfg: Config) -> str | Sequence[str] | None:
    """What names the classes that a config trains on, if anything does.

    Args:
        cfg (Config): The config.

    Returns:
        str | Sequence[str] | None: For
        :func:`~mmvidadapt.datasets.class_lists.class_names`: ``classes`` of
        the head, those of the test set's ``metainfo``, or the path of
        ``labels.txt`` beside the list of its videos.
    """
    dataset = test_set(cfg)
    head = cfg.model.get('cls_head') or {}
    source = head.get('classes') or (
        dataset.get('metainfo') or {}).get('classes')
    if source is None:
        # Where tools/data/make_lists.py writes it.
        lists = dataset.get('ann_file')
        path = osp.join(osp.dirname(lists or ''), 'labels.txt')
        source = path if lists and osp.isfile(path) else None
    return source
