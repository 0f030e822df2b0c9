"""Metrics and evaluation protocols."""

from .half_class_metric import (
    HalfClassMetric,
    half_class_accuracies,
    half_of_classes,
)
from .summaries import (
    BaseToNovel,
    base_to_novel,
    harmonic_mean,
    mean_and_std,
    trade_off,
)

__all__ = ['BaseToNovel', 'HalfClassMetric', 'base_to_novel',
           'half_class_accuracies', 'half_of_classes', 'harmonic_mean',
           'mean_and_std', 'trade_off']
