"""The methods that the quickstart can show, a row each."""

from dataclasses import dataclass
from pathlib import Path
from typing import Callable, Dict

from . import figures
from .results import Targets


@dataclass(frozen=True)
class Training:
    """How long the models of a method train, and what must come out.

    Args:
        epochs (int): Epochs of each model.
        targets (dict[str, Targets]): By name of the model; a model that is
            not named is only reported.
    """

    epochs: int
    targets: Dict[str, Targets]


@dataclass(frozen=True)
class Method:
    """A method, and the models that it is compared with.

    Args:
        question (str): What the comparison is about, in a sentence.
        models (dict[str, str]): Name in the table -> config below
            ``configs/quickstart``, in the order of the table.
        main (str): The model that looks at single videos.
        full (Training): Of the README's command.
        short (Training): Of ``--ci``.
        draw (Callable): Draws what the trained models see in a clip; gets
            their :class:`figures.Look` by name, the text of the clip's class
            and the PNG file.
        picture (str): Name of that file.
        prefix (str): Of the names of its curves and its summary.
        frozen (bool): CLIP must come out of each training bit for bit.
    """

    question: str
    models: Dict[str, str]
    main: str
    full: Training
    short: Training
    draw: Callable[[Dict[str, figures.Look], str, Path], None]
    picture: str
    prefix: str = ''
    frozen: bool = False


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
        frozen=True),
}
DEFAULT = 'inti'
