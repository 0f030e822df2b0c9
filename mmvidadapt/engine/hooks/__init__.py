"""Hooks."""

from .check_labels_hook import CheckLabelsHook
from .sample_guard_hook import SampleGuardHook

__all__ = ['CheckLabelsHook', 'SampleGuardHook']
