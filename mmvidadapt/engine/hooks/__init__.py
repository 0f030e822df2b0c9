"""Hooks."""

from .check_labels_hook import CheckLabelsHook
from .merge_experts_hook import MergeExpertsHook
from .sample_guard_hook import SampleGuardHook

__all__ = ['CheckLabelsHook', 'MergeExpertsHook', 'SampleGuardHook']
