"""What the quickstart measures, and what must come out."""

from dataclasses import dataclass
from typing import Dict, List, NamedTuple, Sequence, Tuple

import numpy as np


@dataclass(frozen=True)
class Accuracy:
    """Accuracies of a model, each between 0 and 1.

    Args:
        top1 (float): On the test clips of all classes.
        motion (float): On the test clips of classes with a reverse.
        appearance (float): On those of the other classes.
        within_pairs (dict[str, float]): For each pair of reversed motions,
            how often the right one of the two gets the higher score, over
            test clips played forwards and backwards. Both ways together, an
            order-blind model is right exactly every other time.
        flipped (int): Motion clips whose label becomes its reverse when the
            clip is played backwards.
        motion_clips (int): Motion clips in the test.
    """

    top1: float
    motion: float
    appearance: float
    within_pairs: Dict[str, float]
    flipped: int
    motion_clips: int

    @property
    def flip_share(self) -> float:
        """Share of the motion clips that flip."""
        return self.flipped / self.motion_clips


def measure(scores: np.ndarray, labels: np.ndarray, backwards: np.ndarray,
            reverse: Sequence[int], names: Sequence[str]) -> Accuracy:
    """Accuracies from scores.

    Args:
        scores (np.ndarray): ``(N, K)`` of the test clips.
        labels (np.ndarray): ``(N,)``.
        backwards (np.ndarray): ``(M, K)`` of the motion clips among them, in
            the same order, played backwards.
        reverse (Sequence[int]): Label of each class played backwards.
        names (Sequence[str]): Class names.

    Returns:
        Accuracy: The accuracies.

    Raises:
        ValueError: If there is not one backwards clip for each motion clip.
    """
    opposite = np.asarray(reverse)
    moves = opposite[labels] != labels
    if moves.sum() != len(backwards):
        raise ValueError(
            f'{moves.sum()} motion clips but {len(backwards)} clips played '
            'backwards: make the data set again with --fresh')
    found = scores.argmax(axis=1)
    found_back = backwards.argmax(axis=1)
    both = np.concatenate([scores[moves], backwards])
    truth = np.concatenate([labels[moves], opposite[labels[moves]]])
    within = {}
    for a, b in enumerate(reverse):
        if a < b:
            here = (truth == a) | (truth == b)
            right = both[here][:, [a, b]].argmax(axis=1) == (truth[here] == b)
            within[f'{names[a]} / {names[b]}'] = float(right.mean())
    turned = (found_back == opposite[found[moves]]) & (
        found_back != found[moves])
    hits = found == labels
    return Accuracy(
        top1=float(hits.mean()), motion=float(hits[moves].mean()),
        appearance=float(hits[~moves].mean()), within_pairs=within,
        flipped=int(turned.sum()), motion_clips=int(moves.sum()))


@dataclass(frozen=True)
class Targets:
    """What must come out of a model; the defaults ask for nothing.

    Args:
        motion (float): Least accuracy on motion classes.
        appearance (float): Least accuracy on the others. For a model that
            cannot see the order of frames: that it is not merely
            under-trained.
        flips (float): Least share of motion clips whose label reverses with
            them.
        off_half (float): How far from one half the model may be within a
            pair of reversed motions; an order-blind one is at one half.
    """

    motion: float = 0.
    appearance: float = 0.
    flips: float = 0.
    off_half: float = 0.5


def missed_targets(name: str, found: Accuracy,
                   targets: Targets) -> List[str]:
    """The targets that a model missed, a sentence each.

    Args:
        name (str): Name of the model.
        found (Accuracy): What it reached.
        targets (Targets): What must come out.

    Returns:
        list[str]: Empty if all were met.
    """
    least = [
        (f'{name} on motion classes', found.motion, targets.motion),
        (f'{name} on appearance classes', found.appearance,
         targets.appearance),
        (f'the share of motion clips whose label {name} reverses when they '
         'are played backwards', found.flip_share, targets.flips),
    ]
    missed = [f'{what} is {100 * value:.1f} %, less than {100 * least:.0f} %'
              for what, value, least in least if value < least]
    for pair, value in found.within_pairs.items():
        if abs(value - 0.5) > targets.off_half:
            missed.append(
                f'{name} tells "{pair}" apart in {100 * value:.1f} % of the '
                f'clips, more than {100 * targets.off_half:.0f} points from '
                'the 50 % of an order-blind model')
    return missed


class Cost(NamedTuple):
    """What a model costs.

    Args:
        macs (float): Multiply-accumulates of a clip.
        seconds (float | None): Of a training step; None if nothing trains.
        trained (int): Parameters that train.
    """

    macs: float
    seconds: float | None
    trained: int


def cost_cells(cost: Cost | None) -> Tuple[str, str]:
    """Cells of a table.

    Args:
        cost (Cost | None): What a model costs; None for what is a trained
            model tested otherwise.

    Returns:
        tuple[str, str]: Millions of MACs, and seconds; empty without a cost.
    """
    if cost is None:
        return '', ''
    return (f'{cost.macs / 1e6:.1f}',
            '' if cost.seconds is None else f'{cost.seconds:.3f}')


def format_table(rows: Sequence[Sequence[str]]) -> str:
    """A table with a rule under its first row.

    Args:
        rows (Sequence[Sequence[str]]): Cells; the first column is text, the
            others are numbers.

    Returns:
        str: Lines of text.
    """
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = ['  '.join(cell.ljust(w) if i == 0 else cell.rjust(w)
                       for i, (cell, w) in enumerate(
                           zip(row, widths, strict=True)))
             for row in rows]
    return '\n'.join([lines[0], '-' * len(lines[0]), *lines[1:]])


def comparison(
        rows: Sequence[Tuple[str, Accuracy, Cost | None]]) -> str:
    """The table in which the quickstart ends.

    Args:
        rows (Sequence[Tuple[str, Accuracy, Cost | None]]): Name, accuracy
            and cost of each model.

    Returns:
        str: Lines of text.
    """
    table = [['', 'top-1', 'motion', 'appearance', 'within pairs', 'reversed',
              'MMACs/clip', 's/step']]
    for name, found, cost in rows:
        within = list(found.within_pairs.values())
        table.append([
            name, f'{100 * found.top1:.1f}', f'{100 * found.motion:.1f}',
            f'{100 * found.appearance:.1f}',
            f'{100 * min(within):.0f}-{100 * max(within):.0f}',
            f'{found.flipped}/{found.motion_clips}', *cost_cells(cost)])
    return format_table(table)
