"""Zero-shot accuracy over random halves of the classes.

Source: the zero-shot test program of *MoTE: Reconciling Generalization with
Specialization for Visual-Language to Video Knowledge Transfer*, NeurIPS 2024
(the protocol is not in the paper).
"""

import logging
from collections.abc import Sequence
from typing import Any

import numpy as np
from mmaction.evaluation import AccMetric, top_k_accuracy
from mmaction.registry import METRICS
from mmengine.logging import print_log

from .summaries import mean_and_std


@METRICS.register_module()
class HalfClassMetric(AccMetric):
    """Top-k accuracy over all classes, and over random halves of them.

    Each seed draws half of the classes. Videos of other classes are left
    out, and so are the scores of classes that no video of the set shows.
    Reported are ``top1`` and ``top5`` over all classes, as ``AccMetric``
    has them (it takes its place, with the same prefix), and the mean and the
    standard deviation over the seeds: ``half_top1_mean``, ``half_top1_std``,
    ``half_top5_mean``, ``half_top5_std``.

    Args:
        topk (int | Sequence[int]): The ``k``.
        seeds (Sequence[int]): One half is drawn for each.
        collect_device (str): As in ``AccMetric``.
        prefix (str | None): As in ``AccMetric``.

    Raises:
        ValueError: If ``topk`` or ``seeds`` make no sense.
    """

    def __init__(self,
                 topk: int | Sequence[int] = (1, 5),
                 seeds: Sequence[int] = tuple(range(10)),
                 collect_device: str = 'cpu',
                 prefix: str | None = None) -> None:
        self.topk = (topk, ) if isinstance(topk, int) else tuple(topk)
        self.seeds = tuple(seeds)
        if not self.topk or min(self.topk) < 1:
            raise ValueError(f'topk={topk} is no list of numbers from 1: '
                             'give such as (1, 5)')
        if not self.seeds or len(set(self.seeds)) < len(self.seeds):
            raise ValueError(f'seeds={list(seeds)} are none, or some are '
                             'equal: give different ones')
        super().__init__(
            metric_list='top_k_accuracy',
            metric_options=dict(top_k_accuracy=dict(topk=self.topk)),
            collect_device=collect_device, prefix=prefix)

    def calculate(self, preds: Sequence[np.ndarray],
                  labels: Sequence[Any]) -> dict[str, float]:
        """Compute the accuracies of a set.

        Args:
            preds (Sequence[np.ndarray]): Scores of each video ``(K, )``.
            labels (Sequence[Any]): Label of each video.

        Returns:
            dict[str, float]: From 0 to 1, by name.

        Raises:
            ValueError: If a video has several labels or unaveraged views.
        """
        scores, truth = np.asarray(preds), np.asarray(labels)
        if truth.ndim != 1:
            raise ValueError('HalfClassMetric needs one label for each video '
                             'and found several: use AccMetric')
        if scores.ndim != 2:
            raise ValueError(
                f'the scores of a video have the shape {scores.shape[1:]}, '
                'not (classes, ): set average_clips of the head')
        result = super().calculate(preds, labels)
        halves = half_class_accuracies(scores, truth, self.seeds, self.topk)
        for k, of_k in zip(self.topk, halves.T, strict=True):
            mean, deviation = mean_and_std(of_k)
            result[f'half_top{k}_mean'] = mean
            result[f'half_top{k}_std'] = deviation
        return result


def half_of_classes(num_classes: int, seed: int) -> np.ndarray:
    """Draw half of the classes.

    The draw is that of ``np.random.seed(seed)`` and
    ``np.random.permutation``, without touching the global generator.

    Args:
        num_classes (int): Number of all classes ``K``.
        seed (int): Seed of the draw.

    Returns:
        np.ndarray: ``K // 2`` labels, sorted.
    """
    drawn = np.random.RandomState(seed).permutation(num_classes)
    return np.sort(drawn[:num_classes // 2])


def half_class_accuracies(scores: np.ndarray, labels: np.ndarray,
                          seeds: Sequence[int],
                          topk: Sequence[int]) -> np.ndarray:
    """Top-k accuracy over the half of the classes that each seed draws.

    Args:
        scores (np.ndarray): ``(N, K)``; only their order counts.
        labels (np.ndarray): ``(N, )``.
        seeds (Sequence[int]): ``S`` seeds.
        topk (Sequence[int]): The ``k``.

    Returns:
        np.ndarray: ``(S, len(topk))``, from 0 to 1.

    Raises:
        ValueError: If half of the classes are fewer than a ``k``, or no
            video shows any class of a half.
    """
    num_classes = scores.shape[1]
    if num_classes // 2 < max(topk):
        raise ValueError(
            f'half of {num_classes} classes are fewer than the {max(topk)} '
            f'of topk={tuple(topk)}: lower it')
    accuracies, fewest = [], num_classes
    for seed in seeds:
        half = half_of_classes(num_classes, seed)
        chosen = np.isin(labels, half)
        shown, places = np.unique(labels[chosen], return_inverse=True)
        if not len(shown):
            raise ValueError(
                f'none of the {len(labels)} videos shows a class of the half '
                f'that seed {seed} draws: test on more videos, or use '
                'AccMetric')
        fewest = min(fewest, len(shown))
        accuracies.append(top_k_accuracy(
            scores[chosen][:, shown], places, tuple(topk)))
    if fewest < max(topk):
        print_log(f'The videos show only {fewest} classes of a half: '
                  f'its top-{max(topk)} accuracy means nothing.',
                  logger='current', level=logging.WARNING)
    return np.array(accuracies)
