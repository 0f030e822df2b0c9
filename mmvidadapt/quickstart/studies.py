"""What the models of a method are asked, and on which videos."""

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, Dict, List, NamedTuple, Sequence, Tuple

import numpy as np

from . import synthetic
from .results import (
    Accuracy,
    Cost,
    Targets,
    comparison,
    measure,
    missed_targets,
)
from .sentences import Sentences, write_descriptions
from .synthetic import SEEN, UNSEEN, ActionClass, VideoSettings
from .transfer import (
    GROUPS,
    Scored,
    Transfer,
    TransferTargets,
    measure_transfer,
    missed_transfer,
    transfer_table,
)


class ClipList(NamedTuple):
    """Clips that models are tested on.

    Args:
        folder (str): Of the data set, in the work folder.
        name (str): Of its list.
    """

    folder: str
    name: str


class Study(ABC):
    """A question to several models.

    Attributes:
        data (dict[str, tuple[ActionClass, ...]]): Folder of each data set ->
            its classes. The models are trained on the first.
        lists (dict[str, ClipList]): What they are tested on.
        tests (str): The same in words.
        shown (dict[str, ClipList]): Sentence -> video that is looked at,
            as if it were a list of one.
        notes (str): What the columns of the table are.
    """

    data: Dict[str, Tuple[ActionClass, ...]]
    lists: Dict[str, ClipList]
    tests: str
    shown: Dict[str, ClipList]
    notes: str

    @property
    def classes(self) -> Tuple[ActionClass, ...]:
        """Those of the training."""
        return next(iter(self.data.values()))

    @property
    def title(self) -> str:
        """What the first shown video shows."""
        folder, name = next(iter(self.shown.values()))
        scene = Path(name).stem.split('_')[0]
        return next(c.text for c in self.data[folder] if c.scene == scene)

    @abstractmethod
    def videos(self, seed: int, short: bool) -> Dict[str, VideoSettings]:
        """Sizes of the data sets.

        Args:
            seed (int): Their seed.
            short (bool): For ``--ci``.

        Returns:
            dict[str, VideoSettings]: By folder.
        """

    @abstractmethod
    def about(self) -> List[str]:
        """What is in the data sets, in lines."""

    def write_texts(self, work: Path) -> List[str]:
        """Write what models read beside the videos; nothing by default.

        Args:
            work (Path): Work folder.

        Returns:
            list[str]: What was written, in lines.
        """
        return []

    def options(self, work: Path, clips: ClipList) -> Dict[str, Any]:
        """Options of a config that test on a list.

        Args:
            work (Path): Work folder.
            clips (ClipList): The list.

        Returns:
            dict[str, Any]: As for ``--cfg-options``.
        """
        root = work / clips.folder
        return {'test_dataloader.dataset.ann_file':
                str(root / f'{clips.name}.txt')}

    @abstractmethod
    def measure(self, scores: Dict[str, np.ndarray],
                labels: Dict[str, np.ndarray]) -> Any:
        """Measure a model.

        Args:
            scores (Dict[str, np.ndarray]): By key of ``lists``, ``(N, K)``.
            labels (Dict[str, np.ndarray]): The same, ``(N,)``.

        Returns:
            Any: A dataclass of what was found.
        """

    @abstractmethod
    def missed(self, name: str, found: Any, targets: Any) -> List[str]:
        """The targets that a model missed, a sentence each.

        Args:
            name (str): Name of the model.
            found (Any): Of :meth:`measure`.
            targets (Any): What must come out; None asks for nothing.

        Returns:
            list[str]: Empty if all were met.
        """

    @abstractmethod
    def table(self, rows: Sequence[Tuple[str, Any, Cost | None]]) -> str:
        """The table in which the quickstart ends.

        Args:
            rows (Sequence[Tuple[str, Any, Cost | None]]): Name, what was
                found and cost.

        Returns:
            str: Lines of text.
        """


class OrderStudy(Study):
    """Who sees the order of frames: clips forwards and backwards."""

    data = {'data': synthetic.CLASSES}
    lists = {name: ClipList('data', name)
             for name in ('test', synthetic.REVERSED)}
    tests = 'forwards and backwards'
    # One whose direction is easy to see.
    shown = {
        'a test clip': ClipList('data', 'test/tunnel_forwards_000.mp4'),
        'the same, backwards': ClipList(
            'data', f'{synthetic.REVERSED}/tunnel_forwards_000.mp4')}
    notes = (
        'motion: pairs of reversed motions. within pairs: lowest and '
        'highest pair, forwards\nand backwards, where guessing gives 50. '
        'reversed: motion clips whose label turns\ninto its reverse when '
        'the clip is played backwards. s/step: forward and backward\nof '
        'a training batch.')

    def videos(self, seed: int, short: bool) -> Dict[str, VideoSettings]:
        """As for every study; fewer clips of the test where it is short."""
        return {'data': VideoSettings(seed, test=10) if short
                else VideoSettings(seed)}

    def about(self) -> List[str]:
        """The pairs, by the first of them."""
        pairs = synthetic.motion_pairs()
        first, second = (self.classes[label].text for label in pairs[0])
        return [f'{2 * len(pairs)} classes are pairs of reversed motions, '
                'such as', f'"{first}" and', f'"{second}":',
                'no single frame tells which of the two it is']

    def measure(self, scores: Dict[str, np.ndarray],
                labels: Dict[str, np.ndarray]) -> Accuracy:
        """See :func:`~.results.measure`."""
        return measure(
            scores['test'], labels['test'], scores[synthetic.REVERSED],
            synthetic.reverse_labels(), [c.text for c in self.classes])

    def missed(self, name: str, found: Accuracy,
               targets: Targets | None) -> List[str]:
        """See :func:`~.results.missed_targets`."""
        return missed_targets(name, found, targets or Targets())

    def table(self, rows: Sequence[Tuple[str, Accuracy, Cost | None]]
              ) -> str:
        """See :func:`~.results.comparison`."""
        return comparison(rows)


class TransferStudy(Study):
    """Who still knows classes that nobody trained on.

    For models that compare a video with the names of classes.
    """

    data = {'seen': SEEN, 'unseen': UNSEEN}
    #: What the classes of each data set are called.
    groups = GROUPS
    lists = {name: ClipList(name, 'test') for name in data}
    tests = 'on seen and on unseen classes'
    shown = {
        'a clip of an unseen class': ClipList(
            'unseen', 'test/star-size_forwards_000.mp4'),
        'one of its reverse': ClipList(
            'unseen', 'test/star-size_backwards_000.mp4')}
    notes = (
        'seen: test clips of the classes of training, among these. unseen: '
        'clips of the other\nclasses, among the others; as many of each as '
        'are played backwards, so a model that\ndoes not see the order of '
        'frames is right in half of them at best. HM: harmonic mean.\n'
        's/step: forward and backward of a training batch.')

    def videos(self, seed: int, short: bool) -> Dict[str, VideoSettings]:
        """As for every study; fewer clips of the test where it is short."""
        test = 10 if short else 25
        return {
            'seen': VideoSettings(seed, train=75, test=test, classes=SEEN,
                                  backwards=False),
            # Twice as many of half as many classes.
            'unseen': VideoSettings(seed, train=0, val=0, test=2 * test,
                                    classes=UNSEEN, backwards=False)}

    def about(self) -> List[str]:
        """Which words are combined, and one that is left out."""
        left_out = [c.text for c in UNSEEN if not c.backwards]
        return [f'{len(SEEN)} classes to train on, such as '
                f'"{SEEN[0].text}"; {len(UNSEEN)}',
                'other combinations of the same shapes and motions are only '
                'tested:', *(f'"{text}" and its reverse'
                             for text in left_out)]

    def options(self, work: Path, clips: ClipList) -> Dict[str, Any]:
        """Also whose classes these are."""
        root = work / clips.folder
        return {
            **super().options(work, clips),
            'test_dataloader.dataset.data_prefix.video': str(root),
            'model.cls_head.classes': str(root / 'labels.txt')}

    def measure(self, scores: Dict[str, np.ndarray],
                labels: Dict[str, np.ndarray]) -> Transfer:
        """See :func:`~.transfer.measure_transfer`."""
        seen, unseen = (
            Scored(scores[name], labels[name],
                   [c.text for c in self.data[clips.folder]])
            for name, clips in self.lists.items())
        return measure_transfer(seen, unseen, self.groups)

    def missed(self, name: str, found: Transfer,
               targets: TransferTargets | None) -> List[str]:
        """See :func:`~.transfer.missed_transfer`."""
        return missed_transfer(name, found, targets or TransferTargets(),
                               self.groups)

    def table(self, rows: Sequence[Tuple[str, Transfer, Cost | None]]
              ) -> str:
        """See :func:`~.transfer.transfer_table`."""
        return transfer_table(rows, self.groups)


class DescribedStudy(TransferStudy):
    """The same, where models may read sentences about the seen classes."""

    groups = ('base', 'novel')
    lists = {group: ClipList(folder, 'test') for group, folder in zip(
        groups, TransferStudy.data, strict=True)}
    tests = 'on base and on novel classes'
    #: About the model that is not trained.
    untrained = (
        'The frozen model is\none: its temporal embedding is zero, so that '
        'frames in another order are the same to\nit.')

    @property
    def notes(self) -> str:  # type: ignore[override]
        """What the columns are, and how the first row sees time."""
        return (
            'base: test clips of the classes of training, among these. '
            'novel: clips of the other\nclasses, among the others; as many '
            'of each as are played backwards, so a model that\ndoes not see '
            'the order of frames is right in half of them at best. '
            f'{self.untrained} HM: harmonic mean. trained: parameters that '
            'train. s/step: forward and backward\nof a training batch.')

    def write_texts(self, work: Path) -> List[str]:
        """Descriptions of the seen classes."""
        write_descriptions(SEEN, work / 'descriptions')
        kinds = ' and '.join(Sentences._fields)
        return [f'sentences about the {len(SEEN)} classes in descriptions/ '
                f'({kinds})']

    def table(self, rows: Sequence[Tuple[str, Transfer, Cost | None]]
              ) -> str:
        """Also how many parameters train."""
        return transfer_table(rows, self.groups, trained=True)


class MixedStudy(DescribedStudy):
    """The same, of mixed methods on a CLIP that sees each frame alone."""

    untrained = (
        'The model that is\nnot trained is one: the mean of its frame '
        'features is the same in\nany order.')
