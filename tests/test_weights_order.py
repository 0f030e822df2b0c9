"""Which of weights, init_cfg, load_from and resume wins (docs/weights.md)."""

import runpy
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from mmaction.registry import MODELS
from mmengine.registry import DefaultScope, init_default_scope
from torch import nn

from mmvidadapt.compat.checkpoints import read_checkpoint
from mmvidadapt.models.strict_loading import PartialLoadError
from tests.conftest import ROOT
from tests.tiny import write_tiny_config


@pytest.fixture(autouse=True)
def scope() -> Iterator[None]:
    """MMAction2's registries, for one test."""
    before = DefaultScope.get_current_instance()
    init_default_scope('mmaction')
    yield
    if before is None:
        DefaultScope._instance_dict.clear()


def model(weights: Path | None = None, backbone: dict | None = None,
          encoder: dict | None = None) -> nn.Module:
    """A tiny recognizer, initialised as a training does it."""
    arch = dict(embed_dims=16, num_layers=1, num_heads=2, patch_size=16,
                image_size=32, output_dims=8)
    built = MODELS.build(dict(
        type='Recognizer3D',
        backbone=dict(
            type='CLIPViT', num_frames=2, init_cfg=backbone,
            encoder=dict(arch=arch, act='quick_gelu', init_cfg=encoder,
                         weights=None if weights is None else str(weights))),
        cls_head=dict(type='LinearHead', num_classes=3, in_channels=16)))
    built.init_weights()
    return built


def pretrained(path: Path, prefix: str | None) -> dict:
    """The init_cfg of the document."""
    return dict(type='Pretrained', checkpoint=str(path), prefix=prefix)


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    """Checkpoints of two models."""
    paths = {name: tmp_path / f'{name}.pth' for name in 'ab'}
    for path in paths.values():
        torch.save(dict(state_dict=model().state_dict()), path)
    return paths


def holds(built: nn.Module, path: Path) -> bool:
    """Whether the encoder is that of the file."""
    wanted = torch.load(path, weights_only=True)['state_dict']
    return torch.equal(built.backbone.encoder.conv1.weight,
                       wanted['backbone.encoder.conv1.weight'])


def test_init_cfg_of_the_backbone_wins_over_weights(
        files: dict[str, Path]) -> None:
    built = model(files['a'], backbone=pretrained(files['b'], 'backbone.'))
    assert holds(built, files['b'])


def test_weights_win_over_init_cfg_of_the_encoder(
        files: dict[str, Path]) -> None:
    other = pretrained(files['b'], 'backbone.encoder.')
    assert holds(model(files['a'], encoder=other), files['a'])
    assert holds(model(encoder=other), files['b'])


def test_init_cfg_needs_the_prefix(files: dict[str, Path]) -> None:
    with pytest.raises(PartialLoadError, match="does not fit .*prefix='back"):
        model(backbone=pretrained(files['b'], None))


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture) -> Callable:
    """Run a tool in this process; its exit status and its error."""
    config = write_tiny_config('inti/vitb_k400.py', tmp_path)
    monkeypatch.chdir(tmp_path)

    def call(script: str, *args: str) -> tuple[int, str]:
        monkeypatch.setattr(sys, 'argv', [
            script, config, *args, '--synthetic', '2'])
        try:
            runpy.run_path(str(ROOT / 'tools' / script), run_name='__main__')
        except SystemExit as stop:
            return stop.code or 0, capsys.readouterr().err
        return 0, ''

    return call


def test_only_training_reads_weights_and_always_does(
        run: Callable, tmp_path: Path) -> None:
    work = ('--no-validate', '--work-dir', 'first')
    assert run('train.py', *work)[0] == 0
    saved = 'first/epoch_1.pth'
    gone = 'model.backbone.encoder.weights=gone.pt'
    status, error = run('test.py', saved, '--work-dir', 'tested',
                        '--cfg-options', gone)
    assert status == 0, error
    for args in (['--work-dir', 'other', '--cfg-options', gone,
                  f'load_from={saved}'],
                 [*work, '--resume', '--cfg-options', gone]):
        status, error = run('train.py', *args)
        assert status == 1
        assert 'gone.pt does not exist' in error
    # load_from comes after weights, so it wins.
    state = read_checkpoint(saved)['state_dict']
    other = {key: torch.zeros_like(value) for key, value in state.items()
             if key.startswith('backbone.encoder.')}
    torch.save(other, 'zeros.pt')
    status, error = run(
        'train.py', '--no-validate', '--work-dir', 'other', '--cfg-options',
        f'load_from={saved}', 'model.backbone.encoder.weights=zeros.pt',
        'optim_wrapper.optimizer.lr=0')
    assert status == 0, error
    loaded = read_checkpoint('other/epoch_1.pth')['state_dict']
    for key, value in state.items():
        assert torch.equal(loaded[key], value), key
