"""MergeExpertsHook: merged around evaluation, and once for good."""

from pathlib import Path
from typing import Any

import pytest
import torch
from mmengine.config import Config
from mmengine.evaluator import BaseMetric
from mmengine.registry import METRICS
from mmengine.runner import Runner
from torch import Tensor
from toy_recognizer import toy_runner

from mmvidadapt.compat.checkpoints import read_checkpoint
from mmvidadapt.models.necks import MoTE, merge_state_dict
from mmvidadapt.models.necks.experts import ExpertMLP

NECK = dict(type='MoTE', embed_dims=4, num_layers=2, num_experts=3,
            num_heads=2)


@METRICS.register_module()
class LooksAtNeck(BaseMetric):
    """Notes at each batch whether the neck is merged; may break."""

    seen: list = []
    neck: MoTE
    breaks = False

    def process(self, data_batch: Any, data_samples: Any) -> None:
        self.seen.append(self.neck.merged)
        self.results.append(0)
        if self.breaks:
            raise RuntimeError('broken on purpose')

    def compute_metrics(self, results: list) -> dict:
        return dict(seen=len(results))


@pytest.fixture
def merges(monkeypatch: pytest.MonkeyPatch) -> list:
    """Grows by one with each layer that is merged without gradient."""
    seen: list = []
    old = ExpertMLP.merge

    def merge(self: ExpertMLP, weights: list) -> Any:
        if not torch.is_grad_enabled():
            seen.append(weights)
        return old(self, weights)

    monkeypatch.setattr(ExpertMLP, 'merge', merge)
    return seen


def run(folder: Path, neck: dict | None = None, **changes: Any) -> Runner:
    options = {
        'model.neck': {**NECK, **(neck or {})},
        'model.cls_head': dict(
            _delete_=True, type='LinearHead', num_classes=3, in_channels=4,
            topk=(1, ), average_clips='prob'),
        'val_evaluator': dict(type='LooksAtNeck'),
        'test_evaluator': dict(type='LooksAtNeck'),
        'custom_hooks': [dict(type='MergeExpertsHook')], **changes}
    runner = toy_runner(folder, **options)
    LooksAtNeck.neck, LooksAtNeck.seen = runner.model.neck, []
    LooksAtNeck.breaks = False
    return runner


def snapshot(neck: MoTE) -> dict[str, bytes]:
    return {name: value.numpy().tobytes()
            for name, value in neck.state_dict().items()}


def saved(folder: Path, name: str) -> dict[str, Tensor]:
    return read_checkpoint(folder / name)['state_dict']


def assert_same(found: dict, expected: dict) -> None:
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert torch.equal(found[name], value), name


def test_each_evaluation_merges_once_before_its_first_batch(
        tmp_path: Path, merges: list) -> None:
    runner = run(tmp_path)
    runner.train()  # two epochs, each with a validation of two batches
    assert LooksAtNeck.seen == [True] * 4
    assert len(merges) == 2 * len(runner.model.neck.resblocks)
    assert not runner.model.neck.merged
    del merges[:]
    runner.test()
    assert LooksAtNeck.seen == [True] * 6
    assert len(merges) == 2 and not runner.model.neck.merged


def test_weights_come_back_byte_for_byte(tmp_path: Path) -> None:
    runner = run(tmp_path)
    before = snapshot(runner.model.neck)
    runner.val()
    assert LooksAtNeck.seen == [True] * 2
    assert snapshot(runner.model.neck) == before


def test_weights_come_back_from_a_validation_that_raises(
        tmp_path: Path) -> None:
    runner = run(tmp_path)
    neck = runner.model.neck
    before = snapshot(neck)
    LooksAtNeck.breaks = True
    with pytest.raises(RuntimeError, match='broken on purpose'):
        runner.val()
    assert snapshot(neck) == before
    assert neck.resblocks[0].mlp.c_fc[0].weight.requires_grad
    neck.train()
    assert not neck.merged
    (_, temporal, merged), _ = neck(torch.randn(2, 4, 4))
    assert not torch.equal(temporal, merged)


@pytest.mark.parametrize('weights', [None, [0.2, 0.5, 0.3]])
def test_the_merged_checkpoint_is_that_of_the_plain_transformer(
        tmp_path: Path, weights: list | None) -> None:
    runner = run(tmp_path, neck=dict(merge_weights=weights))
    runner.train()
    merged = read_checkpoint(tmp_path / 'merged.pth')
    assert merged.keys() == {'meta', 'state_dict'}
    assert (merged['meta']['epoch'], merged['meta']['iter']) == (2, 4)
    assert_same(merged['state_dict'],
                merge_state_dict(saved(tmp_path, 'epoch_2.pth'), weights))
    # Only this one is merged, and training resumes from the other.
    assert any('c_fc.2.weight' in name
               for name in saved(tmp_path, 'epoch_2.pth'))
    assert (tmp_path / 'last_checkpoint').read_text().endswith('epoch_2.pth')
    config = Config.fromstring(merged['meta']['cfg'], '.py')
    assert config.model.neck.num_experts == 0
    config.work_dir = str(tmp_path / 'plain')
    config.experiment_name = f'plain-{weights}'
    plain = Runner.from_cfg(config)
    plain.load_checkpoint(str(tmp_path / 'merged.pth'), strict=True)
    x = torch.randn(2, 4, 4)
    with torch.no_grad():
        torch.testing.assert_close(plain.model.neck.eval()(x)[0][1],
                                   runner.model.neck.eval()(x)[0][1])


def test_averaged_weights_are_merged_where_they_are_evaluated(
        tmp_path: Path, merges: list) -> None:
    runner = run(tmp_path, custom_hooks=[
        dict(type='MergeExpertsHook', filename='plain.pth'),
        dict(type='EMAHook', momentum=0.5)])
    outputs = []
    runner.model.neck.register_forward_hook(
        lambda neck, args, out: outputs.append((args[0], out[0][1])))
    runner.train()  # ends with a validation
    assert len(merges) == 4
    averaged = saved(tmp_path, 'epoch_2.pth')
    assert_same(saved(tmp_path, 'plain.pth'), merge_state_dict(averaged))
    own = runner.model.neck.state_dict()['resblocks.0.mlp.c_fc.0.weight']
    assert not torch.equal(
        averaged['neck.resblocks.0.mlp.c_fc.0.weight'], own)

    x, found = outputs[-1]
    plain = MoTE(**{k: v for k, v in NECK.items() if k != 'type'})
    plain.load_state_dict({name[len('neck.'):]: value
                           for name, value in averaged.items()
                           if name.startswith('neck.')})
    with torch.no_grad():
        torch.testing.assert_close(plain.eval()(x)[0][1], found)


def test_experts_that_are_evaluated_apart_are_merged_in_the_file_only(
        tmp_path: Path, merges: list) -> None:
    runner = run(tmp_path, neck=dict(aggregation='ensemble'))
    runner.train()
    runner.test()
    assert LooksAtNeck.seen == [False] * 6 and not merges
    assert_same(saved(tmp_path, 'merged.pth'),
                merge_state_dict(saved(tmp_path, 'epoch_2.pth')))


def test_a_neck_without_experts_is_left_alone(tmp_path: Path) -> None:
    runner = run(tmp_path, neck=dict(num_experts=0))
    runner.train()
    runner.test()
    assert LooksAtNeck.seen == [False] * 6
    assert not (tmp_path / 'merged.pth').exists()


def test_a_model_without_mote_is_refused_at_the_start(tmp_path: Path) -> None:
    runner = toy_runner(tmp_path,
                        custom_hooks=[dict(type='MergeExpertsHook')])
    with pytest.raises(ValueError, match='^MergeExpertsHook finds no MoTE in '
                       'Recognizer3D: add neck='):
        runner.train()
    with pytest.raises(ValueError, match='finds no MoTE'):
        runner.test()
