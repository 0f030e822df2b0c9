"""Half-class evaluation agrees with MoTE's program to the last digit."""

import logging
from unittest import mock

import numpy as np
import pytest
import torch
from mmaction.evaluation import AccMetric
from mmaction.registry import METRICS, MODELS
from mmaction.structures import ActionDataSample
from mmengine.evaluator import Evaluator
from mmengine.registry import init_default_scope

from mmvidadapt.evaluation import (
    HalfClassMetric,
    half_class_accuracies,
    half_of_classes,
)
from mmvidadapt.evaluation import half_class_metric as module


@pytest.fixture(scope='module')
def official(goldens) -> dict:
    """Videos, texts and what the program reports on them."""
    return torch.load(goldens / 'mote_tiny.pt',
                      weights_only=True)['zero_shot']


def scores_of(official: dict, average_clips: str) -> torch.Tensor:
    """Scores as our text head averages them over views."""
    views = official['vid_emb'].float()
    head = MODELS.build(dict(
        type='TextHead', in_channels=views.shape[-1], modulate=False,
        classes=[f'class {n}' for n in range(len(official['text_emb']))],
        features=official['text_emb'], average_clips=average_clips)).eval()
    with torch.no_grad():
        return head.average_clip(head.classify(views.flatten(0, 1)),
                                 views.shape[1])


def samples(scores: torch.Tensor, labels: torch.Tensor) -> list[dict]:
    """What Recognizer3D hands to the metrics."""
    batch = []
    for score, label in zip(scores, labels):
        sample = ActionDataSample().set_gt_label(int(label))
        batch.append(sample.set_pred_score(score).to_dict())
    return batch


def evaluate(metric: AccMetric, scores: torch.Tensor, labels: torch.Tensor
             ) -> dict[str, float]:
    """Run a metric as a test loop does, in batches of 7."""
    batch = samples(scores, labels)
    for start in range(0, len(batch), 7):
        metric.process(None, batch[start:start + 7])
    return metric.evaluate(len(batch))


def test_the_ten_halves_are_those_of_the_program(official):
    before = np.random.get_state()[1].copy()
    halves = [half_of_classes(51, seed) for seed in range(10)]
    np.testing.assert_array_equal(halves, official['split_classes'])
    np.testing.assert_array_equal(np.random.get_state()[1], before)


@pytest.mark.parametrize('average_clips', ['mote_zero_shot', 'score'])
def test_every_half_has_the_accuracy_of_the_program(official, average_clips):
    accuracies = half_class_accuracies(
        scores_of(official, average_clips).numpy(),
        official['labels'].numpy(), range(10), (1, 5))
    # The program computes in float32.
    expected = torch.stack([official['split_top1'], official['split_top5']])
    shown = [np.isin(official['labels'], half_of_classes(51, seed)).sum()
             for seed in range(10)]
    for part, row in zip(accuracies.T, expected.numpy()):
        np.testing.assert_allclose(100 * part, row, rtol=2e-7)
        # Not one video is taken otherwise.
        np.testing.assert_array_equal(
            np.rint(part * shown), np.rint(row / 100 * shown))


def test_the_metric_reports_all_classes_and_the_ten_halves(official):
    found = evaluate(METRICS.build(dict(type='HalfClassMetric')),
                     scores_of(official, 'mote_zero_shot'),
                     official['labels'])
    assert list(found) == ['acc/top1', 'acc/top5', 'acc/half_top1_mean',
                           'acc/half_top1_std', 'acc/half_top5_mean',
                           'acc/half_top5_std']
    percent = {key: 100 * value for key, value in found.items()}
    assert percent == pytest.approx({
        'acc/top1': official['full_top1'],
        'acc/top5': official['full_top5'],
        'acc/half_top1_mean': float(np.mean(official['split_top1'].numpy())),
        'acc/half_top1_std': float(np.std(official['split_top1'].numpy())),
        'acc/half_top5_mean': float(np.mean(official['split_top5'].numpy())),
        'acc/half_top5_std': float(np.std(official['split_top5'].numpy())),
    }, abs=1e-5)  # float32's rounding of percents


def test_all_classes_are_scored_as_accmetric_does(official):
    scores = scores_of(official, 'score')
    ours = evaluate(HalfClassMetric(topk=3), scores, official['labels'])
    theirs = evaluate(AccMetric(
        'top_k_accuracy', metric_options=dict(top_k_accuracy=dict(topk=3))),
        scores, official['labels'])
    assert ours['acc/top3'] == theirs['acc/top3']
    assert 'acc/half_top3_mean' in ours and 'acc/top1' not in ours


def test_only_classes_that_videos_show_compete():
    half = half_of_classes(4, seed=0)
    scores = np.zeros((1, 4))
    scores[0, half] = 1, 2  # the class without a video is ahead
    found = half_class_accuracies(scores, half[:1], [0], (1, ))
    assert found.tolist() == [[1.]]
    both = half_class_accuracies(np.repeat(scores, 2, 0), half, [0], (1, ))
    assert both.tolist() == [[.5]]


def test_a_config_chooses_seeds_and_k():
    init_default_scope('mmaction')
    evaluator = Evaluator(dict(type='HalfClassMetric', topk=[1],
                               seeds=[3, 5], prefix='ucf101'))
    scores, labels = torch.rand(40, 6), torch.arange(40) % 6
    evaluator.process(samples(scores, labels))
    found = evaluator.evaluate(40)
    halves = half_class_accuracies(scores.numpy(), labels.numpy(), [3, 5],
                                   [1])
    assert found['ucf101/half_top1_mean'] == pytest.approx(halves.mean())
    assert found['ucf101/half_top1_std'] == pytest.approx(halves.std())


@pytest.mark.parametrize('options,message', [
    (dict(topk=()), r'topk=\(\) is no list of numbers from 1: give'),
    (dict(topk=0), 'topk=0 is no list'),
    (dict(seeds=[]), r'seeds=\[\] are none'),
    (dict(seeds=[1, 1]), r'seeds=\[1, 1\] are none, or some are equal'),
])
def test_options_that_make_no_sense_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        HalfClassMetric(**options)


@pytest.mark.parametrize('preds,labels,message', [
    (np.zeros((2, 3, 12)), [0, 1], r'shape \(3, 12\).*average_clips'),
    (np.zeros((2, 12)), [[0, 1], [1, 1]], 'found several: use AccMetric'),
    (np.zeros((2, 9)), [0, 1], 'half of 9 classes are fewer than the 5'),
    (np.zeros((1, 12)), [0], 'none of the 1 videos shows a class of the '
     'half that seed 0 draws'),
])
def test_what_has_no_halves_is_refused(preds, labels, message):
    assert 0 not in half_of_classes(12, 0)
    with pytest.raises(ValueError, match=message):
        HalfClassMetric().calculate(list(preds), labels)


def test_a_half_of_fewer_classes_than_k_is_pointed_out():
    labels = np.arange(12) % 4
    with mock.patch.object(module, 'print_log') as log:
        half_class_accuracies(np.random.rand(12, 12), labels, [0], (1, 5))
        half_class_accuracies(np.random.rand(12, 12), labels, [0], (1, ))
    assert log.call_count == 1
    assert 'top-5 accuracy means nothing' in log.call_args.args[0]
    assert log.call_args.kwargs['level'] == logging.WARNING
