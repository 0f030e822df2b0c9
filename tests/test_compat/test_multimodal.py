"""MMAction2 imports beside any release of transformers."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from mmaction.utils import dependency

from mmvidadapt.compat import multimodal
from tests.conftest import ROOT


def install_transformers(folder: Path, source: str) -> None:
    """Write a package that looks like an installed transformers."""
    (folder / 'transformers').mkdir()
    (folder / 'transformers' / '__init__.py').touch()
    (folder / 'transformers' / 'modeling_utils.py').write_text(source)
    info = folder / 'transformers-5.0.0.dist-info'
    info.mkdir()
    (info / 'METADATA').write_text(
        'Metadata-Version: 2.1\nName: transformers\nVersion: 5.0.0\n')


@pytest.mark.parametrize('with_multimodal, source, needed', [
    (True, '', True),
    (True, 'def apply_chunking_to_forward(): ...', False),
    (False, '', False),
])
def test_only_a_transformers_without_the_helper_is_a_fault(
        with_multimodal: bool, source: str, needed: bool, tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch) -> None:
    install_transformers(tmp_path, source)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(dependency, 'WITH_MULTIMODAL', with_multimodal)
    assert multimodal.needed() is needed


def test_other_models_import_and_vindlu_says_why_it_cannot(
        tmp_path: Path) -> None:
    install_transformers(tmp_path, '')
    code = (
        'import mmvidadapt\n'
        'from mmaction.registry import MODELS\n'
        'import mmaction.models\n'
        'assert MODELS.get("UniFormerV2")\n'
        'MODELS.get("VindLUVQA")(1, a=2)\n')
    path = os.pathsep.join([str(tmp_path), str(ROOT)])
    done = subprocess.run(
        [sys.executable, '-W', 'ignore', '-c', code], capture_output=True,
        text=True, env={**os.environ, 'PYTHONPATH': path})
    assert done.stderr.splitlines()[-1] == (
        'ImportError: VindLUVQA cannot be built because the installed '
        'transformers lacks apply_chunking_to_forward: to use it, install '
        'an older release with pip install "transformers<4.49"')
