"""Datasets, transforms and sampling."""
