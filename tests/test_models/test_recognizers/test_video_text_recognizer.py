"""VideoTextRecognizer: both towers in one model, on MMAction2's roads."""

import copy
import json

import pytest
import torch
import torch.nn.functional as F
from mmaction.models import Recognizer3D
from mmaction.registry import MODELS
from mmaction.structures import ActionDataSample
from mmengine.config import ConfigDict
from mmengine.model import ExponentialMovingAverage

import mmvidadapt.models  # noqa: F401
from mmvidadapt.apis.complexity import count_complexity
from mmvidadapt.models.text import tokenize
from tests import tiny_clip as tiny

NAMES = ['brush hair', 'air drumming', 'tai chi', 'surfing']
VISION = dict(tiny.VISION)
TEXT = dict(embed_dims=16, num_layers=2, num_heads=2, output_dims=24,
            context_length=16)
MSTA = dict(type='MSTA', layers=[0, 1], bottleneck_dims=8, scale=0.5,
            dropout=0.)


def _config(**changes) -> dict:
    return {**dict(
        type='VideoTextRecognizer',
        backbone=dict(
            type='CLIPViT', num_frames=2,
            encoder=dict(arch=VISION, act='quick_gelu', project=True,
                         frozen=True)),
        text_encoder=dict(arch=TEXT, act='quick_gelu', frozen=True),
        adapter=MSTA,
        cls_head=dict(
            type='TextHead', in_channels=24, classes=NAMES,
            templates='video', text='recognizer', modulate=False,
            train_scale=False, average_clips='prob'),
        data_preprocessor=dict(
            type='mmaction.ActionDataPreprocessor', format_shape='NCTHW')),
        **changes}


def _build(**changes):
    return MODELS.build(ConfigDict(_config(**changes)))


def _model(**changes):
    model = tiny.randomize(_build(**changes))
    model.cls_head.logit_scale.data.fill_(3.)
    model.init_weights()
    return model


def _clips(views: int = 1, batch: int = 2) -> torch.Tensor:
    generator = torch.Generator().manual_seed(3)
    return torch.randn(batch, views, 3, 2, 32, 32, generator=generator)


def _samples(batch: int = 2) -> list:
    return [ActionDataSample().set_gt_label(i % len(NAMES))
            for i in range(batch)]


def _scores(model, views: int = 1, batch: int = 2) -> torch.Tensor:
    model.eval()
    with torch.no_grad():
        found = model(_clips(views, batch), _samples(batch), mode='predict')
    return torch.stack([sample.pred_score for sample in found])


@pytest.fixture
def files(tmp_path) -> dict:
    """Descriptions of the classes, in another order than theirs."""
    for kind, number in (('spatial', 2), ('temporal', 3)):
        (tmp_path / f'{kind}.json').write_text(json.dumps({
            name: [f'{kind} view {i} of {name}.' for i in range(number)]
            for name in reversed(NAMES)}))
    return {kind: str(tmp_path / f'{kind}.json')
            for kind in ('spatial', 'temporal')}


# -- what is computed ------------------------------------------------------


def test_scores_are_cosines_of_both_adapted_towers():
    model = _model().eval()
    head = model.cls_head
    with torch.no_grad():
        video = model.backbone(_clips().flatten(0, 1)).mean(dim=1)
        plain = copy.deepcopy(model.text_encoder)(model._tokens)
        text = model.text_encoder(model._tokens,
                                  stacks=[model.adapter.text])
        assert not torch.allclose(plain, text)
        wanted = head.logit_scale.exp() * (
            F.normalize(video, dim=-1) @ F.normalize(text, dim=-1).T)
        torch.testing.assert_close(
            model(_clips(), mode='tensor', stage='head'), wanted)
        torch.testing.assert_close(_scores(model), wanted.softmax(dim=-1))


def test_without_adapters_scores_are_those_of_recognizer3d():
    model = _model(adapter=None).eval()
    features = model.class_features()
    config = _config()
    stock = Recognizer3D(
        config['backbone'], dict(
            config['cls_head'], text=None, features=features),
        data_preprocessor=config['data_preprocessor'])
    stock.backbone.load_state_dict(model.backbone.state_dict())
    stock.cls_head.logit_scale.data.copy_(model.cls_head.logit_scale)
    torch.testing.assert_close(_scores(model, views=3),
                               _scores(stock, views=3))


def test_scale_zero_is_the_frozen_model_to_the_bit():
    model = _model(adapter=dict(MSTA, scale=0.))
    frozen = _model(adapter=None)
    for part in ('backbone', 'text_encoder', 'cls_head'):
        getattr(frozen, part).load_state_dict(
            getattr(model, part).state_dict())
    assert torch.equal(_scores(model), _scores(frozen))


def test_templates_are_averaged_after_their_norm():
    model = _model(cls_head=dict(
        _config()['cls_head'], templates=['a video of {}.', 'see {}.']))
    with torch.no_grad():
        each = model._encode_texts(model._tokens).unflatten(0, (-1, 2))
        torch.testing.assert_close(
            model.eval().class_features(),
            (F.normalize(each[:, 0], dim=-1)
             + F.normalize(each[:, 1], dim=-1)) / 2)


def test_views_go_in_parts_as_in_recognizer3d():
    whole = _model()
    parts = copy.deepcopy(whole)
    parts.test_cfg = dict(max_testing_views=2)
    torch.testing.assert_close(_scores(whole, views=5, batch=1),
                               _scores(parts, views=5, batch=1))


def test_text_batches_change_memory_and_nothing_else():
    found = []
    for text_batch in (None, 3, 1):
        torch.manual_seed(0)
        model = _model(text_batch=text_batch,
                       adapter=dict(MSTA, dropout=0.)).train()
        losses = model(_clips(), _samples(), mode='loss')
        losses['loss_cls'].backward()
        found.append([losses['loss_cls'].detach()] + [
            p.grad for p in model.adapter.parameters()])
    for other in found[1:]:
        for a, b in zip(found[0], other, strict=True):
            torch.testing.assert_close(a, b)


def test_text_batches_keep_no_inner_values_for_backward():
    def kept(text_batch):
        model, sizes = _model(text_batch=text_batch).train(), []

        def pack(tensor):
            sizes.append(tensor.numel())
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
            model.class_features()
        return sum(sizes)

    assert kept(2) < kept(None) / 50


# -- what trains -----------------------------------------------------------


def test_adapters_train_and_nothing_else():
    model = _model()
    trained = {name for name, p in model.named_parameters()
               if p.requires_grad}
    assert trained == {f'adapter.{name}'
                       for name, _ in model.adapter.named_parameters()}
    before = copy.deepcopy(model.state_dict())
    optimizer = torch.optim.AdamW(
        [p for p in model.parameters() if p.requires_grad], lr=0.01)
    model.train()
    assert not model.text_encoder.training
    assert not model.backbone.encoder.training
    for _ in range(2):
        optimizer.zero_grad()
        model(_clips(), _samples(), mode='loss')['loss_cls'].backward()
        optimizer.step()
    after = model.state_dict()
    moved = {name for name in after
             if not torch.equal(after[name], before[name])}
    assert moved == trained


def test_whole_towers_train_without_adapters():
    config = _config(adapter=None)
    config['backbone']['encoder']['frozen'] = False
    config['text_encoder']['frozen'] = False
    model = _model(**{key: config[key] for key in (
        'adapter', 'backbone', 'text_encoder')}).train()
    model(_clips(), _samples(), mode='loss')['loss_cls'].backward()
    without = [name for name, p in model.named_parameters()
               if p.requires_grad and (p.grad is None or not p.grad.any())]
    assert without == []


def test_adapters_of_one_tower_each():
    config = _config(adapter=None, text_adapters=[
        dict(type='LoRA', layers=[0, 1], rank=2)])
    config['backbone']['adapters'] = [
        dict(type='AdaptFormer', layers=[0, 1], bottleneck_dims=4)]
    model = _model(**{key: config[key] for key in (
        'adapter', 'backbone', 'text_adapters')}).train()
    model(_clips(), _samples(), mode='loss')['loss_cls'].backward()
    parts = set()
    for name, param in model.named_parameters():
        if param.requires_grad:
            assert param.grad is not None and param.grad.any(), name
            parts.add('.'.join(name.split('.')[:2]))
    assert parts == {'backbone.adapters', 'text_adapters.0'}


# -- class features are kept as long as they are right ---------------------


def _count_text_passes(model) -> list:
    passes = []
    model.text_encoder.register_forward_pre_hook(
        lambda module, args: passes.append(1))
    return passes


def test_evaluation_reads_the_names_once():
    model = _model().eval()
    passes = _count_text_passes(model)
    for _ in range(3):
        with torch.no_grad():
            model(_clips(), _samples(), mode='predict')
    assert len(passes) == 1


def test_kept_features_are_dropped_when_weights_change():
    model = _model()
    first = _scores(model)
    model.train()
    tiny.randomize(model.adapter.text)
    second = _scores(model)
    assert not torch.allclose(first, second)
    fresh = _model()
    _scores(fresh)
    fresh.load_state_dict(model.state_dict())
    with torch.no_grad():  # still in eval mode
        found = fresh(_clips(), _samples(), mode='predict')
    torch.testing.assert_close(
        torch.stack([sample.pred_score for sample in found]), second)
    kept = model.class_features()
    assert kept is model.class_features()
    assert model.double().class_features() is not kept


@pytest.mark.parametrize('part', ['adapter', 'adapter.text', 'adapter.shared',
                                  'text_encoder', 'text_adapters'])
def test_kept_features_are_dropped_when_a_part_is_loaded(part):
    lora = [dict(type='LoRA', layers=[0], rank=2)]
    model, other = (_model(text_adapters=lora).eval() for _ in range(2))
    kept = model.class_features()
    assert model.class_features() is kept
    model.get_submodule(part).load_state_dict(
        other.get_submodule(part).state_dict())
    assert not torch.allclose(model.class_features(), kept)


def test_an_average_has_its_own_adapters():
    model = _model()
    average = ExponentialMovingAverage(model, momentum=0.5)
    torch.testing.assert_close(_scores(average.module), _scores(model))
    model.train()
    average.update_parameters(model)  # the first one copies
    tiny.randomize(model.adapter)
    average.update_parameters(model)
    assert not torch.allclose(_scores(average.module), _scores(model))


# -- consistency -----------------------------------------------------------


def _consistency(model) -> torch.Tensor:
    losses = model.train()(_clips(), _samples(), mode='loss')
    return losses['loss_consistency']


@pytest.mark.parametrize('kinds', [('spatial', ), ('temporal', ),
                                   ('spatial', 'temporal')])
def test_consistency_matches_equation_14_restated(files, kinds):
    model = _model(consistency=dict(
        weight=0.5, **{kind: files[kind] for kind in kinds}))
    wanted = 0.
    with torch.no_grad():
        w = model.train().class_features()
        for kind in kinds:
            with open(files[kind]) as file:
                sentences = json.load(file)
            for c, name in enumerate(NAMES):
                tokens = tokenize(sentences[name], model.text_encoder.arch)
                mean = model.text_encoder(tokens).mean(dim=0)
                wanted += 1 - F.cosine_similarity(w[c], mean, dim=0)
    loss = _consistency(model)
    assert loss.item() == pytest.approx(0.5 * wanted.item() / 4, abs=1e-5)


def test_consistency_vanishes_for_the_features_themselves(files):
    consistency = _model(consistency=files).consistency
    w = torch.randn(4, 24)
    consistency.spatial, consistency.temporal = 2 * w, 3 * w
    assert consistency(w).item() == pytest.approx(0, abs=1e-6)
    assert consistency(-w).item() == pytest.approx(4, abs=1e-6)


def test_consistency_trains_adapters_of_the_text_alone(files):
    model = _model(consistency=files)
    _consistency(model).backward()
    reached = {name.split('.')[1] for name, p in model.named_parameters()
               if p.grad is not None and p.grad.any()}
    assert reached == {'text', 'shared'}
    assert all(p.grad is None for p in model.text_encoder.parameters())


def test_descriptions_are_encoded_by_the_tower_that_was_loaded(files):
    model, other = _model(consistency=files), _model(consistency=files)
    assert not torch.allclose(_consistency(model), _consistency(other))
    other.load_state_dict(model.state_dict())
    torch.testing.assert_close(_consistency(other), _consistency(model))


def test_descriptions_are_encoded_anew_when_the_tower_alone_is_loaded(files):
    model, other = _model(consistency=files), _model(consistency=files)
    _consistency(model)
    encoded = model.consistency.spatial
    _consistency(model)
    assert model.consistency.spatial is encoded
    model.text_encoder.load_state_dict(other.text_encoder.state_dict())
    _consistency(model), _consistency(other)
    torch.testing.assert_close(
        model.consistency.spatial, other.consistency.spatial)


def test_descriptions_are_kept_in_the_folder_that_is_named(
        files, tmp_path, monkeypatch):
    monkeypatch.setenv('MMVIDADAPT_CACHE', str(tmp_path / 'usual'))
    file = tmp_path / 'tower.pth'
    torch.save(tiny.randomize(_build()).text_encoder.state_dict(), file)
    _model(consistency=dict(files, cache_dir=str(tmp_path / 'named')),
           text_encoder=dict(arch=TEXT, act='quick_gelu', frozen=True,
                             weights=str(file)))
    assert len(list((tmp_path / 'named').rglob('*.safetensors'))) == 2
    assert not (tmp_path / 'usual').exists()


def test_a_test_needs_no_descriptions(tmp_path):
    config = _config(consistency=dict(spatial=str(tmp_path / 'gone.json')))
    model = MODELS.build(ConfigDict(config)).eval()
    with torch.no_grad():
        model(_clips(), _samples(), mode='predict')
    with pytest.raises(FileNotFoundError, match='gone.json'):
        model.init_weights()


# -- checkpoints -----------------------------------------------------------


def test_classes_are_no_part_of_a_checkpoint():
    model = _model()
    novel = _model(cls_head=dict(
        _config()['cls_head'], classes=['juggling', 'yo yo', 'rowing']))
    novel.load_state_dict(model.state_dict())
    assert _scores(novel).shape == (2, 3)
    assert sum('shared' in key for key in model.state_dict()) == 4


def test_a_checkpoint_of_another_model_is_refused():
    state = _model().state_dict()
    del state['adapter.shared.0.weight']
    with pytest.raises(RuntimeError, match='adapter.shared.0.weight'):
        _model().load_state_dict(state, strict=False)


# -- bad input -------------------------------------------------------------


def _head(**changes) -> dict:
    return dict(_config()['cls_head'], **changes)


@pytest.mark.parametrize('changes, message', [
    (dict(cls_head=dict(type='LinearHead', num_classes=4, in_channels=24)),
     "give dict.type='TextHead', text='recognizer', ..."),
    (dict(cls_head=_head(in_channels=32)),
     'features of 24 channels and in_channels of cls_head is 32'),
    (dict(cls_head=_head(modulate=True, modulation_k=2)),
     "text='recognizer' trains them: set modulate=False"),
    (dict(cls_head=_head(text='clip')), "unknown text='clip'"),
    (dict(backbone=dict(type='ResNet3d', depth=18, pretrained2d=False)),
     'a ResNet3d has none that may be adapted: give a CLIPViT'),
    (dict(adapter=dict(type='LoRA', layers=[0])),
     "adapter of type 'LoRA' does not span both towers"),
    (dict(adapter=[MSTA]), r"adapter is one dict\(type='MSTA', ...\), got \["),
    (dict(adapter=dict(MSTA, layers=[2])), '2 is outside the blocks 0 to 1'),
    (dict(adapter=dict(type='MSTA')), "MSTA needs the option 'layers'"),
    (dict(adapter=dict(MSTA, dims=8)), "MSTA has no option 'dims'"),
    (dict(adapter=dict(MSTA, layers=1)), 'a list of 0-based block indices'),
    (dict(adapter=dict(MSTA, layers='7-11')), "got '7-11'"),
    (dict(adapter=dict(MSTA, layers=[True])), 'True is no whole number'),
    (dict(adapter=dict(MSTA, layers=[1, 1], towers=['text'])),
     'MSTA has a repeated index in layers=.1, 1.'),
    (dict(text_batch=0), 'text_batch=0 is no number of texts'),
    (dict(text_batch=-2), 'text_batch=-2 is no number of texts'),
    (dict(text_batch=1.5), 'text_batch=1.5 is no number of texts: give an '
     'int of 1 or more'),
    (dict(consistency=dict(spatal='a.json')), "DescriptionConsistency has no "
     "option 'spatal': use cache_dir, file_classes, spatial, temporal, weig"),
    (dict(consistency=dict(spatial='a.json', classes=NAMES)),
     'consistency has the classes of cls_head: remove classes'),
    (dict(text_encoder=dict(arch=TEXT, act='gelu', weight='openai')),
     "CLIPTextEncoder has no option 'weight': use act, arch, frozen, .*weig"),
    (dict(text_encoder=dict(arch=TEXT)), "CLIPTextEncoder needs the option "
     "'act': add it to text_encoder"),
    (dict(consistency=dict()), 'give spatial, temporal or both'),
    (dict(consistency=dict(spatial='a.json', weight=-1.)),
     'weight=-1.0 of consistency is negative'),
    (dict(text_encoder=dict(arch=TEXT, act='quick_gelu'),
          consistency=dict(spatial='a.json')),
     'set frozen=True in text_encoder'),
    (dict(text_encoder=dict(type='BertModel', arch=TEXT, act='gelu')),
     'remove type from text_encoder'),
    (dict(cls_head=_head(classes=['very ' * 20 + 'long', 'b'])),
     'tokens and the text tower reads 16'),
])
def test_parts_that_do_not_fit(changes, message):
    with pytest.raises(ValueError, match=message):
        MODELS.build(ConfigDict(_config(**changes)))


def test_a_head_that_waits_for_features_in_another_recognizer():
    config = _config(type='Recognizer3D')
    del config['text_encoder'], config['adapter']
    model = MODELS.build(ConfigDict(config)).eval()
    with pytest.raises(ValueError, match='use it in a VideoTextRecognizer'):
        model(_clips(), _samples(), mode='predict')


def test_a_model_of_meta_tensors_is_counted_without_its_texts():
    with torch.device('meta'):
        model = _build(adapter=dict(MSTA, bottleneck_dims=8))
    cost = count_complexity(model, (1, 1, 3, 2, 32, 32))
    built = _build(adapter=dict(MSTA, bottleneck_dims=8))
    assert cost.total.params == sum(p.numel() for p in built.parameters())
    assert cost.total.trained_params == sum(
        p.numel() for p in built.adapter.parameters())
    # The names are read once, not for each video.
    assert cost.parts['text_encoder'].macs == 0
    assert cost.parts['MSTAText'].macs == 0
    assert cost.parts['MSTAVideo'].macs > 0
