"""``tools/visualize.py``: pictures and numbers of a trained model."""

import json
from pathlib import Path
from unittest import mock

import cv2
import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from matplotlib.figure import Figure
from mmaction.registry import MODELS
from mmengine.config import Config
from mmengine.registry import init_default_scope

from mmvidadapt.apis.mote_experts import (
    FRAMES,
    MERGED,
    MODULATED,
    AttentionMap,
)
from mmvidadapt.models.necks import merge_state_dict
from mmvidadapt.visualization import PICTURES, experts, runs
from tests.scripts import Finished, plain_tool, tool, write_videos
from tests.tiny import write_tiny_config
from tests.tiny_clip import randomize
from tests.tiny_text import NAMES

CONFIG = 'mote/vitb_zeroshot_ucf101.py'
PARTS = [FRAMES, 'expert 0', 'expert 1', 'expert 2', 'expert 3', MERGED,
         MODULATED]


def run(*args: object) -> Finished:
    return plain_tool('visualize.py', 'experts', *args)


@pytest.fixture(scope='module')
def trained(tmp_path_factory: pytest.TempPathFactory) -> dict:
    """Seven videos of two classes, a tiny model, its picture."""
    folder = tmp_path_factory.mktemp('experts')
    videos = write_videos(folder, 7)
    config = write_tiny_config(
        CONFIG, folder, test_dataloader__dataset__ann_file=str(videos),
        test_dataloader__dataset__data_prefix__video=str(folder),
        model__cls_head__classes=NAMES)
    torch.manual_seed(0)
    init_default_scope('mmaction')
    model = randomize(MODELS.build(Config.fromfile(config).model))
    state = model.state_dict()
    for name, value in state.items():
        if 'mlp.c_proj' in name:
            value.mul_(9)  # experts disagree
    state['cls_head.finetune_features'] = F.normalize(
        torch.randn(9, 24), dim=-1)
    ckpt = folder / 'model.pth'
    torch.save(dict(state_dict=state, meta={}), ckpt)
    out = folder / 'out'
    done = run(config, ckpt, '--out', out, '--maps', 2)
    assert done.returncode == 0, done.stderr
    return dict(folder=folder, config=config, ckpt=ckpt, out=out, done=done,
                state=state,
                numbers=json.loads((out / 'experts.json').read_text()))


def test_pictures_and_numbers_are_written(trained: dict) -> None:
    names = {'accuracy.png', 'classes.png', 'similarity.png',
             'attention.png', 'experts.json'}
    assert {path.name for path in trained['out'].iterdir()} == names
    for name in names - {'experts.json'}:
        picture = cv2.imread(str(trained['out'] / name))
        assert min(picture.shape[:2]) > 200
        assert picture.std() > 10
    last = trained['done'].stdout.splitlines()[-1]
    assert last == ('wrote accuracy.png, classes.png, similarity.png, '
                    f'attention.png, experts.json to {trained["out"]}')
    assert not plt.get_fignums()


def test_numbers_are_those_of_the_test_tool(trained: dict) -> None:
    numbers = trained['numbers']
    assert list(numbers['top1']) == PARTS
    assert numbers['videos'] == 7
    work_dir = trained['folder'] / 'tested'
    for part, options in (
            (MODULATED, []),
            (MERGED, ['model.cls_head.modulate=False']),
            ('expert 2', ['model.cls_head.modulate=False',
                          'model.neck.merge_weights=[0,0,1,0]'])):
        done = tool('test.py', trained['config'], str(trained['ckpt']),
                    '--work-dir', str(work_dir / part), '--cfg-options',
                    *options)
        assert done.returncode == 0, done.stderr
        result, = (work_dir / part).glob('*/*.json')
        assert numbers['top1'][part] == pytest.approx(
            json.loads(result.read_text())['acc/top1'])


def test_classes_add_up(trained: dict) -> None:
    numbers = trained['numbers']
    assert [(one['label'], one['name'], one['videos'])
            for one in numbers['classes']] == [
        (0, NAMES[0], 4), (1, NAMES[1], 3)]
    for part in PARTS:
        assert sum(one['top1'][part] * one['videos'] for one in
                   numbers['classes']) == pytest.approx(
            7 * numbers['top1'][part])
    similarity = np.array(numbers['similarity']['temporal_features'])
    assert numbers['similarity']['parts'][0] == MERGED
    assert similarity.shape == (5, 5)
    np.testing.assert_allclose(np.diag(similarity), 1, atol=1e-4)
    np.testing.assert_allclose(similarity, similarity.T, atol=1e-5)


def test_maps_are_of_videos_spread_over_the_test_set(trained: dict) -> None:
    maps = trained['numbers']['attention']
    assert [one['place'] for one in maps] == [1, 5]
    for one in maps:
        assert one['name'] == NAMES[1]
        assert one['predicted'].keys() == set(PARTS)
        assert set(one['cosines']) == set(PARTS) - {MODULATED}
        assert np.shape(one['cosines'][MERGED]) == (2, 2)


def test_fewer_videos_are_spread_over_the_test_set(trained: dict) -> None:
    out = trained['folder'] / 'few'
    done = run(trained['config'], trained['ckpt'], '--out', out,
               '--max-videos', 3, '--maps', 1, '--classes', 1)
    assert done.returncode == 0, done.stderr
    numbers = json.loads((out / 'experts.json').read_text())
    assert numbers['videos'] == 3
    # Places 1, 3 and 5, whose class is 1.
    assert [(c['label'], c['videos']) for c in numbers['classes']] == [(1, 3)]
    assert [one['place'] for one in numbers['attention']] == [3]


@pytest.mark.parametrize('number, total, expected', [
    (1, 7, [3]), (3, 7, [1, 3, 5]), (7, 7, list(range(7))),
    (9, 2, [0, 1]), (2, 400, [100, 300])])
def test_places_are_spread(number: int, total: int, expected: list) -> None:
    assert runs.spread(number, total) == expected


def test_no_data_and_no_maps_are_needed(trained: dict, tmp_path: Path,
                                        monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    done = run(trained['config'], trained['ckpt'], '--synthetic', 8,
               '--maps', 0, '--cfg-options', 'model.cls_head.modulate=False')
    assert done.returncode == 0, done.stderr
    out = Path('work_dirs/vitb_zeroshot_ucf101/experts')
    assert {path.name for path in out.iterdir()} == {
        'accuracy.png', 'classes.png', 'similarity.png', 'experts.json'}
    numbers = json.loads((out / 'experts.json').read_text())
    assert numbers['videos'] == 8 and list(numbers['top1']) == PARTS[:-1]


def test_two_test_sets_make_a_plane(trained: dict) -> None:
    folder = trained['folder'] / 'plane'
    closed = trained['out'] / 'experts.json'
    with mock.patch.object(experts, 'draw_plane',
                           side_effect=experts.draw_plane) as drawn:
        done = run(trained['config'], trained['ckpt'], '--out', folder,
                   '--max-videos', 2, '--maps', 0, '--closed-set', closed)
    assert done.returncode == 0, done.stderr
    assert 'plane.png' in done.stdout and (folder / 'plane.png').is_file()
    first, second, _ = drawn.call_args.args
    assert first == trained['numbers']['top1']
    assert second == json.loads(
        (folder / 'experts.json').read_text())['top1']


def shown(function, *args) -> Figure:
    """What a function draws, before it is written."""
    with mock.patch.object(experts, 'save_figure') as save:
        function(*args, Path('no.png'))
    figure = save.call_args.args[0]
    plt.close(figure)
    return figure


def test_of_many_classes_those_with_the_largest_spread_are_shown() -> None:
    classes = [dict(name=f'class {i} ' + 'long ' * i, videos=9, top1={
        MERGED: .5, 'expert 0': .5 + i / 1000, 'expert 1': .5})
        for i in range(400)]
    figure = shown(experts.draw_classes, classes,
                   [MERGED, 'expert 0', 'expert 1'], 12)
    axes, = figure.axes
    assert axes.get_title() == (
        'The 12 of 400 classes that experts differ most on')
    labels = [label.get_text() for label in axes.get_yticklabels()]
    assert [label.split()[1] for label in labels] == [
        str(i) for i in range(399, 387, -1)]
    assert all(len(label) <= 40 for label in labels)
    top = axes.collections[1].get_offsets()  # those of expert 0
    np.testing.assert_allclose(top[:, 0], [
        50 + i / 10 for i in range(399, 387, -1)])
    all_shown = shown(experts.draw_classes, classes[:3], [MERGED], 20)
    assert all_shown.axes[0].get_title().startswith('3 classes, ')


def test_maps_tell_their_range_and_right_from_wrong_without_colours() -> None:
    word = 'Pneumonoultramicroscopicsilicovolcanoconiosis'
    names = [f'{word} at work', 'tai chi']
    values = np.array([[.25, .5], [.75, .5]])
    frame = np.arange(192, dtype=np.uint8).reshape(8, 8, 3)
    parts = [FRAMES, MERGED, 'expert 0']
    one = AttentionMap(0, 0, frame,
                       dict.fromkeys(parts, values))
    figure = shown(experts.draw_attention, [one], {
        FRAMES: [0], MERGED: [1], 'expert 0': [0]}, names)
    figure.draw_without_rendering()
    below = {axes.get_title(): axes.xaxis.label for axes in figure.axes
             if axes.get_xlabel()}
    assert [label.get_text().split('\n')[:2] for label in below.values()] == [
        ['0.25 to 0.75', '✓ Pneumonoultramicros…'],
        ['0.25 to 0.75', '✗ tai chi'],
        ['0.25 to 0.75', '✓ Pneumonoultramicros…']]
    boxes = [label.get_window_extent() for label in below.values()]
    for left, right in zip(boxes, boxes[1:], strict=False):
        assert left.x1 < right.x0
    for text in (figure._supxlabel, figure._suptitle):
        box = text.get_window_extent()
        assert box.x0 > 0 and box.x1 < figure.bbox.x1
    assert 'cosine' in figure._supxlabel.get_text()
    maps = [axes.images for axes in figure.axes if axes.images]
    np.testing.assert_array_equal(maps[0][0].get_array(), frame)
    for images in maps[1:]:
        np.testing.assert_allclose(images[1].get_array(), [[0, .5], [1, .5]])
    assert not figure.axes[-1].get_ylabel()  # too long beside one row


def test_one_video_of_one_class_is_no_plural() -> None:
    axes, = shown(experts.draw_accuracy, {MERGED: 1.}, 1, 1).axes
    assert axes.get_title() == 'Experts on 1 video of 1 class'
    row = dict(name='a', videos=1, top1={MERGED: 1.})
    axes, = shown(experts.draw_classes, [row], [MERGED], 20).axes
    assert axes.get_title().startswith('1 class, ')


def test_the_plane_has_a_place_for_each_part() -> None:
    closed = {FRAMES: .6, 'expert 0': .7, MERGED: .8, MODULATED: .81}
    other = {FRAMES: .3, 'expert 0': .2, MERGED: .4}
    axes, = shown(experts.draw_plane, closed, other).axes
    found = {one.get_label(): one.get_offsets()[0].tolist()
             for one in axes.collections}
    assert found == {FRAMES: [60, 30], 'expert 0': [70, 20], MERGED: [80, 40]}


def refused(trained: dict, *options: object, config: object = None,
            ckpt: object = None) -> str:
    out = trained['folder'] / 'refused'
    done = run(config or trained['config'], ckpt or trained['ckpt'],
               '--out', out, *options)
    assert not out.exists()
    return done.error


def test_what_has_no_experts_is_refused(trained: dict,
                                        tmp_path: Path) -> None:
    merged = tmp_path / 'merged.pth'
    torch.save(dict(state_dict=merge_state_dict(trained['state'])), merged)
    assert refused(trained, ckpt=merged) == (
        f'{merged} has a plain transformer, its experts are merged already: '
        'give the checkpoint that it was merged from')
    assert 'has num_experts=0' in refused(
        trained, '--cfg-options', 'model.neck.num_experts=0')
    other = write_tiny_config('inti/vitb_k400.py', tmp_path)
    assert refused(trained, config=other).startswith(
        f'{other} has no MoTE, whose experts could be drawn')
    assert 'does not exist' in refused(trained, ckpt=tmp_path / 'no.pth')
    assert 'does not exist' in refused(trained, config=tmp_path / 'no.py')


def test_options_that_make_no_sense_are_refused(trained: dict,
                                                tmp_path: Path) -> None:
    assert '--max-videos 0' in refused(trained, '--max-videos', 0)
    assert '--classes 0' in refused(trained, '--classes', 0)
    assert '--maps -1' in refused(trained, '--maps', -1)
    with pytest.raises(ValueError, match='has no test_dataloader'):
        runs.test_loader(Config(dict(model={})), None)
    text = tmp_path / 'other.json'
    assert 'does not exist' in refused(trained, '--closed-set', text)
    for content in ('{}', 'no json', '[]', '{"top1": 3}'):
        text.write_text(content)
        assert 'has no accuracies of experts' in refused(
            trained, '--closed-set', text)
    text.write_text('{"top1": {"expert 0": 0.5, "merged": 0.5}}')
    assert 'is of 1 experts and the model has 4' in refused(
        trained, '--closed-set', text)
    (tmp_path / '0.mp4').write_bytes(b'no video')
    assert 'set model.cls_head.average_clips' in refused(
        trained, '--cfg-options', 'model.cls_head.average_clips=None')
    assert '0.mp4' in refused(
        trained, '--cfg-options',
        f'test_dataloader.dataset.data_prefix.video={tmp_path}')


def test_every_picture_explains_itself() -> None:
    for name, module in PICTURES.items():
        assert module.EXAMPLE.startswith(f'python tools/visualize.py {name} ')
        done = plain_tool('visualize.py', name, '--help')
        assert done.returncode == 0 and module.EXAMPLE in done.stdout
    done = plain_tool('visualize.py', '--help')
    assert all(module.SUMMARY.split(',')[0][:20] in done.stdout
               for module in PICTURES.values())
