"""TextHead: scores, modulation, two branches, views, checkpoints."""

import copy
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from mmaction.registry import MODELS
from mmaction.structures import ActionDataSample
from mmengine.config import Config
from mmengine.registry import DefaultScope
from mmengine.runner.checkpoint import get_state_dict, load_state_dict
from torch import Tensor, nn

from mmvidadapt.apis.complexity import config_complexity, count_complexity
from mmvidadapt.datasets.synthetic import use_synthetic_data
from mmvidadapt.models.clip import CLIPTextEncoder
from mmvidadapt.models.heads import LinearHead, TextHead
from mmvidadapt.models.text import encode_classes
from tests import tiny_clip as tiny
from tests.tiny_text import NAMES, text

ONE = ['a video of {}.']
TUNED = 'finetune_features'


@pytest.fixture(autouse=True)
def in_mmactions_scope() -> Iterator[None]:
    """As in a run; recognizers build their parts by bare names."""
    with DefaultScope.overwrite_default_scope('mmaction'):
        yield


def unit(rows: int, width: int = 24, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return F.normalize(torch.randn(rows, width, generator=generator), dim=-1)


def names(number: int) -> list[str]:
    return [f'class {i}' for i in range(number)]


def head(number: int = 7, **options) -> TextHead:
    """A head of given features."""
    return TextHead(**{**dict(
        in_channels=24, classes=names(number), features=unit(number)),
        **options})


def samples(labels: list) -> list[ActionDataSample]:
    return [ActionDataSample().set_gt_label(label) for label in labels]


def branches(count: int, clips: int = 3, frames: int = 4) -> tuple:
    generator = torch.Generator().manual_seed(7)
    return tuple(torch.randn(clips, frames, 24, generator=generator)
                 for _ in range(count))


def config(text_options: dict, **options) -> dict:
    """A recognizer, as a config states it."""
    return dict(
        type='Recognizer3D',
        backbone=dict(
            type='CLIPViT', num_frames=4, encoder=dict(
                arch=tiny.VISION, act='quick_gelu', project=True)),
        cls_head=dict(
            type='TextHead', in_channels=24, templates=ONE,
            text=text_options, average_clips='prob', **options),
        data_preprocessor=dict(
            type='ActionDataPreprocessor', mean=[122.8, 116.7, 104.1],
            std=[68.5, 66.6, 70.3], format_shape='NCTHW'))


def recognizer(text_options: dict, **options) -> nn.Module:
    return tiny.randomize(MODELS.build(config(text_options, **options)))


def batch(labels: list, views: int = 1) -> dict:
    return dict(inputs=[torch.randint(0, 256, (views, 3, 4, 32, 32),
                                      dtype=torch.uint8) for _ in labels],
                data_samples=samples(labels))


def predict(model: nn.Module, data: dict) -> Tensor:
    data = model.data_preprocessor(data, training=False)
    with torch.no_grad():
        found = model.eval()(**data, mode='predict')
    return torch.stack([sample.pred_score for sample in found])


# -- parity ----------------------------------------------------------------


@pytest.fixture
def golden(goldens: Path) -> dict:
    return torch.load(goldens / 'mote_tiny.pt', weights_only=True)


def golden_head(golden: dict, features: Tensor, **options) -> TextHead:
    made = TextHead(features.shape[1], names(len(features)),
                    features=features, scale=1., **options).eval()
    made.load_state_dict({
        TUNED: golden['state_dict']['spe_cls_feature'].float(),
        'logit_scale': torch.tensor(0.)})
    return made


def test_matches_reference(golden):
    """Cosines with and without modulation, and its factor."""
    frames, out = golden['vid_emb'].float(), golden['eval']
    temporal = out['agg_no_tfm'] - frames
    close = dict(atol=1e-5, rtol=0)
    modulated = golden_head(golden, golden['cls_emb'])
    torch.testing.assert_close(
        modulated.association(frames.mean(1)), out['tfm_factor'],
        atol=1e-4, rtol=0)
    torch.testing.assert_close(
        modulated((frames, temporal)), out['logits_tfm'], **close)
    plain = golden_head(golden, golden['cls_emb'], modulate=False)
    torch.testing.assert_close(
        plain((frames, temporal)), out['logits_no_tfm'], **close)
    closed = golden_head(
        golden, golden['state_dict']['spe_cls_feature'].float())
    torch.testing.assert_close(
        closed((frames, temporal)), out['logits_closed_set'], **close)


# -- scores ----------------------------------------------------------------


def test_scores_are_scaled_cosines_with_the_mean_over_frames():
    made, (frames, ) = head(scale=20.), branches(1)
    expected = 20 * F.cosine_similarity(
        frames.mean(1)[:, None], made.class_features[None], dim=-1)
    torch.testing.assert_close(made(frames), expected)


def test_temporal_features_are_added():
    made, (frames, temporal) = head().train(), branches(2)
    torch.testing.assert_close(made((frames, temporal)),
                               made(frames + temporal))


def test_given_features_are_normalised():
    torch.testing.assert_close(
        head(features=3 * unit(7)).class_features, unit(7))


def test_scores_are_float32_under_autocast_and_for_bfloat16_features():
    made, x = head(projection=True).eval(), branches(2)
    plain = made([part.bfloat16() for part in x])
    with torch.autocast('cpu', torch.bfloat16):
        inside = made([part.bfloat16() for part in x])
    assert inside.dtype == torch.float32
    assert torch.equal(inside, plain)


def test_another_width_needs_a_projection():
    with pytest.raises(ValueError, match='features of frames have 32 channels '
                       'and those of texts 24: let the encoder project '
                       r'\(project=True\), or set projection=True'):
        head(in_channels=32)
    made, x = head(in_channels=32, projection=True), torch.randn(2, 4, 32)
    torch.testing.assert_close(made(x), 100 * F.normalize(
        made.projection(x.mean(1)), dim=-1) @ unit(7).T)
    made.loss(x, samples([0, 1]))['loss_cls'].backward()
    assert made.projection.weight.grad.any()


@pytest.mark.parametrize('shape', [(2, 24), (2, 4, 23)])
def test_features_of_another_shape_are_refused(shape):
    with pytest.raises(ValueError, match=r'TextHead reads frame features \(B, '
                       r'T, 24\), got \(2, .*: set in_channels'):
        head()(torch.zeros(shape))


# -- modulation ------------------------------------------------------------


def restated(pooled: Tensor, test: Tensor, tuned: Tensor, k: int,
             gamma: float) -> Tensor:
    """Eq. 11, video by video."""
    factors = []
    for video in pooled:
        near = sorted(test, key=lambda row: -float(row @ video))[:k]
        known = sorted(tuned, key=lambda row: -float(row @ video))[:k]
        nearness = sum(max(float(a @ b) for b in known) for a in near) / k
        factors.append(torch.tensor((nearness - 1) / gamma).exp())
    return torch.stack(factors)


@pytest.mark.parametrize('k, gamma', [(1, 0.05), (3, 0.5), (5, 2.)])
def test_modulation_is_equation_11(k, gamma):
    made = head(modulation_k=k, modulation_gamma=gamma).eval()
    tuned = unit(9, seed=1)
    made.load_state_dict({**made.state_dict(), TUNED: tuned})
    frames, temporal = branches(2)
    rho = restated(frames.mean(1), unit(7), tuned, k, gamma)
    torch.testing.assert_close(made.association(frames.mean(1)), rho)
    made.modulate = False
    expected = made(frames + rho[:, None, None] * temporal)
    made.modulate = True
    torch.testing.assert_close(made((frames, temporal)), expected)


def test_modulation_changes_nothing_if_the_classes_are_the_same():
    x = branches(2)
    for spread in (0, 1e-7):
        made = head().eval()
        made.load_state_dict({**made.state_dict(), TUNED: unit(7) + spread})
        scores = made(x)
        made.modulate = False
        assert torch.equal(scores, made(x))


def test_a_load_after_an_evaluation_counts():
    made, x = head().eval(), branches(2)
    before = made(x)
    made.load_state_dict({**made.state_dict(), TUNED: unit(7, seed=1)})
    assert not torch.allclose(made(x), before)


def test_classes_that_another_machine_rounded_are_the_same():
    made, x = head().eval(), branches(2)
    before = made(x)
    made.load_state_dict(
        {**made.state_dict(), TUNED: unit(7) * (1 + 1e-6)})
    assert torch.equal(made(x), before)


def test_modulation_acts_in_evaluation_and_on_temporal_features_only():
    made, (frames, temporal) = head(), branches(2)
    made.load_state_dict({**made.state_dict(), TUNED: unit(9, seed=1)})
    trained = made.train()((frames, temporal))
    assert not torch.allclose(made.eval()((frames, temporal)), trained)
    torch.testing.assert_close(made(frames), made.train()(frames))


def test_a_model_that_saw_no_classes_is_not_modulated():
    made, x = head().eval(), branches(2)
    assert not made.state_dict()[TUNED].any()
    torch.testing.assert_close(made(x), made.train()(x))


def test_any_batch_size_gives_the_same_scores():
    made, x = head().eval(), branches(2, clips=6)
    made.load_state_dict({**made.state_dict(), TUNED: unit(9, seed=1)})
    single = [made([part[i:i + 1] for part in x]) for i in range(6)]
    torch.testing.assert_close(made(x), torch.cat(single))


# -- losses ----------------------------------------------------------------


@pytest.mark.parametrize('kind', ['text', 'linear'])
def test_both_branches_have_a_cross_entropy(kind):
    frames, temporal, merged = branches(3)
    made = head(merged_weight=0.25) if kind == 'text' else LinearHead(
        7, 24, merged_weight=0.25)
    labels = torch.tensor([3, 0, 6])
    losses = made.loss((frames, temporal, merged), samples(labels.tolist()))
    torch.testing.assert_close(losses['loss_cls'], F.cross_entropy(
        made(frames + temporal), labels))
    torch.testing.assert_close(losses['loss_cls_merged'], 0.25 *
                               F.cross_entropy(made(frames + merged), labels))
    assert {name for name in losses if 'acc' in name} == {
        'top1_acc', 'top5_acc', 'top1_acc_merged', 'top5_acc_merged'}
    alone = made.loss((frames, temporal), samples(labels.tolist()))
    assert list(alone) == ['top1_acc', 'top5_acc', 'loss_cls']


def test_kl_draws_the_merged_branch_to_the_other():
    made = head(merged_loss='kl', scale=5.)
    frames, temporal, merged = branches(3)
    temporal.requires_grad_()
    merged.requires_grad_()
    losses = made.loss((frames, temporal, merged), samples([3, 0, 6]))
    target, found = (made(frames + part).softmax(-1)
                     for part in (temporal, merged))
    torch.testing.assert_close(
        losses['loss_kl_merged'],
        0.5 * (target * (target / found).log()).sum(1).mean())
    assert 'loss_cls_merged' not in losses
    losses['loss_kl_merged'].backward()
    assert merged.grad.any() and temporal.grad is None


def test_label_smoothing():
    made, x = head(label_smooth_eps=0.1), branches(1)[0]
    torch.testing.assert_close(
        made.loss(x, samples([3, 1, 0]))['loss_cls'],
        F.cross_entropy(made(x), torch.tensor([3, 1, 0]),
                        label_smoothing=0.1))


def test_label_outside_the_classes():
    with pytest.raises(ValueError, match='label 7 is outside the 7 classes .*'
                       'a TextHead has as many as its classes'):
        head().loss(branches(1)[0], samples([0, 1, 7]))


@pytest.mark.parametrize('trained', [True, False])
def test_scale_trains_or_not(trained):
    made, x = head(train_scale=trained, scale=50.), branches(1)[0]
    assert made.logit_scale.exp().item() == pytest.approx(50)
    loss = made.loss(x.requires_grad_(), samples([3, 1, 0]))['loss_cls']
    loss.backward()
    assert (made.logit_scale.grad is not None) == trained
    assert list(dict(made.named_parameters())) == ['logit_scale']


def test_mote_and_text_head_train_in_a_recognizer(tmp_path):
    cfg = config(text(tmp_path), classes=NAMES)
    cfg['neck'] = dict(type='MoTE', embed_dims=24, num_layers=2, num_experts=2)
    model = tiny.randomize(MODELS.build(cfg)).train()
    data = model.data_preprocessor(batch([0, 5]), training=True)
    losses = model(**data, mode='loss')
    assert {name for name in losses if 'loss' in name} == {
        'loss_cls', 'loss_cls_merged', 'loss_mse'}
    sum(loss for name, loss in losses.items() if 'loss' in name).backward()
    lonely = [name for name, parameter in model.named_parameters()
              if parameter.grad is None]
    assert not lonely
    clips = batch([0], views=3)
    whole = predict(model, clips)
    model.test_cfg = dict(max_testing_views=2)
    torch.testing.assert_close(predict(model, clips), whole)


def modulated() -> TextHead:
    """A head whose fine-tuning classes are others."""
    made = head()
    made.load_state_dict({**made.state_dict(), TUNED: unit(9, seed=1)})
    return made


@pytest.mark.parametrize('kind', [TextHead, LinearHead])
def test_scores_of_an_ensemble_are_averaged(kind):
    made = modulated() if kind is TextHead else LinearHead(7, 24)
    frames, *temporal = branches(3)
    made.eval()
    torch.testing.assert_close(
        made((frames, torch.stack(temporal, dim=1))),
        torch.stack([made((frames, one)) for one in temporal]).mean(dim=0))
    with pytest.raises(ValueError, match='reads frame features'):
        made((frames, torch.stack(temporal)))


def test_an_ensemble_may_see_the_views_of_a_video_one_by_one(tmp_path):
    cfg = config(text(tmp_path), classes=NAMES)
    cfg['neck'] = dict(type='MoTE', embed_dims=24, num_layers=2,
                       num_experts=2, aggregation='ensemble')
    model = tiny.randomize(MODELS.build(cfg))
    clips = batch([0], views=3)
    whole = predict(model, clips)
    model.test_cfg = dict(max_testing_views=2)
    torch.testing.assert_close(predict(model, clips), whole)


# -- views -----------------------------------------------------------------


@pytest.mark.parametrize('average, expected', [
    ('score', lambda cosine: (20 * cosine).mean(1)),
    ('prob', lambda cosine: (20 * cosine).softmax(-1).mean(1)),
    ('mote_closed_set',
     lambda cosine: cosine.softmax(-1).mean(1).softmax(-1)),
    ('mote_zero_shot',
     lambda cosine: (100 * cosine).mean(1).softmax(-1))])
def test_views_are_averaged(average, expected):
    made, x = head(average_clips=average, scale=20.).eval(), branches(
        2, clips=6)
    cosines = (made(x) / 20).view(2, 3, 7)
    found = made.predict(x, samples([0, 1]))
    torch.testing.assert_close(
        torch.stack([sample.pred_score for sample in found]),
        expected(cosines))


# -- classes ---------------------------------------------------------------


def test_training_encodes_the_classes_before_the_first_step(tmp_path):
    model = recognizer(text(tmp_path), classes=NAMES)
    model.init_weights()
    expected = encode_classes(NAMES, ONE, **text(tmp_path))
    assert torch.equal(model.cls_head.class_features, expected)
    assert model.cls_head.num_classes == 7
    assert not any('text' in name or 'token' in name
                   for name, _ in model.named_modules())


def test_one_checkpoint_is_tested_on_any_classes(tmp_path, monkeypatch):
    model = recognizer(text(tmp_path), classes=NAMES).train()
    data = model.data_preprocessor(batch([0, 5]), training=True)
    model(**data, mode='loss')['loss_cls'].backward()
    lonely = [name for name, parameter in model.named_parameters()
              if parameter.grad is None]
    assert not lonely
    for state in (model.state_dict(), get_state_dict(model)):
        assert {key for key in state if key.startswith('cls_head')} == {
            'cls_head.logit_scale', f'cls_head.{TUNED}'}
        assert torch.equal(state[f'cls_head.{TUNED}'],
                           model.cls_head.class_features)
    other = recognizer(text(tmp_path), classes=names(9))
    load_state_dict(other, state, strict=False)
    clips = batch([0, 1])
    assert predict(other, clips).shape == (2, 9)  # nothing called init_weights
    assert torch.equal(other.cls_head.class_features,
                       encode_classes(names(9), ONE, **text(tmp_path)))
    assert torch.equal(other.cls_head.finetune_features,
                       model.cls_head.class_features)
    # A second start encodes nothing.
    monkeypatch.setattr(CLIPTextEncoder, 'forward', None)
    again = recognizer(text(tmp_path), classes=names(9))
    load_state_dict(again, other.state_dict(), strict=False)
    assert torch.equal(predict(again, clips), predict(other, clips))


def test_fine_tuning_on_other_classes_stores_those():
    made, x = head(), branches(2)
    made.load_state_dict({**made.state_dict(), TUNED: unit(9, seed=1)})
    made.eval()(x)
    assert len(made.finetune_features) == 9
    made.train().loss(x, samples([0, 1, 2]))
    assert torch.equal(made.state_dict()[TUNED], made.class_features)


def test_prediction_draws_no_random_number(tmp_path):
    model, clips = recognizer(text(tmp_path), classes=NAMES), batch([0])
    state = torch.get_rng_state()
    predict(model, clips)
    assert torch.equal(torch.get_rng_state(), state)


def test_meta_tensors_are_counted_and_nothing_is_encoded(
        tmp_path, monkeypatch):
    monkeypatch.setattr(CLIPTextEncoder, '__init__', None)
    cfg = Config(dict(model=config(text(tmp_path), classes=NAMES)))
    cost = config_complexity(cfg, (1, 1, 3, 4, 32, 32))
    assert cost.parts['cls_head'].macs == 24 * 7
    assert cost.parts['cls_head'].params == 1
    made = head()
    count_complexity(made, (1, 4, 24))
    assert not made.class_features.is_meta


def test_copies_for_averages_are_apart():
    made, x = head(), branches(2)
    twin = copy.deepcopy(made)
    twin.load_state_dict({**made.state_dict(), TUNED: unit(9, seed=1)})
    assert len(made.finetune_features) == 7
    assert not torch.allclose(twin.eval()(x), made.eval()(x))


def test_synthetic_clips_have_the_labels_of_the_classes():
    cfg = Config(dict(
        model=dict(cls_head=dict(type='TextHead', classes='hmdb51')),
        test_dataloader=dict(dataset=dict(
            type='VideoDataset', pipeline=[dict(type='DecordInit'), dict(
                type='DecordDecode')]))))
    use_synthetic_data(cfg, 2)
    assert cfg.test_dataloader.dataset.num_classes == 51


# -- bad input -------------------------------------------------------------


def test_checkpoint_of_another_kind_is_refused(tmp_path):
    with pytest.raises(RuntimeError, match='does not fit TextHead: 2 missing '
                       r'\(.*\); 2 unexpected \(fc_cls.weight, fc_cls.bias'):
        load_state_dict(head(), LinearHead(7, 24).state_dict(), strict=False)
    with pytest.raises(RuntimeError, match='finetune_features'):
        head().load_state_dict({'logit_scale': torch.tensor(0.),
                                TUNED: unit(7, width=32)})


@pytest.mark.parametrize('options, message', [
    (dict(classes=names(4), features=unit(4)),
     'compares the 5 nearest classes and there are 4 classes: set '
     'modulation_k to 4 or less, or modulate=False'),
    (dict(classes=[*names(5), 'class 6', 'Class_6']),
     "classes 5 and 6 are both named 'Class_6'"),
    (dict(classes=[*names(6), ' _']), "has ' _' for class 6, which is no "
     'name: give every class a name'),
    (dict(templates=['a video']), "'a video' holds 0 places"),
    (dict(text=dict(arch='ViT-B-16', act='gelu')), 'give one of them'),
    (dict(features=None), r"as in text=dict\(arch='ViT-B-16'"),
    (dict(features=None, text=dict(arch='ViT-B-16')), 'text lacks act'),
    (dict(features=None, text=dict(arch='ViT-B-16', act='gelu', tokenizer='')),
     "unknown option 'tokenizer' of text: use arch, act, weights, cache_dir"),
    (dict(features=unit(6)), r'features of shape \(6, 24\) are not those of 7 '
     'classes: give one row for each class'),
    (dict(scale=0), 'scale=0 is not positive'),
    (dict(scale='x'), "scale='x' is not positive: give a number above 0"),
    (dict(scale=float('nan')), 'scale=nan is not positive'),
    (dict(scale=True), 'scale=True is not positive'),
    (dict(modulation_gamma=None), 'modulation_gamma=None is not positive'),
    (dict(modulation_k=1.5), 'modulation_k=1.5 is no number of classes: give '
     'an int of 1 or more'),
    (dict(modulation_k=0), 'modulation_k=0 is no number of classes'),
    (dict(modulation_gamma=0), 'modulation_gamma=0 is not positive'),
    (dict(average_clips='mean'), "unknown average_clips='mean': use one of "
     "'score', 'prob', 'mote_closed_set', 'mote_zero_shot', None"),
    (dict(merged_loss='l1'), "unknown merged_loss='l1': use one of 'ce'")])
def test_bad_options_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        head(**options)


def test_few_classes_do_without_modulation():
    made = head(4, modulate=False)
    assert made(branches(2)).shape == (3, 4)


def test_checkpoint_of_few_fine_tuning_classes():
    with pytest.raises(ValueError, match='there are 3 fine-tuning classes: '
                       'set modulation_k to 3 or less'):
        head().load_state_dict({'logit_scale': torch.tensor(0.),
                                TUNED: unit(3)})
