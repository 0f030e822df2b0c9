"""The two helpers of the mends, and the table that applies them once."""

import importlib
import inspect
import sys
from pathlib import Path

import pytest

from mmvidadapt import compat
from mmvidadapt.compat import Mend, replace_everywhere, when_imported


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Name of a module that can be imported and was not yet."""
    (tmp_path / 'mended_module.py').write_text('VALUE = 1\n')
    monkeypatch.syspath_prepend(tmp_path)
    yield 'mended_module'
    sys.modules.pop('mended_module', None)


def test_callback_waits_for_the_import_and_sees_the_finished_module(module):
    seen = []
    when_imported(module, lambda: seen.append(sys.modules[module].VALUE))
    assert seen == []
    importlib.import_module(module)
    assert seen == [1]


def test_callback_runs_at_once_if_the_module_is_loaded(module):
    importlib.import_module(module)
    seen = []
    when_imported(module, lambda: seen.append(1))
    assert seen == [1]


def test_watched_module_keeps_its_own_loader_and_can_be_reloaded(module):
    seen = []
    when_imported(module, lambda: seen.append(1))
    loaded = importlib.import_module(module)
    assert loaded.__spec__.loader is loaded.__loader__
    assert 'exec_module' not in vars(loaded.__loader__)
    assert inspect.getsource(loaded) == 'VALUE = 1\n'
    importlib.reload(loaded)
    assert seen == [1]


def test_callbacks_of_one_module_run_in_the_order_given(module):
    seen = []
    for number in range(3):
        when_imported(module, lambda number=number: seen.append(number))
    importlib.import_module(module)
    assert seen == [0, 1, 2]


def test_missing_module_is_still_reported_as_missing():
    when_imported('no_such_module_at_all', lambda: None)
    with pytest.raises(ModuleNotFoundError, match='no_such_module_at_all'):
        importlib.import_module('no_such_module_at_all')


def test_replace_everywhere_reaches_names_imported_earlier(module):
    def old() -> None:
        pass

    def new() -> None:
        pass

    loaded = importlib.import_module(module)
    loaded.function, loaded.alias, loaded.other = old, old, len
    replace_everywhere(old, new)
    assert (loaded.function, loaded.alias, loaded.other) == (new, new, len)


@pytest.mark.parametrize('needed', [True, False])
def test_apply_mends_what_is_needed_and_only_once(monkeypatch, needed):
    calls = []
    mend = Mend('a fault', lambda: needed, lambda: calls.append(1))
    monkeypatch.setattr(compat, 'MENDS', (mend, ))
    monkeypatch.setattr(compat, '_applied', set())
    compat.apply()
    compat.apply()
    assert calls == [1] * needed


def test_a_mend_with_a_trigger_is_not_even_checked_before_it(
        monkeypatch, module):
    checked = []
    mend = Mend('a fault', lambda: checked.append(1), lambda: None,
                after=module)
    monkeypatch.setattr(compat, 'MENDS', (mend, ))
    monkeypatch.setattr(compat, '_applied', set())
    compat.apply()
    assert checked == []
    importlib.import_module(module)
    assert checked == [1]


def test_every_mend_has_its_own_name():
    names = [mend.name for mend in compat.MENDS]
    assert len(set(names)) == len(names)
