"""Hooks, schedulers and optimiser parts."""

from .hooks import SampleGuardHook
from .optim import TrainableParamsConstructor

__all__ = ['SampleGuardHook', 'TrainableParamsConstructor']
