"""What the quickstart measures on seen and on unseen classes."""

from dataclasses import dataclass
from typing import Dict, List, NamedTuple, Sequence, Tuple

import numpy as np

from ..evaluation import harmonic_mean
from .results import Cost, cost_cells, format_table


@dataclass(frozen=True)
class Transfer:
    """Accuracies of a model, each between 0 and 1.

    Args:
        seen (float): On the test clips of the classes of training, among
            these classes.
        unseen (float): On those of the other classes, among the others.
        harmonic_mean (float): Of the two.
        by_class (dict[str, dict[str, float]]): What the two groups of
            classes are called, seen ones first -> name of the class ->
            accuracy on its clips.
    """

    seen: float
    unseen: float
    harmonic_mean: float
    by_class: Dict[str, Dict[str, float]]


class Scored(NamedTuple):
    """Clips of some classes, and what a model says of them.

    Args:
        scores (np.ndarray): ``(N, K)``.
        labels (np.ndarray): ``(N,)``, each class at least once.
        names (Sequence[str]): Names of the ``K`` classes.
    """

    scores: np.ndarray
    labels: np.ndarray
    names: Sequence[str]

    @property
    def hits(self) -> np.ndarray:
        """Whether each clip is right, ``(N,)``."""
        return self.scores.argmax(axis=1) == self.labels


#: What seen and unseen classes are called.
GROUPS = ('seen', 'unseen')


def measure_transfer(seen: Scored, unseen: Scored,
                     groups: Tuple[str, str] = GROUPS) -> Transfer:
    """Accuracies from scores.

    Args:
        seen (Scored): Clips of the classes of training.
        unseen (Scored): Clips of the other classes.
        groups (Tuple[str, str]): What they are called.

    Returns:
        Transfer: The accuracies.
    """
    totals = [float(part.hits.mean()) for part in (seen, unseen)]
    return Transfer(
        seen=totals[0], unseen=totals[1],
        harmonic_mean=harmonic_mean(totals),
        by_class={
            group: {name: float(part.hits[part.labels == label].mean())
                    for label, name in enumerate(part.names)}
            for group, part in zip(groups, (seen, unseen), strict=True)})


@dataclass(frozen=True)
class TransferTargets:
    """What must come out of a model; the defaults ask for nothing.

    Args:
        seen (float): Least accuracy on seen classes.
        unseen (float): Least accuracy on unseen classes.
        most_seen (float): Largest accuracy on seen classes. For a model that
            cannot see the order of frames: it is right in every other clip
            at best, but for chance.
        most_unseen (float): Largest accuracy on unseen classes.
    """

    seen: float = 0.
    unseen: float = 0.
    most_seen: float = 1.
    most_unseen: float = 1.


def missed_transfer(name: str, found: Transfer, targets: TransferTargets,
                    groups: Tuple[str, str] = GROUPS) -> List[str]:
    """The targets that a model missed, a sentence each.

    Args:
        name (str): Name of the model.
        found (Transfer): What it reached.
        targets (TransferTargets): What must come out.
        groups (Tuple[str, str]): What seen and unseen classes are called.

    Returns:
        list[str]: Empty if all were met.
    """
    missed = []
    for group, value, least, most in (
            (groups[0], found.seen, targets.seen, targets.most_seen),
            (groups[1], found.unseen, targets.unseen, targets.most_unseen)):
        told = f'{name} on {group} classes is {100 * value:.1f} %'
        if value < least:
            missed.append(f'{told}, less than {100 * least:.0f} %')
        if value > most:
            missed.append(f'{told}, more than the {100 * most:.0f} % of a '
                          'model that is blind to the order of frames')
    return missed


def transfer_table(
        rows: Sequence[Tuple[str, Transfer, Cost | None]],
        groups: Tuple[str, str] = GROUPS, trained: bool = False) -> str:
    """The table in which the quickstart of such a method ends.

    Args:
        rows (Sequence[Tuple[str, Transfer, Cost | None]]): Name,
            accuracies and cost; no cost for a trained model that is tested
            otherwise.
        groups (Tuple[str, str]): What seen and unseen classes are called.
        trained (bool): Tell how many parameters train.

    Returns:
        str: Lines of text.
    """
    table = [['', *groups, 'HM', *(['trained'] if trained else ()),
              'MMACs/clip', 's/step']]
    for name, found, cost in rows:
        count = [f'{cost.trained:,}' if cost else ''] if trained else ()
        table.append([
            name, *(f'{100 * value:.1f}' for value in (
                found.seen, found.unseen, found.harmonic_mean)),
            *count, *cost_cells(cost)])
    return format_table(table)
