"""Hooks."""

from .sample_guard_hook import SampleGuardHook

__all__ = ['SampleGuardHook']
