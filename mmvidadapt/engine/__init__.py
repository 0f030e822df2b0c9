"""Hooks, schedulers and optimiser parts."""

from .hooks import SampleGuardHook
from .optim import TrainableParamsConstructor
from .schedulers import WarmupCosineLR

__all__ = ['SampleGuardHook', 'TrainableParamsConstructor', 'WarmupCosineLR']
