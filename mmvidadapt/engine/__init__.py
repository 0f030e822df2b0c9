"""Hooks, schedulers and optimiser parts."""

from .hooks import SampleGuardHook

__all__ = ['SampleGuardHook']
