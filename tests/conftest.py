"""Fixtures shared by all tests: parity data, real videos, determinism."""

import gc
import importlib.util
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

import mmvidadapt  # noqa: F401  (mends the stack before mmaction loads)
from mmvidadapt.models.clip.block import require_compiler

ROOT = Path(__file__).resolve().parents[1]


def _require(path: Path, what: str) -> Path:
    """Return ``path``; fail with CI=true if it is missing, else skip."""
    if path.exists():
        return path
    message = f'{what} not found at {path}'
    if os.environ.get('CI') == 'true':
        pytest.fail(message)
    pytest.skip(message)


def pytest_collection_finish() -> None:
    """Spare later collections what the imports left.

    Each data set of mmengine collects garbage when it is built, which takes a
    third of a second with torch and MMAction2 in memory: more than a tiny run.
    """
    gc.collect()
    gc.freeze()


@pytest.fixture(scope='session')
def goldens() -> Path:
    """Folder of the numeric parity data."""
    default = ROOT.parent / 'shared' / 'goldens'
    folder = Path(os.environ.get('MMVIDADAPT_GOLDENS', default))
    return _require(folder, 'parity data (set MMVIDADAPT_GOLDENS)')


@pytest.fixture(scope='session')
def shared_data() -> Path:
    """Folder of real videos, class lists and description files."""
    return _require(ROOT.parent / 'shared' / 'data', 'shared data')


@pytest.fixture
def compiler() -> Iterator[None]:
    """A compiler that has seen nothing; skip where torch's is too old."""
    try:
        require_compiler('this test')
    except ValueError as error:
        pytest.skip(str(error))
    torch.compiler.reset()
    yield
    torch.compiler.reset()


@pytest.fixture
def onnx(compiler: None) -> None:
    """Fail with CI=true if the exporters are missing, else skip."""
    missing = [name for name in ('onnx', 'onnxscript', 'onnxruntime')
               if importlib.util.find_spec(name) is None]
    if missing:
        (pytest.fail if os.environ.get('CI') == 'true' else pytest.skip)(
            f"{', '.join(missing)} not installed: pip install '.[export]'")


@pytest.fixture(scope='session', autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Nothing is written to, or read from, the user's cache."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv('MMVIDADAPT_CACHE', str(tmp_path_factory.mktemp('cache')))
        yield


@pytest.fixture(autouse=True)
def _deterministic() -> None:
    """Every test starts from the same seed."""
    torch.manual_seed(0)


@pytest.fixture
def warnings(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is logged as a warning from here on."""
    from mmengine.logging import MMLogger
    found: list[str] = []
    monkeypatch.setattr(MMLogger, 'warning',
                        lambda self, line, *_: found.append(line))
    return found
