"""One number from several: means over splits, harmonic means over tasks.

All take accuracies in percent, or all from 0 to 1.
"""

import statistics
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np


class BaseToNovel(NamedTuple):
    """Result of the base-to-novel protocol.

    Args:
        base (float): Mean accuracy on base classes.
        novel (float): Mean accuracy on novel classes.
        harmonic_mean (float): Of the two.
    """

    base: float
    novel: float
    harmonic_mean: float


def mean_and_std(accuracies: Sequence[float] | np.ndarray
                 ) -> tuple[float, float]:
    """Mean and standard deviation over splits or seeds.

    Args:
        accuracies (Sequence[float] | np.ndarray): At least one.

    Returns:
        tuple[float, float]: The mean, and the deviation of these splits
        (divided by their number, as MoTE's program does).

    Raises:
        ValueError: If there is none, or one is no accuracy.
    """
    _check(accuracies)
    return float(np.mean(accuracies)), float(np.std(accuracies))


def harmonic_mean(accuracies: Sequence[float]) -> float:
    """Harmonic mean, 0 if one of them is 0.

    Of the zero-shot accuracies on UCF-101, HMDB-51 and Kinetics-600, each a
    mean over its splits, it is HM_ZS of MoTE, Table 4.

    Args:
        accuracies (Sequence[float]): At least one.

    Returns:
        float: Their harmonic mean.

    Raises:
        ValueError: If there is none, or one is no accuracy.
    """
    _check(accuracies)
    return statistics.harmonic_mean([float(value) for value in accuracies])


def trade_off(closed_set: float, zero_shot: Sequence[float]) -> float:
    """Harmonic mean of a closed-set accuracy and of HM_ZS.

    Source: MoTE, Table 4 ("Trade-off"), with top-1 accuracy on Kinetics-400.

    Args:
        closed_set (float): Accuracy on the data set of the fine-tuning.
        zero_shot (Sequence[float]): Accuracy on each zero-shot data set.

    Returns:
        float: The score.

    Raises:
        ValueError: If one is no accuracy.
    """
    return harmonic_mean([closed_set, harmonic_mean(zero_shot)])


def base_to_novel(base: Sequence[float],
                  novel: Sequence[float]) -> BaseToNovel:
    """Average base and novel accuracy, then take their harmonic mean.

    The same over the seeds of one data set and over data sets; it is not the
    mean of their harmonic means.

    Source: MSTA, Tables 2, 6 and 7.

    Args:
        base (Sequence[float]): Accuracies on base classes.
        novel (Sequence[float]): Accuracies on novel classes, one for each.

    Returns:
        BaseToNovel: The two means, and their harmonic mean.

    Raises:
        ValueError: If their numbers differ, or one is no accuracy.
    """
    if len(base) != len(novel):
        raise ValueError(
            f'there are {len(base)} accuracies on base classes and '
            f'{len(novel)} on novel ones: give one of each for every run')
    means = mean_and_std(base)[0], mean_and_std(novel)[0]
    return BaseToNovel(*means, harmonic_mean(means))


def _check(accuracies: Sequence[float] | np.ndarray) -> None:
    """Refuse what is no list of accuracies."""
    if not len(accuracies):
        raise ValueError('there is no accuracy to average: give at least one')
    for value in accuracies:
        if not 0 <= value <= 100:  # neither is NaN
            raise ValueError(f'{value} is no accuracy: give numbers from 0 '
                             'to 1, or from 0 to 100 for percent')
