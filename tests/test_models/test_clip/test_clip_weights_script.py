"""Wrong weights end a training script with one sentence, before a step."""

import os
import runpy
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from mmengine.registry import DefaultScope

from tests.conftest import ROOT
from tests.tiny import write_tiny_config


class _Foreign:

    def __reduce__(self) -> tuple:
        return os.mkdir, ('pwned', )


def _truncated(path: Path) -> None:
    torch.save(dict(a=torch.zeros(1000)), path)
    path.write_bytes(path.read_bytes()[:-500])


@pytest.mark.parametrize('write, message', [
    (None, 'does not exist: correct the path, or use an open_clip tag'),
    (lambda path: path.write_text('<!DOCTYPE html>'), 'is a web page, not a '
     'checkpoint: download the file itself'),
    (_truncated, 'is truncated or damaged'),
    (lambda path: torch.save({'conv1.weight': torch.zeros(1)}, path),
     'holds another model, not a ViT CLIP in a known layout'),
    (lambda path: torch.save(dict(evil=_Foreign()), path), 'mkdir, which a '
     'checkpoint does not need')])
def test_train_names_the_file_and_the_remedy(
        write: Callable | None, message: str, tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture) -> None:
    path = tmp_path / 'clip.pt'
    if write is not None:
        write(path)
    config = write_tiny_config('inti/vitb_k400.py', tmp_path)
    monkeypatch.setattr(sys, 'argv', [
        'train.py', config, '--work-dir', str(tmp_path / 'work'),
        '--synthetic', '2', '--cfg-options',
        f'model.backbone.encoder.weights={path}'])
    monkeypatch.chdir(tmp_path)
    scope = DefaultScope.get_current_instance()
    try:
        with pytest.raises(SystemExit) as stop:
            runpy.run_path(str(ROOT / 'tools' / 'train.py'),
                           run_name='__main__')
    finally:
        if scope is None:
            DefaultScope._instance_dict.clear()
    assert stop.value.code == 1
    last = capsys.readouterr().err.strip().splitlines()[-1]
    assert last.startswith('error: ')
    assert str(path) in last
    assert message in last
    assert not (tmp_path / 'pwned').exists()
    assert not list((tmp_path / 'work').rglob('*.pth'))
