"""docs/api.md names everything that a config can."""

import importlib
import re

import mmaction.registry
import pytest
from mmengine.registry import Registry

import mmvidadapt  # noqa: F401  (registers)
from tests.conftest import ROOT

TEXT = (ROOT / 'docs' / 'api.md').read_text()
SHOWN = {f'{package}.{name}'
         for package in re.findall(r'automodule:: (\S+)', TEXT)
         for name in importlib.import_module(package).__all__}
SHOWN |= set(re.findall(r'autoclass:: (\S+)', TEXT))
REGISTERED = {
    cls.__name__: cls
    for registry in vars(mmaction.registry).values()
    if isinstance(registry, Registry)
    for cls in registry.module_dict.values()
    if cls.__module__.startswith('mmvidadapt.')
    # What stands for a class of MMAction2, or for a data set (--synthetic).
    and not re.search(r'\.compat\.|\.synthetic$', cls.__module__)}


def test_classes_of_every_room_are_registered() -> None:
    assert {'CLIPViT', 'MoTE', 'TextHead', 'LocalWindow', 'SampleGuardHook',
            'WarmupCosineLR', 'HalfClassMetric'} <= set(REGISTERED)


@pytest.mark.parametrize('name', sorted(REGISTERED))
def test_what_a_config_can_name_is_on_the_page(name: str) -> None:
    packages = [path.rpartition('.')[0] for path in SHOWN
                if path.endswith(f'.{name}')]
    assert packages
    assert {getattr(importlib.import_module(package), name)
            for package in packages} == {REGISTERED[name]}
    assert REGISTERED[name].__doc__
