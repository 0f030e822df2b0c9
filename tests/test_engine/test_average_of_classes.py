"""EMAHook with MoTE and TextHead, from a checkpoint of other classes."""

from pathlib import Path
from typing import Any

import pytest
import torch
from mmengine.config import Config
from mmengine.model import ExponentialMovingAverage
from mmengine.runner import Runner
from torch import Tensor
from toy_recognizer import toy_runner

from mmvidadapt.compat.checkpoints import read_checkpoint
from mmvidadapt.models.heads import TextHead

TUNED = 'cls_head.finetune_features'
EMA = dict(type='EMAHook', momentum=0.3)
HOOKS = [EMA, dict(EMA, update_buffers=True), dict(EMA, begin_epoch=2),
         dict(EMA, begin_epoch=2, update_buffers=True)]


def features(number: int, seed: int = 0) -> Tensor:
    """Text features of unit norm, others for another seed."""
    drawn = torch.randn(
        number, 4, generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.normalize(drawn, dim=-1)


@pytest.fixture(autouse=True)
def _quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    """Formatting the config takes longer than these runs."""
    monkeypatch.setattr(Config, 'pretty_text', '')


def run(folder: Path, texts: Tensor, hooks: tuple | list = (),
        **changes: Any) -> Runner:
    """Train on as many classes as there are texts."""
    clips = dict(type='ToyClips', num_classes=3)
    runner = toy_runner(folder, **{
        'model.neck': dict(type='MoTE', embed_dims=4, num_layers=2,
                           num_experts=3, num_heads=2),
        'model.cls_head': dict(
            _delete_=True, type='TextHead', in_channels=4,
            classes=[f'class {i}' for i in range(len(texts))],
            features=texts.tolist(), modulation_k=2, average_clips='prob',
            topk=(1, )),
        # A resumed run draws the experts of an uninterrupted one.
        'custom_hooks': [dict(type='SampleGuardHook'), *hooks],
        'optim_wrapper.optimizer.lr': 1e-3,
        'train_dataloader.dataset': clips, 'val_dataloader.dataset': clips,
        **changes})
    runner.train()
    return runner


def saved(folder: Path, epoch: int) -> dict[str, Any]:
    return read_checkpoint(folder / f'epoch_{epoch}.pth')


@pytest.mark.parametrize('hook', HOOKS, ids=str)
@pytest.mark.parametrize('number', [3, 5])
def test_fine_tuning_on_other_classes_averages_weights_and_keeps_classes(
        tmp_path: Path, number: int, hook: dict) -> None:
    """The checkpoint was fine-tuned on five classes, with an average."""
    run(tmp_path / 'first', features(5), hooks=[EMA])
    torch.testing.assert_close(
        saved(tmp_path / 'first', 2)['state_dict'][TUNED], features(5))

    own = features(number, seed=1)
    runner = run(tmp_path / 'second', own, hooks=[hook],
                 load_from=str(tmp_path / 'first/epoch_2.pth'))
    torch.testing.assert_close(runner.model.cls_head.finetune_features, own)
    for epoch in (1, 2):
        content = saved(tmp_path / 'second', epoch)
        for found in (content['state_dict'][TUNED],
                      content['ema_state_dict'][f'module.{TUNED}']):
            torch.testing.assert_close(found, own)
    moved = [name for name, value in content['state_dict'].items()
             if not torch.equal(
                 value, content['ema_state_dict'][f'module.{name}'])]
    assert any(name.startswith('neck.resblocks.') for name in moved)
    assert 'cls_head.logit_scale' in moved

    # The file is that of a model which only ever knew these classes.
    resumed = run(tmp_path / 'resumed', own, hooks=[hook],
                  load_from=str(tmp_path / 'second/epoch_1.pth'),
                  resume=True)
    torch.testing.assert_close(resumed.model.cls_head.finetune_features, own)
    for kind in ('state_dict', 'ema_state_dict'):
        found = saved(tmp_path / 'resumed', 2)[kind]
        for name, value in saved(tmp_path / 'second', 2)[kind].items():
            torch.testing.assert_close(found[name], value)


def test_a_run_resumed_with_other_classes_has_no_blend_of_both(
        tmp_path: Path) -> None:
    hook = dict(EMA, update_buffers=True)
    run(tmp_path / 'first', features(3), hooks=[hook])
    own = features(3, seed=1)
    run(tmp_path / 'second', own, hooks=[hook], resume=True,
        load_from=str(tmp_path / 'first/epoch_1.pth'))
    content = saved(tmp_path / 'second', 2)
    for found in (content['state_dict'][TUNED],
                  content['ema_state_dict'][f'module.{TUNED}']):
        torch.testing.assert_close(found, own)


def test_weights_are_averaged_as_without_other_classes(
        tmp_path: Path) -> None:
    """Buffers of another shape change nothing for the rest."""
    first = tmp_path / 'first'
    run(first, features(5))
    own = features(3, seed=1)
    averages = []
    for name in ('same', 'other'):
        state = saved(first, 2)['state_dict']
        if name == 'same':
            state[TUNED] = own
        torch.save(dict(state_dict=state), tmp_path / f'{name}.pth')
        run(tmp_path / name, own, hooks=[
            dict(EMA, update_buffers=True)],
            load_from=str(tmp_path / f'{name}.pth'))
        averages.append(saved(tmp_path / name, 2)['state_dict'])
    for name, value in averages[0].items():
        torch.testing.assert_close(averages[1][name], value)


def test_an_average_by_hand_has_the_classes_of_the_model() -> None:
    def head(number: int, seed: int) -> TextHead:
        return TextHead(4, [f'c{i}' for i in range(number)],
                        features=features(number, seed), modulation_k=2)

    given = head(6, 0)
    given.finetune_features.copy_(given.class_features)
    model = head(3, 1)
    for update_buffers in (False, True):
        average = ExponentialMovingAverage(
            model, momentum=0.5, update_buffers=update_buffers)
        average.module.load_state_dict(given.state_dict())
        model.finetune_features = model.class_features.clone()
        for _ in range(2):
            average.update_parameters(model)
        torch.testing.assert_close(
            average.module.finetune_features, model.finetune_features)
        # It goes on to follow a buffer that it took over.
        found = average.module.finetune_features.clone()
        model.finetune_features.mul_(2)
        average.update_parameters(model)
        torch.testing.assert_close(
            average.module.finetune_features, 2 * found)
        average.module.finetune_features.zero_()
        assert model.finetune_features.any(), 'an average has its own memory'
