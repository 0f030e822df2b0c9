"""The methods that the quickstart can show, a row each."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Callable, Dict, Tuple

from . import figures
from .results import Targets
from .studies import (
    DescribedStudy,
    MixedStudy,
    OrderStudy,
    Study,
    TransferStudy,
)


@dataclass(frozen=True)
class Training:
    """How long the models of a method train, and what must come out.

    Args:
        epochs (int): Epochs of each model.
        targets (dict[str, Any]): By row of the table, as the study takes
            them; a row that is not named is only reported.
    """

    epochs: int
    targets: Dict[str, Any]


@dataclass(frozen=True)
class Row:
    """A row of the table: a model, perhaps tested in another way.

    Args:
        model (str): Name of the model.
        options (dict[str, Any]): Options of its config in the test, as for
            ``--cfg-options``.
        trained (bool): Whether the model is as training left it, or as it
            was before.
    """

    model: str
    options: Dict[str, Any] = field(default_factory=dict)
    trained: bool = True

    @property
    def plain(self) -> bool:
        """Whether this is the trained model, tested by its own config."""
        return self.trained and not self.options


@dataclass(frozen=True)
class Method:
    """A method, and the models that it is compared with.

    Args:
        question (str): What the comparison is about, in a sentence.
        models (dict[str, str]): Name -> config below
            ``configs/quickstart``, in the order of the training.
        main (str): The model that looks at single videos.
        full (Training): Of the README's command.
        short (Training): Of ``--ci``.
        draw (Callable): Draws what the trained models see in a clip, or what
            they know; gets :class:`figures.Findings` and the PNG file.
        picture (str): Name of that file.
        prefix (str): Of the names of its curves and its summary.
        frozen (tuple[str, ...]): Models out of whose training CLIP must come
            bit for bit.
        study (Study): What the models are asked.
        tested (dict[str, Row]): Rows of the table; empty if each model is
            one, by its name.
    """

    question: str
    models: Dict[str, str]
    main: str
    full: Training
    short: Training
    draw: Callable[[figures.Findings, Path], None]
    picture: str
    prefix: str = ''
    frozen: Tuple[str, ...] = ()
    study: Study = field(default_factory=OrderStudy)
    tested: Dict[str, Row] = field(default_factory=dict)

    @property
    def rows(self) -> Dict[str, Row]:
        """Rows of the table by their names."""
        return self.tested or {name: Row(name) for name in self.models}


_EXPERTS = 4
_UNMODULATED = {'model.cls_head.modulate': False}


def _expert(place: int) -> Row:
    """One expert of each layer alone, from the training of all."""
    weights = [float(place == other) for other in range(_EXPERTS)]
    return Row('MoTE', {**_UNMODULATED, 'model.neck.merge_weights': weights})


#: Methods by the name that ``--method`` takes.
METHODS = {
    'inti': Method(
        question='InTI or frame averaging: which of them sees the order of '
        'frames?',
        models={'InTI': 'inti', 'naive': 'naive'},
        main='InTI',
        full=Training(6, {
            'InTI': Targets(motion=0.90, appearance=0.90, flips=0.90),
            'naive': Targets(appearance=0.95, off_half=0.15)}),
        short=Training(4, {
            'InTI': Targets(motion=0.75, appearance=0.90, flips=0.70),
            'naive': Targets(appearance=0.90, off_half=0.20)}),
        draw=figures.draw_inti,
        picture='inti_weights.png'),
    # The rows of the paper's Table 3a.
    'tds_clip': Method(
        question='TDS-CLIP beside a frozen CLIP: what do its two adapters '
        'add?',
        models={
            'baseline': 'tds_clip_baseline',
            '+ TD-Adapter': 'tds_clip_td',
            '+ SME-Adapter': 'tds_clip'},
        main='+ SME-Adapter',
        full=Training(6, {
            'baseline': Targets(appearance=0.95),
            '+ TD-Adapter': Targets(appearance=0.95),
            '+ SME-Adapter': Targets(
                motion=0.80, appearance=0.95, flips=0.80)}),
        short=Training(4, {
            'baseline': Targets(appearance=0.90),
            '+ TD-Adapter': Targets(appearance=0.90),
            '+ SME-Adapter': Targets(
                motion=0.70, appearance=0.90, flips=0.65)}),
        draw=figures.draw_tds_clip,
        picture='tds_clip_activations.png',
        prefix='tds_clip_',
        frozen=('baseline', '+ TD-Adapter', '+ SME-Adapter')),
    # The paper's Table 1 and Fig. 3.
    'mote': Method(
        question='MoTE: does a model that learned some combinations of shape '
        'and motion know\nothers by their names?',
        models={
            'frame average': 'mote_mean',
            'temporal transformer': 'mote_plain',
            'MoTE': 'mote'},
        main='MoTE',
        full=Training(8, {}),
        short=Training(4, {}),
        draw=figures.draw_transfer,
        picture='mote_classes.png',
        prefix='mote_',
        study=TransferStudy(),
        tested={
            'small CLIP, not trained': Row('frame average', trained=False),
            'frame average': Row('frame average'),
            'temporal transformer': Row('temporal transformer'),
            **{f'MoTE, expert {place + 1}': _expert(place)
               for place in range(_EXPERTS)},
            'MoTE, merged': Row('MoTE', _UNMODULATED),
            'MoTE, merged + TFM': Row('MoTE')}),
    # The paper's Table 2, base to novel.
    'msta': Method(
        question='MSTA: do small adapters in both towers learn some '
        'combinations of shape and motion,\nand leave what CLIP knows of '
        'others?',
        models={
            'full fine-tuning': 'msta_full',
            'MSTA without descriptions': 'msta_plain',
            'MSTA': 'msta'},
        main='MSTA',
        full=Training(6, {}),
        short=Training(2, {}),
        draw=figures.draw_transfer,
        picture='msta_classes.png',
        prefix='msta_',
        frozen=('MSTA without descriptions', 'MSTA'),
        study=DescribedStudy(),
        tested={
            'frozen zero-shot': Row('full fine-tuning', trained=False),
            'full fine-tuning': Row('full fine-tuning'),
            'MSTA without descriptions': Row('MSTA without descriptions'),
            'MSTA': Row('MSTA')}),
    # Those of configs/mixed.
    'mixed': Method(
        question='Mixes of the methods: do they train, and know combinations '
        'of shape and motion\nthat nobody trained on by their names?',
        models={
            'InTI + MoTE': 'inti_mote',
            'InTI + MSTA': 'inti_msta',
            'TDS-CLIP + text head': 'tds_text',
            'TDS-CLIP + MoTE': 'tds_mote',
            'MSTA + MoTE': 'msta_mote'},
        main='InTI + MoTE',
        full=Training(8, {}),
        short=Training(2, {}),
        draw=figures.draw_transfer,
        picture='mixed_classes.png',
        prefix='mixed_',
        frozen=('InTI + MSTA', 'TDS-CLIP + text head', 'TDS-CLIP + MoTE',
                'MSTA + MoTE'),
        study=MixedStudy(),
        tested={
            # scores as the small CLIP: the side features add nothing yet
            'TDS-CLIP + text head, not trained': Row(
                'TDS-CLIP + text head', trained=False),
            **{name: Row(name) for name in (
                'InTI + MoTE', 'InTI + MSTA', 'TDS-CLIP + text head',
                'TDS-CLIP + MoTE', 'MSTA + MoTE')}}),
}
DEFAULT = 'inti'
