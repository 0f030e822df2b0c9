"""LinearHead in MMAction2's Recognizer3D: losses, precision, views, labels."""

from collections.abc import Iterator

import pytest
import torch
import torch.nn.functional as F
from mmaction.registry import MODELS
from mmaction.structures import ActionDataSample
from mmengine.registry import DefaultScope
from mmengine.runner import load_state_dict
from torch import Tensor, nn

from mmvidadapt.models.heads import LinearHead
from tests import tiny_clip as tiny


@pytest.fixture(autouse=True)
def in_mmactions_scope() -> Iterator[None]:
    """As in a run; recognizers build their parts by bare names."""
    with DefaultScope.overwrite_default_scope('mmaction'):
        yield


def _config(num_classes: int = 6, head: dict | None = None,
            blending: dict | None = None, **test_cfg) -> dict:
    return dict(
        type='Recognizer3D',
        backbone=dict(
            type='CLIPViT', num_frames=4,
            encoder=dict(arch=tiny.VISION, act='quick_gelu', frozen=True),
            adapters=[dict(type='LoRA', layers=[0, 1])]),
        cls_head=dict(type='LinearHead', num_classes=num_classes,
                      in_channels=32, topk=(1, ), **(head or {})),
        data_preprocessor=dict(
            type='ActionDataPreprocessor', mean=[122.8, 116.7, 104.1],
            std=[68.5, 66.6, 70.3], format_shape='NCTHW',
            blending=blending),
        test_cfg=test_cfg or None)


def _recognizer(**kwargs) -> nn.Module:
    return tiny.randomize(MODELS.build(_config(**kwargs)))


def _batch(labels: list, views: int = 1) -> dict:
    """What the pipeline hands over: uint8 clips and data samples."""
    samples = [ActionDataSample().set_gt_label(label) for label in labels]
    return dict(inputs=[torch.randint(0, 256, (views, 3, 4, 32, 32),
                                      dtype=torch.uint8) for _ in labels],
                data_samples=samples)


def _loss(model: nn.Module, batch: dict) -> dict[str, Tensor]:
    data = model.data_preprocessor(batch, training=True)
    return model(**data, mode='loss')


def _predict(model: nn.Module, batch: dict) -> list[ActionDataSample]:
    data = model.data_preprocessor(batch, training=False)
    with torch.no_grad():
        return model.eval()(**data, mode='predict')


# -- scores ----------------------------------------------------------------


def test_scores_are_the_classified_mean_over_frames():
    head, x = LinearHead(6, 32).eval(), torch.randn(2, 5, 32)
    torch.testing.assert_close(
        head(x), x.mean(1) @ head.fc_cls.weight.T + head.fc_cls.bias)
    assert head(x[:, :1]).shape == (2, 6)


@pytest.mark.parametrize('shape', [(2, 32), (2, 4, 31), (2, 4, 1, 32)])
def test_features_of_another_shape_are_refused(shape):
    with pytest.raises(ValueError, match=r'reads frame features \(B, T, 32\), '
                       r'got \(2, .*: set in_channels to the width of'):
        LinearHead(6, 32)(torch.zeros(shape))


def test_dropout_acts_in_training_only():
    head, x = LinearHead(6, 32, dropout=0.9), torch.randn(2, 5, 32)
    assert not torch.equal(head(x), head(x))
    assert torch.equal(head.eval()(x), head(x))


def test_classifier_starts_small():
    head = LinearHead(400, 768, init_std=0.02)
    assert 0.015 < head.fc_cls.weight.std() < 0.025
    assert not head.fc_cls.bias.any()


def test_scores_are_float32_under_autocast_and_for_bfloat16_features():
    head, x = LinearHead(6, 32).eval(), torch.randn(2, 5, 32)
    with torch.autocast('cpu', torch.bfloat16):
        assert head.fc_cls(x.mean(1)).dtype == torch.bfloat16
        assert head(x.bfloat16()).dtype == torch.float32
        torch.testing.assert_close(
            head(x), F.linear(x.mean(1).double(), head.fc_cls.weight.double(),
                              head.fc_cls.bias.double()).float())


# -- losses ----------------------------------------------------------------


def test_bfloat16_training_step_from_config():
    model = _recognizer().train()
    with torch.autocast('cpu', torch.bfloat16):
        losses = _loss(model, _batch([0, 5]))
    assert losses['loss_cls'].dtype == torch.float32
    assert 0 <= losses['top1_acc'] <= 1
    losses['loss_cls'].backward()
    without = [name for name, param in model.named_parameters()
               if param.requires_grad and not param.grad.any()]
    assert without == []
    assert all(param.grad is None for param in
               model.backbone.encoder.parameters())


def test_cross_entropy_equals_torchs():
    model = _recognizer().eval()
    batch = _batch([3, 1])
    data = model.data_preprocessor(batch, training=True)
    scores = model.cls_head(model.extract_feat(
        data['inputs'], stage='neck')[0])
    torch.testing.assert_close(
        _loss(model, batch)['loss_cls'],
        F.cross_entropy(scores, torch.tensor([3, 1])))


@pytest.mark.parametrize('batch_size', [1, 2])
def test_multi_label(batch_size):
    model = _recognizer(head=dict(
        multi_class=True, loss_cls=dict(type='BCELossWithLogits'),
        average_clips=None)).eval()
    labels = torch.zeros(batch_size, 6)
    labels[:, [1, 4]] = 1
    batch = _batch(list(labels))
    losses = _loss(model, batch)
    data = model.data_preprocessor(batch, training=True)
    scores = model.cls_head(model.extract_feat(
        data['inputs'], stage='neck')[0])
    torch.testing.assert_close(
        losses['loss_cls'],
        F.binary_cross_entropy_with_logits(scores, labels))
    losses['loss_cls'].backward()


@pytest.mark.parametrize('blending', ['MixupBlending', 'CutmixBlending'])
@pytest.mark.parametrize('batch_size', [1, 2, 6])
def test_mixed_clips_have_soft_labels(blending, batch_size):
    model = _recognizer(blending=dict(type=blending, num_classes=6,
                                      alpha=0.8)).train()
    batch = _batch([i % 6 for i in range(batch_size)])
    data = model.data_preprocessor(batch, training=True)
    labels = torch.stack([s.gt_label for s in data['data_samples']])
    assert labels.shape == (batch_size, 6)
    losses = model(**data, mode='loss')
    scores = model.cls_head(model.extract_feat(
        data['inputs'], stage='neck')[0])
    torch.testing.assert_close(losses['loss_cls'],
                               F.cross_entropy(scores, labels))


def test_label_smoothing():
    model = _recognizer(head=dict(label_smooth_eps=0.1)).eval()
    batch = _batch([3, 1])
    data = model.data_preprocessor(batch, training=True)
    scores = model.cls_head(model.extract_feat(
        data['inputs'], stage='neck')[0])
    torch.testing.assert_close(
        _loss(model, batch)['loss_cls'],
        F.cross_entropy(scores, torch.tensor([3, 1]), label_smoothing=0.1))


# -- labels ----------------------------------------------------------------


@pytest.mark.parametrize('label, remedy', [
    (6, 'set num_classes of the head to at least 7'),
    (-1, 'give every video a class number, counted from 0')])
def test_label_outside_the_classes(label, remedy):
    with pytest.raises(ValueError, match=rf'label {label} is outside the 6 '
                       rf'classes \(0 to 5\): .*{remedy}'):
        _loss(_recognizer(), _batch([2, label]))


def test_soft_labels_of_another_width():
    model = _recognizer(blending=dict(type='MixupBlending', num_classes=8))
    with pytest.raises(ValueError, match='soft labels of 8 classes reach a '
                       'head of 6: set num_classes alike'):
        _loss(model, _batch([0, 1]))


# -- prediction ------------------------------------------------------------


def test_views_are_averaged_as_probabilities():
    model = _recognizer(head=dict(average_clips='prob'))
    batch = _batch([0, 1], views=3)
    predictions = _predict(model, batch)
    for inputs, sample in zip(batch['inputs'], predictions):
        single = [_predict(model, dict(
            inputs=[view[None]], data_samples=[ActionDataSample()]))[0]
            for view in inputs]
        expected = torch.stack([s.pred_score for s in single]).mean(0)
        torch.testing.assert_close(sample.pred_score, expected, atol=1e-5,
                                   rtol=1e-5)
        assert sample.pred_score.sum() == pytest.approx(1)
        assert sample.pred_label == expected.argmax()


def test_few_views_at_a_time_change_nothing():
    batch = _batch([0], views=5)
    whole = _recognizer(head=dict(average_clips='prob'))
    parts = _recognizer(head=dict(average_clips='prob'),
                        max_testing_views=2)
    parts.load_state_dict(whole.state_dict())
    sizes: list[int] = []
    parts.backbone.register_forward_pre_hook(
        lambda module, args: sizes.append(len(args[0])))
    torch.testing.assert_close(_predict(parts, batch)[0].pred_score,
                               _predict(whole, batch)[0].pred_score)
    assert sizes == [2, 2, 1]


# -- checkpoints -----------------------------------------------------------


def test_checkpoint_with_other_classes_is_refused_unless_allowed():
    state = _recognizer(num_classes=9).state_dict()
    with pytest.raises(RuntimeError, match=r"does not fit 'cls_head' "
                       r'\(LinearHead\): 2 mis-shaped'):
        load_state_dict(_recognizer(), state, strict=False)
    model = _recognizer(head=dict(reinit_on_mismatch=True))
    own = model.cls_head.fc_cls.weight.clone()
    load_state_dict(model, state, strict=False)
    assert torch.equal(model.cls_head.fc_cls.weight, own)
    assert torch.equal(model.backbone.encoder.conv1.weight,
                       state['backbone.encoder.conv1.weight'])
    with pytest.raises(RuntimeError, match='LinearHead was not loaded whole '
                       '.*has not been trained since'):
        _predict(model, _batch([0]))
    _loss(model.train(), _batch([0, 1]))
    _predict(model, _batch([0]))
