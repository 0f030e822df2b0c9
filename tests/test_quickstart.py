"""The quickstart: its videos, its small CLIP, and what it checks."""

import importlib.util
import json
import re
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmaction.datasets.transforms import UniformSample
from mmaction.registry import DATASETS, MODELS
from mmaction.structures import ActionDataSample
from mmengine.config import Config
from mmengine.fileio import load
from mmengine.registry import init_default_scope
from mmengine.runner import Runner

from mmvidadapt.datasets import VideoReader
from mmvidadapt.datasets.descriptions import (
    class_descriptions,
    read_descriptions,
)
from mmvidadapt.models.clip import CLIPTextEncoder, CLIPVisionEncoder
from mmvidadapt.quickstart import figures, pretrain, scenes, synthetic
from mmvidadapt.quickstart.methods import DEFAULT, METHODS, Row
from mmvidadapt.quickstart.results import (
    Accuracy,
    Cost,
    Targets,
    comparison,
    format_table,
    measure,
    missed_targets,
)
from mmvidadapt.quickstart.sentences import describe, write_descriptions
from mmvidadapt.quickstart.studies import OrderStudy, TransferStudy
from mmvidadapt.quickstart.transfer import (
    Scored,
    Transfer,
    TransferTargets,
    measure_transfer,
    missed_transfer,
    transfer_table,
)
from tests.scripts import plain_tool
from tests.scripts import tool as run_tool

ROOT = Path(__file__).resolve().parents[1]
SMALL = synthetic.VideoSettings(train=2, val=1, test=1)
REVERSE = synthetic.reverse_labels()
CLASSES = synthetic.CLASSES
NAMES = [c.text for c in CLASSES]
MOVERS = synthetic.SEEN + synthetic.UNSEEN
CONFIGS = [config for method in METHODS.values()
           for config in method.models.values()]
INTI = METHODS['inti']
MOTE, MSTA, MIXED = METHODS['mote'], METHODS['msta'], METHODS['mixed']
ORDER = [name for name, method in METHODS.items()
         if isinstance(method.study, OrderStudy)]


@pytest.fixture(scope='module')
def tool():
    """``tools/quickstart.py`` as a module."""
    spec = importlib.util.spec_from_file_location(
        'quickstart_tool', ROOT / 'tools' / 'quickstart.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope='module')
def data(tmp_path_factory) -> Path:
    """A small data set on disk."""
    root = tmp_path_factory.mktemp('with space') / 'data'
    counted = sum(synthetic.write_dataset(root, SMALL))
    assert counted == SMALL.num_clips == len(list(root.rglob('*.mp4')))
    return root


# -- the videos ------------------------------------------------------------


def test_at_least_half_of_the_classes_are_reversed_pairs() -> None:
    moving = [k for k, other in enumerate(REVERSE) if k != other]
    assert 2 * len(moving) >= len(synthetic.CLASSES)
    assert all(REVERSE[REVERSE[k]] == k for k in range(len(REVERSE)))
    assert sorted(k for pair in synthetic.motion_pairs()
                  for k in pair) == moving


@pytest.mark.parametrize('classes', [CLASSES, MOVERS])
def test_a_class_played_backwards_is_its_reverse(classes) -> None:
    for first, second in synthetic.motion_pairs(classes):
        _check_reverse(classes[first], classes[second])


def _check_reverse(first, second) -> None:
    key = (0, 1, 2, 3)
    forwards = synthetic.render_clip(first, key, 17, 64)
    backwards = synthetic.render_clip(second, key, 17, 64)
    # The same draw: the same frames, in the opposite order.
    np.testing.assert_array_equal(forwards[::-1], backwards)
    # And the order is no accident of equal frames.
    assert np.abs(forwards[0].astype(int) - forwards[-1]).max() > 50


@pytest.mark.parametrize('axis, grows', [
    ('sideways', (1, 0, 0)), ('upwards', (0, -1, 0)), ('size', (0, 0, 1))])
@pytest.mark.parametrize('shape', scenes.SHAPES)
def test_a_mover_moves_along_its_axis_and_no_other(
        shape, axis, grows, monkeypatch) -> None:
    drawn = []
    monkeypatch.setattr(
        scenes, '_outlined', lambda canvas, points, x, y, radius, colour:
        drawn.append((x, y, radius)))
    draw = scenes.SCENES[f'{shape}-{axis}'](np.random.default_rng(3))
    canvas = np.zeros((128, 128, 3), np.uint8)
    for moment in (0., .5, 1.):
        draw(canvas, moment)
    steps = np.diff(drawn, axis=0)  # (2, 3): right, down, bigger
    assert (np.sign(steps) == grows).all()
    # By a fifth of the frame and more, or a tenth in size.
    least = 12 if axis == 'size' else 25
    assert np.abs(steps.sum(axis=0)).max() > least


def test_every_frame_has_its_own_background_position() -> None:
    clip = synthetic.render_clip(CLASSES[4], (0, 0), 6, 64).astype(int)
    corner = clip[:, :8, :8]
    assert all((corner[t] != corner[t + 1]).any() for t in range(5))


def test_clips_depend_on_nothing_but_their_key() -> None:
    first = synthetic.render_clip(CLASSES[0], (0, 0, 0, 5), 4, 64)
    synthetic.render_clip(CLASSES[3], (1, ), 4, 64)
    np.testing.assert_array_equal(
        first, synthetic.render_clip(CLASSES[0], (0, 0, 0, 5), 4, 64))
    other = synthetic.render_clip(CLASSES[0], (0, 0, 0, 6), 4, 64)
    assert (first != other).any()


def test_test_sampling_takes_the_same_frames_backwards() -> None:
    total = synthetic.VideoSettings().num_frames
    sample = UniformSample(clip_len=8, test_mode=True)
    taken = sample(dict(total_frames=total, start_index=0))['frame_inds']
    assert sorted(total - 1 - taken) == list(taken)


def test_files_decode_to_what_was_drawn(data) -> None:
    for line in (data / 'test.txt').read_text().splitlines():
        name, label = line.split()
        frames = np.stack(list(VideoReader(data / name)))
        index = int(name[-7:-4])
        drawn = synthetic.render_clip(
            CLASSES[int(label)], (0, 2, int(label), index), 17, 64)
        assert frames.shape == drawn.shape
        assert np.abs(frames.astype(int) - drawn).mean() < 6


def test_reversed_files_are_the_test_files_backwards(data) -> None:
    lines = (data / 'test_reversed.txt').read_text().splitlines()
    assert len(lines) == sum(k != other for k, other in enumerate(REVERSE))
    for line in lines:
        name, label = line.split()
        clip = name.replace('test_reversed/', 'test/')
        assert f'{clip} {REVERSE[int(label)]}' in (
            data / 'test.txt').read_text().splitlines()
        back = np.stack(list(VideoReader(data / name)))
        frames = np.stack(list(VideoReader(data / clip)))
        assert np.abs(back[::-1].astype(int) - frames).mean() < 6


@pytest.mark.parametrize('name, frames', [('inti', 8), ('tds_clip', 40)])
def test_lists_are_read_by_the_stock_video_dataset(
        data, monkeypatch, name, frames) -> None:
    monkeypatch.setenv('MMVIDADAPT_QUICKSTART', str(data.parent))
    init_default_scope('mmaction')
    cfg = Config.fromfile(ROOT / f'configs/quickstart/{name}.py')
    assert cfg.train_dataloader.dataset.type == 'VideoDataset'
    assert not any('Flip' in step.type for step in cfg.train_pipeline)
    for loader in (cfg.train_dataloader, cfg.val_dataloader,
                   cfg.test_dataloader):
        dataset = DATASETS.build(loader.dataset)
        assert {dataset.get_data_info(i)['label']
                for i in range(len(dataset))} == set(range(12))
        assert dataset[0]['inputs'].shape == (1, 3, frames, 48, 48)


def test_label_file_names_every_class_once(data) -> None:
    lines = (data / 'labels.txt').read_text().splitlines()
    assert lines == NAMES and len(set(lines)) == 12
    facts = json.loads((data / 'classes.json').read_text())
    assert facts['reverse'] == REVERSE and facts['classes'] == NAMES


def test_a_stopped_data_set_is_not_complete(tmp_path) -> None:
    writing = synthetic.write_dataset(tmp_path / 'data', SMALL)
    next(writing)
    assert not synthetic.is_complete(tmp_path / 'data', SMALL)
    assert sum(synthetic.write_dataset(tmp_path / 'data',
                                       SMALL)) == SMALL.num_clips
    assert synthetic.is_complete(tmp_path / 'data', SMALL)
    assert not synthetic.is_complete(tmp_path / 'data',
                                     replace(SMALL, seed=1))


def test_a_folder_of_something_else_is_not_replaced(tmp_path) -> None:
    (tmp_path / 'thesis.txt').write_text('three years of work')
    with pytest.raises(FileExistsError, match='is not empty.*--work-dir'):
        next(synthetic.write_dataset(tmp_path, SMALL))
    assert (tmp_path / 'thesis.txt').exists()


def test_widths_that_mp4_cannot_hold_are_refused() -> None:
    with pytest.raises(ValueError, match='71 pixels.*even number'):
        synthetic.VideoSettings(size=71)


def test_an_opencv_without_encoder_is_named(tmp_path, monkeypatch) -> None:
    class NoWriter:
        fourcc = staticmethod(lambda *code: 0)

        def __init__(self, *args) -> None:
            pass

        def isOpened(self) -> bool:
            return False

    monkeypatch.setattr(cv2, 'VideoWriter', NoWriter)
    with pytest.raises(ValueError, match='cannot encode a.mp4.*headless'):
        synthetic.write_video(tmp_path / 'a.mp4',
                              np.zeros((2, 32, 32, 3), np.uint8), 8)
    assert not list(tmp_path.iterdir())


def test_every_shape_and_motion_of_an_unseen_class_is_seen() -> None:
    seen, unseen = synthetic.SEEN, synthetic.UNSEEN
    assert (len(seen), len(unseen)) == (16, 8)
    words = [[(c.text.split()[2], ' '.join(c.text.split()[3:]))
              for c in classes] for classes in (seen, unseen)]
    assert not set(words[0]) & set(words[1])
    for place in (0, 1):
        assert {pair[place] for pair in words[1]} <= {
            pair[place] for pair in words[0]}
    assert {c.text for c in unseen} == {
        'a red star becoming big', 'a red star becoming small',
        'a green cross rising', 'a green cross falling',
        'a blue triangle moving right', 'a blue triangle moving left',
        'a yellow ring moving right', 'a yellow ring moving left'}
    # The direction is never told by the shape.
    for classes in (seen, unseen):
        assert all(label != other for label, other in enumerate(
            synthetic.reverse_labels(classes)))


def test_a_test_alone_has_no_list_of_training(tmp_path) -> None:
    settings = replace(TransferStudy().videos(3, short=True)['unseen'],
                       test=1)
    assert (settings.seed, settings.num_clips) == (3, 8)
    assert sum(synthetic.write_dataset(tmp_path, settings)) == 8
    assert {path.name for path in tmp_path.iterdir()} == {
        'classes.json', 'key.txt', 'labels.txt', 'test', 'test.txt'}
    assert (tmp_path / 'labels.txt').read_text().splitlines() == [
        c.text for c in synthetic.UNSEEN]


def test_only_temporal_sentences_tell_a_class_from_its_reverse() -> None:
    for first, second in synthetic.motion_pairs(MOVERS):
        one, other = describe(MOVERS[first]), describe(MOVERS[second])
        assert one.spatial == other.spatial
        assert not set(one.temporal) & set(other.temporal)
    assert describe(synthetic.UNSEEN[0]) == (
        ['a picture of a red star.', 'a red star that is small, a red star '
         'of middle size or a red star that is big.'],
        ['first a red star that is small, then a red star of middle size, at '
         'last a red star that is big.',
         'a red star becoming big: it begins with a red star that is small '
         'and ends with a red star that is big.'])


def test_sentences_are_files_of_descriptions(tmp_path, caplog) -> None:
    write_descriptions(synthetic.SEEN, tmp_path)
    assert len(list(tmp_path.iterdir())) == 2
    names = [c.text for c in synthetic.SEEN]
    for kind in ('spatial', 'temporal'):
        file = tmp_path / f'{kind}.json'
        assert class_descriptions(file, names) == [
            getattr(describe(c), kind) for c in synthetic.SEEN]
        found = read_descriptions(file)
        assert (found.number, found.numbered) == (2, False)
        assert found.oddities(names) == []


# -- the small CLIP --------------------------------------------------------

TINY = pretrain.PretrainSettings(pictures=48, steps=3, batch_size=16)


def test_captions_say_where_but_not_which_way() -> None:
    _, captions = pretrain.draw_pictures(64, 0)
    assert len(set(captions)) > 20
    for word in ('rolling', 'growing', 'shrinking', 'turning', 'drifting',
                 'moving', 'rising', 'falling', 'becoming'):
        assert not any(word in caption for caption in captions)


def test_loss_is_a_plain_loop_over_captions() -> None:
    images, texts = torch.randn(5, 8), torch.randn(3, 8)
    owner = torch.tensor([0, 1, 1, 2, 0])
    loss = pretrain.contrastive_loss(images, texts, owner,
                                     torch.tensor(10.))
    cosine = torch.nn.functional.cosine_similarity(
        images[:, None], texts[None], dim=-1) * 10
    to_text = [-cosine[i].log_softmax(0)[owner[i]] for i in range(5)]
    to_image = [
        -torch.stack([cosine[:, c].log_softmax(0)[i]
                      for i in range(5) if owner[i] == c]).mean()
        for c in range(3)
    ]
    expected = (sum(to_text) / 5 + sum(to_image) / 3) / 2
    torch.testing.assert_close(loss, expected)


def test_pretraining_is_repeatable_and_learns() -> None:
    losses = []
    first = pretrain.pretrain(replace(TINY, steps=12),
                              lambda report: losses.append(report.loss))
    torch.manual_seed(123)
    second = pretrain.pretrain(replace(TINY, steps=12), lambda report: None)
    assert np.mean(losses[-3:]) < np.mean(losses[:3])
    for name, value in first.state_dict().items():
        assert torch.equal(value, second.state_dict()[name]), name


def test_weights_file_loads_strictly_into_both_towers(tmp_path) -> None:
    path = tmp_path / 'clip' / 'small.pt'
    model = pretrain.pretrain(TINY, lambda report: None)
    pretrain.save_weights(model, path)
    assert [p.name for p in path.parent.iterdir()] == ['small.pt']
    visual = CLIPVisionEncoder(pretrain.VISION, pretrain.ACT,
                               weights=str(path), project=True)
    text = CLIPTextEncoder(pretrain.TEXT, pretrain.ACT, weights=str(path))
    for encoder, own in ((visual, model.visual), (text, model.text)):
        encoder.init_weights()
        for name, value in own.state_dict().items():
            assert torch.equal(encoder.state_dict()[name], value), name
    with pytest.raises(ValueError, match='quick_gelu'):
        CLIPVisionEncoder(pretrain.VISION, 'gelu',
                          weights=str(path)).init_weights()


def test_the_cache_key_follows_settings_and_code(
        monkeypatch, tmp_path) -> None:
    key = pretrain.pretrain_key(TINY)
    assert key == pretrain.pretrain_key(replace(TINY))
    assert key != pretrain.pretrain_key(replace(TINY, steps=4))
    assert key != pretrain.pretrain_key(replace(TINY, seed=1))
    source = tmp_path / 'synthetic.py'
    source.write_text(Path(synthetic.__file__).read_text() + '# other\n')
    monkeypatch.setattr(synthetic, '__file__', str(source))
    assert key != pretrain.pretrain_key(TINY)


def test_pretrained_weights_are_kept_until_a_setting_changes(
        tool, tmp_path, monkeypatch) -> None:
    runs = []
    train = pretrain.pretrain
    monkeypatch.setattr(
        pretrain, 'pretrain',
        lambda *args: runs.append(args) or train(*args))
    path = tmp_path / 'small.pt'
    assert not tool.make_clip(path, TINY)['cached']
    assert tool.make_clip(path, TINY)['cached'] and len(runs) == 1
    assert not tool.make_clip(path, replace(TINY, steps=2))['cached']
    path.unlink()
    assert not tool.make_clip(path, replace(TINY, steps=2))['cached']
    assert len(runs) == 3


@pytest.mark.parametrize('name', CONFIGS)
def test_configs_have_the_image_tower_that_is_pretrained(name) -> None:
    cfg = Config.fromfile(ROOT / f'configs/quickstart/{name}.py')
    encoder = cfg.model.backbone.encoder
    assert encoder.arch.to_dict() == pretrain.VISION
    assert encoder.act == pretrain.ACT
    assert set(cfg.model.data_preprocessor.mean) == {pretrain.MEAN}
    assert set(cfg.model.data_preprocessor.std) == {pretrain.STD}
    head = cfg.model.cls_head
    if head.type == 'LinearHead':
        assert head.num_classes == len(CLASSES)
        return
    text = cfg.model.get('text_encoder') or head.text
    assert text.arch.to_dict() == pretrain.TEXT
    assert text.act == pretrain.ACT
    assert text.weights == encoder.weights
    assert tuple(head.templates) == pretrain.TEMPLATES


def test_both_models_differ_in_nothing_but_inti() -> None:
    inti, naive = (
        Config.fromfile(ROOT / f'configs/quickstart/{name}.py').to_dict()
        for name in ('inti', 'naive'))
    assert inti['model']['backbone'].pop('adapters')
    assert naive['model']['backbone'].pop('adapters') == []
    assert inti == naive


def test_each_tds_clip_model_adds_one_adapter_and_nothing_else() -> None:
    baseline, td, full = (
        Config.fromfile(ROOT / f'configs/quickstart/{name}.py').to_dict()
        for name in METHODS['tds_clip'].models.values())
    switches = [(cfg['model']['backbone'].pop('td_layers'),
                 cfg['model']['backbone'].pop('window'))
                for cfg in (baseline, td, full)]
    assert switches == [([], 1), ('all', 1), ('all', 5)]
    assert baseline == td
    assert full.pop('window') == 5
    for split in ('train', 'val', 'test'):
        windowed = full[f'{split}_dataloader']['dataset'].pop('pipeline')
        plain = td[f'{split}_dataloader']['dataset'].pop('pipeline')
        local = windowed[1]
        assert (local['type'], local['window']) == ('LocalWindow', 5)
        assert [windowed[0], local['sampler'], *windowed[2:]] == plain
    for cfg in (td, full):
        cfg.pop('train_pipeline'), cfg.pop('test_pipeline')
    assert full == td


def test_each_mote_model_adds_one_thing() -> None:
    mean, plain, mote = (
        Config.fromfile(ROOT / f'configs/quickstart/{name}.py').to_dict()
        for name in MOTE.models.values())
    neck, experts = plain['model'].pop('neck'), mote['model'].pop('neck')
    assert (neck.pop('num_experts'), experts.pop('num_experts')) == (0, 4)
    assert neck == experts
    assert mote.pop('custom_hooks')[:-1] == plain.pop('custom_hooks')
    mean.pop('custom_hooks')
    # There is nothing to modulate without temporal features.
    modulated = [cfg['model']['cls_head'].pop('modulate', True)
                 for cfg in (mean, plain, mote)]
    assert modulated == [True, False, True]
    assert mean == plain == mote


def test_each_msta_model_adds_one_thing() -> None:
    full, plain, msta = (
        Config.fromfile(ROOT / f'configs/quickstart/{name}.py').to_dict()
        for name in MSTA.models.values())
    consistency = msta['model'].pop('consistency')
    assert [Path(consistency[kind]).parts[-2:]
            for kind in ('spatial', 'temporal')] == [
        ('descriptions', 'spatial.json'), ('descriptions', 'temporal.json')]
    msta.pop('sentences')
    assert msta == plain
    assert plain['model'].pop('adapter')['type'] == 'MSTA'
    for model, frozen in ((plain['model'], True), (full['model'], False)):
        for tower in (model['backbone']['encoder'], model['text_encoder']):
            assert tower.pop('frozen', False) == frozen
    assert plain['model'] == full['model']
    # Beyond the model, what learns is all that differs.
    for cfg in (plain, full):
        cfg.pop('optim_wrapper')
    assert plain == full


def _parts(cfg: Config) -> dict:
    """What a model is made of, without sizes."""
    model = cfg.model
    encoder = model.backbone.encoder
    return dict(
        recognizer=model.type, backbone=model.backbone.type,
        encoder=encoder.get('type', 'CLIPVisionEncoder'),
        frozen=[tower.get('frozen', False) for tower in (
            encoder, model.get('text_encoder', {}))],
        added=model.backbone.get('add_to_clip', False),
        adapters=[(adapter.type, len(adapter.layers))
                  for adapter in model.backbone.get('adapters', [])],
        adapter=model.get('adapter', {}).get('type'),
        descriptions=[*model.get('consistency', {})],
        neck=model.get('neck', {}).get('type'),
        experts=model.get('neck', {}).get('num_experts'),
        head=model.cls_head.type,
        modulated=model.cls_head.get('modulate', True),
        pipeline=[step.type for step in cfg.train_pipeline[:2]],
        hooks=[hook.type for hook in cfg.custom_hooks])


def test_mixed_models_are_the_mixed_configs_made_small() -> None:
    names = [path.stem for path in (ROOT / 'configs/mixed').glob('*_k400_*')]
    assert {f'vitb_k400_{name.replace("_", "-")}'
            for name in MIXED.models.values()} == set(names)
    for name in MIXED.models.values():
        small, large = (
            _parts(Config.fromfile(ROOT / f'configs/{path}.py'))
            for path in (f'quickstart/{name}',
                         f'mixed/vitb_k400_{name.replace("_", "-")}'))
        sampling = large.pop('pipeline')[1:]
        assert (small.pop('pipeline')[1:] == ['LocalWindow']) == (
            sampling == ['LocalWindow'])
        assert small == large


# -- what is measured ------------------------------------------------------


def _perfect() -> tuple:
    labels = np.arange(12).repeat(3)
    moves = np.asarray(REVERSE)[labels] != labels
    back = np.asarray(REVERSE)[labels[moves]]
    return np.eye(12)[labels], labels, np.eye(12)[back]


def test_a_perfect_model_is_measured_as_perfect() -> None:
    found = measure(*_perfect(), REVERSE, NAMES)
    assert found == Accuracy(1., 1., 1., {
        f'{NAMES[a]} / {NAMES[b]}': 1. for a, b in synthetic.motion_pairs()
    }, 24, 24)


def test_an_order_blind_model_is_right_every_other_time() -> None:
    scores, labels, _ = _perfect()
    moves = np.asarray(REVERSE)[labels] != labels
    # Knows the pair, prefers the first of it, never sees the direction.
    scores[labels % 2 == 1] = np.eye(12)[labels[labels % 2 == 1] - 1] + .5
    scores[~moves] = np.eye(12)[labels[~moves]]
    found = measure(scores, labels, scores[moves], REVERSE, NAMES)
    assert found.flipped == 0 and found.appearance == 1
    assert found.motion == .5 and set(found.within_pairs.values()) == {.5}


def test_a_missing_backwards_clip_is_an_error() -> None:
    scores, labels, back = _perfect()
    with pytest.raises(ValueError, match='24 motion clips but 23.*--fresh'):
        measure(scores, labels, back[1:], REVERSE, NAMES)


GOOD = Accuracy(.97, .95, 1., {'left / right': .95}, 190, 200)
BLIND = Accuracy(.66, .5, .98, {'left / right': .51}, 3, 200)


STRICT = Targets(motion=.9, appearance=.9, flips=.9)
ORDER_BLIND = Targets(appearance=.95, off_half=.15)


def test_good_results_miss_no_target() -> None:
    assert missed_targets('InTI', GOOD, STRICT) == []
    assert missed_targets('naive', BLIND, ORDER_BLIND) == []
    assert missed_targets('any', replace(BLIND, motion=0., appearance=0.),
                          Targets()) == []


@pytest.mark.parametrize('found, targets, sentence', [
    (replace(GOOD, motion=.89), STRICT, 'InTI on motion classes is 89.0 %'),
    (replace(GOOD, appearance=.8), STRICT, 'InTI on appearance classes'),
    (replace(GOOD, flipped=100), STRICT,
     'the share of motion clips whose label InTI reverses.*50.0 %'),
    (replace(BLIND, appearance=.94), ORDER_BLIND,
     'InTI on appearance classes is 94.0 %, less than 95 %'),
    (replace(BLIND, within_pairs={'up / down': .7}), ORDER_BLIND,
     'InTI tells "up / down" apart in 70.0 %.*more than 15 points'),
    (replace(BLIND, within_pairs={'up / down': .3}), ORDER_BLIND, '30.0 %'),
])
def test_each_target_is_missed_by_its_own_sentence(
        found, targets, sentence) -> None:
    missed = missed_targets('InTI', found, targets)
    assert len(missed) == 1
    assert re.search(sentence, missed[0])


@pytest.mark.parametrize('name', ORDER)
def test_no_budget_takes_an_order_blind_model_for_a_good_one(name) -> None:
    method = METHODS[name]
    for training in (method.full, method.short):
        targets = training.targets[method.main]
        assert missed_targets(method.main, GOOD, targets) == []
        assert missed_targets(method.main, BLIND, targets)
        assert set(training.targets) <= set(method.rows)


def test_naive_averaging_may_not_see_the_order() -> None:
    for training in (INTI.full, INTI.short):
        assert missed_targets('naive', GOOD, training.targets['naive'])


def test_tables_align_numbers_to_the_right() -> None:
    assert format_table([['', 'top-1'], ['InTI', '9.5']]).splitlines() == [
        '      top-1', '-----------', 'InTI    9.5']


def test_the_comparison_shows_every_number() -> None:
    text = comparison([('InTI', GOOD, Cost(12.3e6, .05, 1000)),
                       ('naive', BLIND, Cost(24e6, .1, 10))])
    inti = text.splitlines()[2].split()
    assert inti == ['InTI', '97.0', '95.0', '100.0', '95-95', '190/200',
                    '12.3', '0.050']


TWO = ('a star rising', 'a star falling')


def _scored(right: int, of: int = 4) -> Scored:
    """Clips of two classes, of which the first some are right."""
    labels = np.arange(of) % 2
    found = np.where(np.arange(of) < right, labels, 1 - labels)
    return Scored(np.eye(2)[found], labels, TWO)


def test_seen_and_unseen_classes_are_measured_apart() -> None:
    found = measure_transfer(_scored(3), _scored(1))
    assert (found.seen, found.unseen) == (.75, .25)
    assert found.harmonic_mean == pytest.approx(.375)
    assert found.by_class == {'seen': dict(zip(TWO, (1., .5), strict=True)),
                              'unseen': dict(zip(TWO, (.5, 0.),
                                                 strict=True))}


FOUND = Transfer(.8, .7, .7466, {})


@pytest.mark.parametrize('targets, sentence', [
    (TransferTargets(seen=.81), 'seen classes is 80.0 %, less than 81 %'),
    (TransferTargets(unseen=.71), 'unseen classes is 70.0 %, less than 71 %'),
    (TransferTargets(most_seen=.6), 'seen classes is 80.0 %, more than.*60'),
    (TransferTargets(most_unseen=.6), 'unseen .* 70.0 %, more than.*60 %'),
])
def test_each_target_of_unseen_classes_has_its_sentence(
        targets, sentence) -> None:
    missed = missed_transfer('MoTE', FOUND, targets)
    assert len(missed) == 1 and re.search(f'^MoTE on {sentence}', missed[0])
    assert missed_transfer('MoTE', FOUND, TransferTargets()) == []


def test_the_table_of_unseen_classes_shows_costs_of_what_was_trained(
) -> None:
    rows = [('merged', FOUND, Cost(2e6, .25, 12345)),
            ('expert', FOUND, None),
            ('frozen', FOUND, Cost(2e6, None, 0))]
    head, _, *lines = map(str.split, transfer_table(rows).splitlines())
    assert head == ['seen', 'unseen', 'HM', 'MMACs/clip', 's/step']
    accuracy = ['80.0', '70.0', '74.7']
    assert lines == [['merged', *accuracy, '2.0', '0.250'],
                     ['expert', *accuracy], ['frozen', *accuracy, '2.0']]
    head, _, *lines = map(str.split, transfer_table(
        rows, ('base', 'novel'), trained=True).splitlines())
    assert head == ['base', 'novel', 'HM', 'trained', 'MMACs/clip', 's/step']
    assert lines == [['merged', *accuracy, '12,345', '2.0', '0.250'],
                     ['expert', *accuracy],
                     ['frozen', *accuracy, '0', '2.0']]


def test_a_row_costs_what_was_done_for_it(tool) -> None:
    costs = {'a': Cost(2e6, .25, 12345)}
    assert tool.row_cost(Row('a'), costs) == costs['a']
    assert tool.row_cost(Row('a', {'model.x': 1}), costs) is None
    assert tool.row_cost(Row('a', trained=False), costs) == (2e6, None, 0)


def test_base_and_novel_are_the_seen_and_the_unseen_classes() -> None:
    study = MSTA.study
    scores = {'base': np.eye(16), 'novel': np.eye(8)[::-1]}
    found = study.measure(scores, {'base': np.arange(16),
                                   'novel': np.arange(8)})
    assert (found.seen, found.unseen) == (1., 0.)
    assert {group: list(classes) for group, classes in
            found.by_class.items()} == {
        'base': [c.text for c in synthetic.SEEN],
        'novel': [c.text for c in synthetic.UNSEEN]}
    assert study.missed('MSTA', found, TransferTargets(unseen=.1))[
        0].startswith('MSTA on novel classes is 0.0 %')
    assert study.table([('MSTA', found, None)]).split()[:4] == [
        'base', 'novel', 'HM', 'trained']


# -- the script ------------------------------------------------------------


def test_help_ends_with_a_command_to_paste(tool, capsys) -> None:
    with pytest.raises(SystemExit) as stop:
        tool.parse_args(['--help'])
    assert stop.value.code == 0
    last = capsys.readouterr().out.rstrip().splitlines()[-1]
    assert last.strip().startswith('python tools/quickstart.py')


def test_the_system_check_sees_a_decoder_that_reads_something_else(
        tool, tmp_path, monkeypatch) -> None:
    assert 'writes mp4' in tool.check_system(tmp_path)
    write = synthetic.write_video
    monkeypatch.setattr(synthetic, 'write_video',
                        lambda path, frames, fps: write(path, 255 - frames,
                                                        fps))
    with pytest.raises(ValueError, match='other frames.*pinned.txt'):
        tool.check_system(tmp_path)


def test_a_failing_script_is_one_sentence_with_its_log(
        tool, tmp_path) -> None:
    script = tmp_path / 'broken.py'
    script.write_text('print("on its way")\nraise SystemExit("no disk")\n')
    seen = []
    with pytest.raises(ValueError, match=r'broken.py stopped with status 1 '
                       r'\(no disk\): see .*log.txt'):
        tool.run_script([str(script)], tmp_path / 'log.txt', tmp_path,
                        seen.append)
    assert seen == ['on its way\n', 'no disk\n']
    assert (tmp_path / 'log.txt').read_text() == ''.join(seen)


def test_progress_is_read_from_the_log_of_mmengine(tool) -> None:
    line = ('11/21 01:00:00 - mmengine - INFO - Epoch(train)  [3][ 8/48]  '
            'lr: 1.0e-03  eta: 0:01:00  time: 0.1  loss: 0.4321')
    assert tool._STEP.search(line).groups() == ('3', '8', '48', '0.4321')


def test_fresh_removes_only_what_the_quickstart_made(tool, tmp_path) -> None:
    names = ['data', 'seen', 'unseen', 'clip', 'texts', 'descriptions',
             'mine', *CONFIGS]
    for name in names:
        (tmp_path / name).mkdir()
    tool.prepare_folder(tmp_path, fresh=False)
    assert {p.name for p in tmp_path.iterdir()} == set(names)
    tool.prepare_folder(tmp_path, fresh=True)
    assert [p.name for p in tmp_path.iterdir()] == ['mine']


@pytest.mark.parametrize('name', METHODS)
def test_shortened_training_keeps_the_shape_of_the_schedule(
        tool, name) -> None:
    model = METHODS[name].models[METHODS[name].main]
    cfg = Config.fromfile(ROOT / f'configs/quickstart/{model}.py')
    epochs = cfg.train_cfg.max_epochs
    assert METHODS[name].full.epochs == epochs
    for option in tool.train_options(epochs, 0)[3:]:
        key, value = option.split('=')
        found = cfg
        for part in key.split('.'):
            found = found[int(part) if part.isdigit() else part]
        assert found == int(value), option


@pytest.mark.parametrize('method', METHODS.values(), ids=list(METHODS))
def test_the_short_version_makes_less_of_everything(tool, method) -> None:
    full, short = tool.full_budget(method, 3), tool.ci_budget(method, 3)
    assert short.training.epochs < full.training.epochs
    assert short.pretrain.steps < full.pretrain.steps
    assert full.videos.keys() == short.videos.keys()
    for folder, videos in full.videos.items():
        assert short.videos[folder].num_clips < videos.num_clips
        assert {videos.seed, short.videos[folder].seed} == {3}
    assert {full.pretrain.seed, short.pretrain.seed} == {3}


def test_methods_share_data_and_clip_and_nothing_else(tool) -> None:
    budgets = [tool.full_budget(method, 0) for method in METHODS.values()]
    assert len({budget.pretrain for budget in budgets}) == 1
    folders: dict = {}
    for budget in budgets:
        for folder, videos in budget.videos.items():
            assert folders.setdefault(folder, videos) == videos
    assert list(folders) == ['data', 'seen', 'unseen']
    assert len(set(CONFIGS)) == len(CONFIGS)
    files = [name for method in METHODS.values()
             for name in (method.picture, f'{method.prefix}curves.png',
                          f'{method.prefix}summary.json')]
    assert len(set(files)) == len(files)


def test_without_a_method_it_is_inti(tool, capsys) -> None:
    assert DEFAULT == tool.parse_args([]).method == 'inti'
    assert list(INTI.models.items()) == [('InTI', 'inti'),
                                         ('naive', 'naive')]
    assert INTI.prefix == ''
    with pytest.raises(SystemExit):
        tool.parse_args(['--method', 'magic'])
    assert ', '.join(map(repr, METHODS)) in capsys.readouterr().err


def test_steps_of_all_models_are_timed(tool, side_model) -> None:
    models = ['naive', 'tds_clip']  # of 8 and of 40 frames
    seconds = tool.time_steps(models, repeats=1)
    assert list(seconds) == models
    assert all(0 < taken < 60 for taken in seconds.values())


# -- the figures -----------------------------------------------------------


@pytest.fixture(scope='module')
def side_model(tool, data) -> tuple:
    """An untrained TDS-CLIP model: work folder, checkpoint and weights."""
    work = data.parent
    clip = work / 'clip' / 'small_clip.pt'
    pretrain.save_weights(pretrain.SmallCLIP(), clip)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv('MMVIDADAPT_QUICKSTART', str(work))
        init_default_scope('mmaction')
        cfg = Config.fromfile(ROOT / 'configs/quickstart/tds_clip.py')
        model = MODELS.build(cfg.model)
        model.init_weights()
        checkpoint = work / 'untrained.pth'
        torch.save(dict(state_dict=model.state_dict()), checkpoint)
        yield work, checkpoint, model


def test_a_model_looks_at_a_video_as_its_tests_do(tool, side_model) -> None:
    work, checkpoint, model = side_model
    name = (work / 'data' / 'test.txt').read_text().split()[0]
    look = tool.look_at('tds_clip', checkpoint, work / 'data' / name)
    frames = np.stack(list(VideoReader(work / 'data' / name)))
    # The sampled frames are the middles of their windows: 1, 3, ..., 15.
    assert look.frames.shape == (8, 48, 48, 3)
    for shown, whole in zip(look.frames, frames[1:16:2], strict=True):
        resized = cv2.resize(whole, (52, 52))[2:50, 2:50]
        assert np.abs(shown.astype(int) - resized).mean() < 1
    assert look.clip.shape == (1, 3, 40, 48, 48)
    middles = look.clip[0, :, 2::5].permute(1, 2, 3, 0).numpy()
    np.testing.assert_allclose(
        middles, (look.frames - pretrain.MEAN) / pretrain.STD, atol=1e-5)
    assert not look.backbone.training
    assert torch.equal(look.backbone.position_embedding,
                       model.backbone.position_embedding)


def test_a_changed_bit_of_the_frozen_clip_is_found(
        tool, side_model, tmp_path) -> None:
    work, checkpoint, model = side_model
    name = (work / 'data' / 'test.txt').read_text().split()[0]

    def changed(checkpoint: Path) -> list:
        look = tool.look_at('tds_clip', checkpoint, work / 'data' / name)
        return tool.changed_weights('tds_clip', look.recognizer)

    assert changed(checkpoint) == []
    bias = model.backbone.encoder.ln_pre.bias
    kept = bias.data.clone()
    bias.data[3] += 1e-7
    torch.save(dict(state_dict=model.state_dict()), tmp_path / 'moved.pth')
    bias.data = kept
    assert changed(tmp_path / 'moved.pth') == [
        'backbone.encoder.ln_pre.bias']


def test_activations_of_models_with_and_without_sme_are_drawn(
        tool, side_model, tmp_path, monkeypatch) -> None:
    work, checkpoint, _ = side_model
    name = (work / 'data' / 'test.txt').read_text().split()[0]
    look = tool.look_at('tds_clip', checkpoint, work / 'data' / name)
    rows = {}
    draw = figures.draw_activations
    monkeypatch.setattr(
        figures, 'draw_activations',
        lambda frames, norms, *rest: rows.update(norms) or draw(
            frames, norms, *rest))
    figures.draw_tds_clip(
        figures.Findings({'+ TD-Adapter': look, '+ SME-Adapter': look},
                         'a ball', {}), tmp_path / 'activations.png')
    assert [row.split('\n')[-2] for row in rows] == ['without', 'with']
    assert {norms.shape for norms in rows.values()} == {(8, 6, 6)}
    picture = cv2.imread(str(tmp_path / 'activations.png'))
    assert min(picture.shape[:2]) > 400 and picture.std() > 10


@pytest.fixture(scope='module')
def text_work(tmp_path_factory) -> Path:
    """A work folder with seen and unseen clips, and an untrained MoTE."""
    work = tmp_path_factory.mktemp('text')
    for folder, videos in MOTE.study.videos(0, short=True).items():
        for _ in synthetic.write_dataset(
                work / folder, replace(videos, train=0, val=0, test=1)):
            pass
    pretrain.save_weights(pretrain.SmallCLIP(),
                          work / 'clip' / 'small_clip.pt')
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv('MMVIDADAPT_QUICKSTART', str(work))
        init_default_scope('mmaction')
        cfg = Config.fromfile(ROOT / 'configs/quickstart/mote.py')
        torch.manual_seed(0)
        model = MODELS.build(cfg.model)
        model.init_weights()
        for name, value in model.neck.named_parameters():
            if 'mlp' in name:  # experts that disagree
                value.data.normal_(std=.3)
        model.cls_head.loss(  # training stores the features of its classes
            model.neck(torch.randn(2, 8, 64))[0],
            [ActionDataSample().set_gt_label(k) for k in range(2)])
        torch.save(dict(state_dict=model.state_dict(),
                        meta=dict(cfg=cfg.pretty_text)),
                   work / 'untrained.pth')
        yield work


def _dumped(work: Path, kind: str, checkpoint: Path,
            *options: str) -> np.ndarray:
    """Scores of a list, found by ``tools/test.py``."""
    dump = work / 'scores.pkl'
    chosen = MOTE.study.options(work, MOTE.study.lists[kind])
    assert run_tool(
        'test.py', str(ROOT / 'configs/quickstart/mote.py'), str(checkpoint),
        '--work-dir', str(work / 'test'), '--dump', str(dump),
        '--cfg-options', *(f'{key}={value}' for key, value in chosen.items()),
        'test_dataloader.num_workers=0',
        'test_dataloader.persistent_workers=False', *options).returncode == 0
    return np.stack([sample['pred_score'] for sample in load(dump)])


def test_rows_are_what_the_tools_find(tool, text_work) -> None:
    work, checkpoint = text_work, text_work / 'untrained.pth'
    plain = 'model.cls_head.modulate=False'
    rows = tool.score_rows(MOTE, work, dict.fromkeys(MOTE.models, checkpoint),
                           MOTE.study.lists['unseen'])
    experts = [f'MoTE, expert {place}' for place in range(1, 5)]
    assert list(rows) == ['small CLIP, not trained', *experts, 'MoTE, merged']
    for first, second in zip(experts, experts[1:], strict=False):
        assert np.abs(rows[first] - rows[second]).max() > .01
    np.testing.assert_allclose(
        rows[experts[2]],
        _dumped(work, 'unseen', checkpoint, plain,
                'model.neck.merge_weights=[0,0,1,0]'), atol=1e-6)
    merged = work / 'merged.pth'
    assert plain_tool('merge_experts.py', checkpoint,
                      merged).returncode == 0
    np.testing.assert_allclose(
        rows['MoTE, merged'],
        _dumped(work, 'unseen', merged, plain, 'model.neck.num_experts=0'),
        atol=1e-6)
    modulated = _dumped(work, 'unseen', checkpoint)
    assert np.abs(rows['MoTE, merged'] - modulated).max() > .01


def test_modulation_changes_nothing_on_seen_classes(tool, text_work) -> None:
    work, checkpoint = text_work, text_work / 'untrained.pth'
    rows = tool.score_rows(MOTE, work, dict.fromkeys(MOTE.models, checkpoint),
                           MOTE.study.lists['seen'])
    assert rows['MoTE, merged'].shape == (16, 16)
    np.testing.assert_allclose(rows['MoTE, merged'],
                               _dumped(work, 'seen', checkpoint), atol=1e-6)


def test_the_inferencer_names_unseen_classes(tool, text_work) -> None:
    clips = next(iter(MOTE.study.shown.values()))
    cfg = tool.test_config(MOTE, Row('MoTE'), text_work, clips)
    text = tool.infer(cfg, text_work / 'untrained.pth',
                      text_work / clips.folder / clips.name)
    assert text.rsplit(' (', 1)[0] in [c.text for c in synthetic.UNSEEN]


def test_the_frozen_row_is_msta_that_adds_nothing(
        tool, text_work) -> None:
    clips = MSTA.study.lists['novel']
    rows = tool.score_rows(MSTA, text_work, {}, clips)
    assert list(rows) == ['frozen zero-shot']
    cfg = tool.test_config(MSTA, Row('MSTA', {'model.adapter.scale': 0.}),
                           text_work, clips)
    init_default_scope('mmaction')
    model = MODELS.build({**cfg.model, 'consistency': None})
    model.init_weights()
    model.eval()
    batches = list(Runner.build_dataloader(cfg.test_dataloader))
    with torch.no_grad():
        same, reverse = (torch.stack([
            sample.pred_score for batch in batches for sample in
            model.test_step({**batch, 'inputs': [
                clip.flip(2) if backwards else clip
                for clip in batch['inputs']]})]).numpy()
            for backwards in (False, True))
    np.testing.assert_array_equal(rows['frozen zero-shot'], same)
    # All frames look at each other, and nothing tells it when they were.
    np.testing.assert_allclose(reverse, same, atol=1e-6)


def test_a_side_network_starts_from_what_clip_knows(tool, text_work) -> None:
    clips = MIXED.study.lists['novel']
    rows, wanted = (tool.score_rows(
        method, text_work, dict.fromkeys(MOTE.models,
                                         text_work / 'untrained.pth'), clips)
        for method in (MIXED, MOTE))
    found, = rows.values()
    np.testing.assert_allclose(found, wanted['small CLIP, not trained'],
                               atol=1e-6)


def test_a_changed_sentence_trains_again_what_reads_it(
        tool, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv('MMVIDADAPT_QUICKSTART', str(tmp_path))
    trained = []

    def run_script(command, log, work, follow) -> None:
        trained.append(Path(command[1]).stem)
        (log.parent / 'epoch_6.pth').touch()

    monkeypatch.setattr(tool, 'run_script', run_script)
    assert len(MSTA.study.write_texts(tmp_path)) == 1
    budget = tool.full_budget(MSTA, 0)
    for _ in range(2):
        for model in ('msta_plain', 'msta'):
            tool.train(model, tmp_path, budget)
    assert trained == ['msta_plain', 'msta']
    file = tmp_path / 'descriptions' / 'temporal.json'
    file.write_text(file.read_text().replace('at last', 'finally'))
    assert not tool.train('msta', tmp_path, budget)
    assert tool.train('msta_plain', tmp_path, budget)


@pytest.mark.parametrize('name', METHODS)
def test_shown_videos_are_in_the_data(name) -> None:
    study = METHODS[name].study
    for folder, video in study.shown.values():
        way = 'backwards' if '_backwards_' in video else 'forwards'
        scene = Path(video).stem.split('_')[0]
        assert any(c.scene == scene and c.backwards == (way == 'backwards')
                   for c in study.data[folder])
    folder = next(iter(study.shown.values())).folder
    assert study.title in [c.text for c in study.data[folder]]


def test_accuracies_of_classes_are_drawn(tmp_path) -> None:
    results = {name: measure_transfer(_scored(right), _scored(right - 1))
               for name, right in (('merged', 4), ('expert', 2))}
    figures.draw_transfer(figures.Findings({}, '', results),
                      tmp_path / 'classes.png')
    picture = cv2.imread(str(tmp_path / 'classes.png'))
    assert min(picture.shape[:2]) > 400 and picture.std() > 10


def test_each_model_has_its_own_colour(tmp_path, monkeypatch) -> None:
    drawn = []
    save = figures.save_figure
    monkeypatch.setattr(
        figures, 'save_figure', lambda figure, path: drawn.extend(
            line.get_color() for line in figure.axes[0].lines)
        or save(figure, path))
    history = figures.History({4: 1., 8: .5}, {4: .1, 8: .3}, {2: .5})
    figures.draw_curves({str(number): history for number in range(6)}, .5,
                        16, tmp_path / 'curves.png')
    assert len({tuple(colour) for colour in drawn}) == 6


def test_figures_are_written(tmp_path) -> None:
    frames = synthetic.render_clip(CLASSES[0], (0, ), 8, 48)
    weights = [np.full((n, 37), .5, np.float32) for n in (8, 4)]
    figures.draw_weights(frames, weights, (6, 6), 'a ball',
                         tmp_path / 'weights.png')
    history = figures.History({4: 1., 8: .5}, {4: .1, 8: .3}, {2: .5})
    figures.draw_curves({'InTI': history, 'naive': history}, 2 / 3, 12,
                        tmp_path / 'curves.png')
    assert history.seconds_per_step == pytest.approx(.2)
    for name in ('weights.png', 'curves.png'):
        picture = cv2.imread(str(tmp_path / name))
        assert min(picture.shape[:2]) > 400 and picture.std() > 10
    assert len(list(tmp_path.iterdir())) == 2


def test_history_joins_the_logs_of_a_resumed_run(tmp_path) -> None:
    for name, step in (('20260101', 4), ('20260102', 8)):
        log = tmp_path / name / 'vis_data' / 'scalars.json'
        log.parent.mkdir(parents=True)
        log.write_text('\n'.join(map(json.dumps, [
            dict(loss=1. / step, time=.3, data_time=.1, step=step),
            {'acc/top1': .5, 'step': step // 4}])) + '\n')
    history = figures.read_history(tmp_path)
    assert history.loss == {4: .25, 8: .125}
    assert history.accuracy == {1: .5, 2: .5}
    assert history.seconds_per_step == pytest.approx(.2)
    with pytest.raises(FileNotFoundError, match='no training log'):
        figures.read_history(tmp_path / 'nothing')
