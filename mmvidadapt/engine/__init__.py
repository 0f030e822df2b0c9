"""Hooks, schedulers and optimiser parts."""
