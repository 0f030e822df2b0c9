"""``tools/visualize.py inti|side|attention``: a video as a model sees it."""

import json
from pathlib import Path
from unittest import mock

import cv2
import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from mmaction.apis import init_recognizer
from mmaction.registry import MODELS
from mmengine.config import Config
from mmengine.dataset import Compose, pseudo_collate
from mmengine.registry import init_default_scope
from torch import Tensor

from mmvidadapt.apis.class_attention import class_attention
from mmvidadapt.apis.inti_weights import frame_weights, pair_weights
from mmvidadapt.apis.side_activations import side_activations
from mmvidadapt.datasets.class_lists import class_names
from mmvidadapt.visualization import attention, canvas, inti, side
from tests.scripts import Finished, plain_tool
from tests.tiny import write_tiny_config
from tests.tiny_clip import randomize
from tests.toy_videos import cut, write_video

CONFIGS = dict(inti='inti/vitb_ssv2_temp.py', side='tds_clip/vitb_ssv1.py',
               td='tds_clip/vitb_ssv1_td.py', attention='mote/vitb_k400.py')


def run(*args: object) -> Finished:
    return plain_tool('visualize.py', *args)


@pytest.fixture(scope='module')
def models(tmp_path_factory: pytest.TempPathFactory) -> dict:
    """A video, and a config and a checkpoint for each picture."""
    folder = tmp_path_factory.mktemp('seen')
    found = dict(folder=folder, video=write_video(folder / 'one.mp4', 40))
    init_default_scope('mmaction')
    for name, config in CONFIGS.items():
        path = write_tiny_config(config, folder)
        torch.manual_seed(0)
        model = randomize(MODELS.build(Config.fromfile(path).model))
        ckpt = folder / f'{name}.pth'
        torch.save(dict(state_dict=model.state_dict()), ckpt)
        found[name] = path, ckpt
    return found


def drawn(models: dict, picture: str, *options: object, name: str = '',
          ) -> dict:
    """What a picture says in numbers."""
    out = models['folder'] / f'out{len(list(models["folder"].iterdir()))}'
    done = run(picture, *models[name or picture], models['video'], '--out',
               out, *options)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == (
        f'wrote {picture}.png, {picture}.json to {out}')
    image = cv2.imread(str(out / f'{picture}.png'))
    assert min(image.shape[:2]) > 300 and image.std() > 10
    assert {path.name for path in out.iterdir()} == {
        f'{picture}.png', f'{picture}.json'}
    assert not plt.get_fignums()
    return json.loads((out / f'{picture}.json').read_text())


def view_of(models: dict, name: str, view: int) -> tuple:
    """The model of MMAction2, and one view as its test pipeline gives it."""
    model = init_recognizer(models[name][0], str(models[name][1]), 'cpu')
    steps = model.cfg.test_pipeline
    if not steps[0].type.endswith('Init'):  # for folders of frames
        steps = [dict(type='DecordInit')] + [
            dict(type='DecordDecode') if step.type == 'RawFrameDecode' else
            step for step in steps]
    sample = Compose(steps)(dict(
        filename=str(models['video']), label=-1, start_index=0,
        modality='RGB'))
    clip = model.data_preprocessor(pseudo_collate([sample]))['inputs'][0]
    return model, clip[view:view + 1]


def close(found: list, wanted: Tensor) -> None:
    np.testing.assert_allclose(found, wanted.detach().numpy(), rtol=1e-4,
                               atol=1e-6)


def test_weights_are_those_of_the_view_that_was_asked_for(
        models: dict) -> None:
    found = drawn(models, 'inti', '--view', 4)
    assert (found['view'], found['views']) == (4, 12)
    assert found['video'] == str(models['video'])
    model, clip = view_of(models, 'inti', 4)
    weights = frame_weights(model.backbone, clip)[0]
    close(found['together']['class_token'], weights[:, 0])
    close(found['together']['each_patch'], weights[:, 1:].view(-1, 2, 2))
    close(found['together']['patches'], weights[:, 1:].mean(dim=1))
    stages = pair_weights(model.backbone, clip)
    assert [one['frames'] for one in found['stages']] == [
        stage.shape[1] for stage in stages] == [16, 8]
    for one, stage in zip(found['stages'], stages, strict=True):
        close(one['class_token'], stage[0, :, 0])
        close(one['patches'], stage[0, :, 1:].mean(dim=1))
    with torch.no_grad():
        scores = model.cls_head(model.backbone(clip)).softmax(dim=-1)[0]
    assert found['predicted'] == f'class {int(scores.argmax())}'
    assert found['score'] == pytest.approx(float(scores.max()), rel=1e-4)
    other = drawn(models, 'inti')
    assert other['view'] == 0
    assert other['together']['patches'] != found['together']['patches']


def test_frames_shown_are_the_middles_that_the_model_sees(
        models: dict, tmp_path: Path) -> None:
    with mock.patch.object(side, 'draw_activations') as draw:
        run('side', *models['side'], models['video'], '--out', tmp_path)
    model, clip = view_of(models, 'side', 0)
    pixels = clip[0] * model.data_preprocessor.std.view(-1, 1, 1, 1) + (
        model.data_preprocessor.mean.view(-1, 1, 1, 1))
    wanted = pixels[:, 2::5].permute(1, 2, 3, 0)  # windows of 5
    np.testing.assert_allclose(draw.call_args.args[0], wanted, atol=1)
    assert len(np.unique(wanted.mean(dim=(1, 2)).round(), axis=0)) > 4


def test_side_tokens_are_drawn_with_and_without_sme(models: dict) -> None:
    found = drawn(models, 'side', '--layers', 0, -1)
    assert [(one['part'], one['with_sme']) for one in found['parts']] == [
        (part, sme) for part in ('stem', 'block 0', 'block 11')
        for sme in (True, False)]
    model, clip = view_of(models, 'side', 0)
    with_sme = side_activations(model.backbone, clip)
    model.backbone.stem.alpha = 0.
    without = side_activations(model.backbone, clip)
    for one in found['parts']:
        close(one['norms'],
              (with_sme if one['with_sme'] else without)[one['part']][0])


def test_a_model_without_sme_is_compared_with(models: dict) -> None:
    found = drawn(models, 'side', '--without', *models['td'])
    assert found['without'] == [str(part) for part in models['td']]
    assert [one['part'] for one in found['parts'][::2]] == [
        'stem', 'block 6', 'block 11']
    model, clip = view_of(models, 'td', 0)
    other = side_activations(model.backbone, clip)
    for one in found['parts'][1::2]:
        assert not one['with_sme']
        close(one['norms'], other[one['part']][0])


def test_a_model_without_sme_says_so(models: dict) -> None:
    found = drawn(models, 'side', name='td')
    assert [one['with_sme'] for one in found['parts']] == [False] * 3
    done = run('side', *models['td'], models['video'], '--out',
               models['folder'] / 'td')
    assert 'window=1: there is no SME-Adapter' in done.stdout


@pytest.mark.parametrize('name', ['attention', 'inti', 'side'])
def test_attention_is_that_of_the_layers_asked_for(models: dict,
                                                   name: str) -> None:
    found = drawn(models, 'attention', '--layers', 2, -1, name=name)
    model, clip = view_of(models, name, 0)
    wanted = class_attention(model.backbone, clip, [2, 11])
    assert [one['layer'] for one in found['layers']] == [2, 11]
    assert found['head'] is None and not found['joint']
    for one in found['layers']:
        shares = wanted[one['layer']]
        close(one['patches'], shares.patches[0].mean(dim=1))
        close(one['itself'], shares.itself[0].mean(dim=1))
        np.testing.assert_allclose(
            np.add(one['frames'], one['itself']), 1, atol=1e-4)


def test_attention_of_one_head(models: dict) -> None:
    found = drawn(models, 'attention', '--head', 1)
    model, clip = view_of(models, 'attention', 0)
    one, = found['layers']
    assert (found['head'], one['layer']) == (1, 11)
    close(one['patches'],
          class_attention(model.backbone, clip, [11])[11].patches[0, :, 1])


def test_attention_of_a_video_tower(models: dict, tmp_path: Path) -> None:
    cfg = Config.fromfile(models['attention'][0])
    cfg.model.backbone.encoder.type = 'ViCLIPVisionEncoder'
    cfg.model.backbone.encoder.tubelet_size = 2
    cfg.model.pop('neck')
    cfg.dump(tmp_path / 'joint.py')
    model = randomize(MODELS.build(cfg.model))
    torch.save(dict(state_dict=model.state_dict()), tmp_path / 'joint.pth')
    models['joint'] = tmp_path / 'joint.py', tmp_path / 'joint.pth'
    found = drawn(models, 'attention', name='joint')
    one, = found['layers']
    assert found['joint'] and np.shape(one['patches']) == (4, 2, 2)
    assert sum(one['frames']) + one['itself'][0] == pytest.approx(1, abs=1e-4)


# -- what the pictures show -------------------------------------------------


def shown(function, *args) -> Figure:
    """What a function draws, before it is written."""
    with mock.patch.object(canvas, 'save_figure') as save:
        function(*args, Path('no.png'))
    figure = save.call_args.args[0]
    plt.close(figure)
    return figure


def places(figure: Figure) -> dict[str, float]:
    """By the text below a picture, the middle of the picture."""
    found = {}
    for axes in figure.axes:
        if axes.get_xlabel():
            box = axes.get_position()
            found[axes.get_xlabel()] = (box.x0 + box.x1) / 2
    return found


FRAMES = np.random.default_rng(0).integers(0, 255, (5, 16, 24, 3)).astype(
    np.uint8)


def test_merged_frames_stand_below_those_they_are_made_of() -> None:
    pairs = [np.full((5, 5), .5, np.float32), np.full((3, 5), .5, np.float32)]
    pairs[0][0], pairs[0][1] = .25, .75
    pairs[0][4] = pairs[1][2] = 1  # repeated to make a pair
    figure = shown(inti.draw_weights, FRAMES, pairs, (2, 2), 'title')
    found = places(figure)
    assert found['frames 1 to 2'] == pytest.approx(
        (found['1'] + found['2']) / 2)
    assert found['frames 1 to 4'] == pytest.approx(
        (found['1'] + found['4']) / 2)
    assert found['frame 5'] == pytest.approx(found['5'])
    maps = [axes.images[1].get_array().data for axes in figure.axes
            if len(axes.images) == 2]
    # 5 and 3 in pairs, then together, where plain means give 1/4 and 1.
    assert [len(maps), *(float(one.mean()) for one in maps[8:])] == [
        13, .25, *[pytest.approx(.5 + .5 * .125 / .75)], .5, .5, 1.]
    assert [one.split('\n') for one in found if 'plain' in one] == [
        ['mean 0.12', '(plain 0.25)'], ['mean 0.38', '(plain 0.25)'],
        ['mean 0.25', '(plain 0.25)'], ['mean 1.00', '(plain 1)']]
    mixed = next(axes for axes in figure.axes
                 if axes.get_xlabel() == 'frames 1 to 2')
    np.testing.assert_allclose(
        mixed.images[0].get_array(),
        .25 * FRAMES[0] / 255 + .75 * FRAMES[1] / 255, atol=1e-5)


def test_patches_of_weights_lie_on_the_pixels_they_are_of() -> None:
    weights = np.zeros((2, 5), np.float32)
    weights[0, 1:] = [1, 0, 0, 1]
    weights[1] = 1 - weights[0]
    figure = shown(inti.draw_weights, FRAMES[:2], [weights], (2, 2), 'title')
    mixed = next(axes for axes in figure.axes
                 if axes.get_xlabel() == 'frames 1 to 2')
    picture = np.array(mixed.images[0].get_array())
    first, second = FRAMES[:2] / 255
    np.testing.assert_allclose(picture[:8, :12], first[:8, :12], atol=1e-6)
    np.testing.assert_allclose(picture[:8, 12:], second[:8, 12:], atol=1e-6)
    np.testing.assert_allclose(picture[8:, 12:], first[8:, 12:], atol=1e-6)


def test_rows_of_activations_have_their_own_scale() -> None:
    norms = {'a': np.arange(20.).reshape(5, 2, 2), 'b': np.ones((5, 2, 2))}
    figure = shown(side.draw_activations, FRAMES, norms, 'title')
    texts = [text.get_text() for text in figure.texts]
    assert {'a\n(0 to 19)', 'b\n(1 to 1)', '5 frames'} <= set(texts)
    maps = [axes.images[1].get_array().data for axes in figure.axes
            if len(axes.images) == 2]
    np.testing.assert_allclose(maps[:5], norms['a'] / 19)
    np.testing.assert_allclose(maps[5:], 0)


def test_attention_is_on_a_scale_up_to_its_largest_share() -> None:
    patches = np.linspace(.01, .05, 20).reshape(5, 2, 2)
    figure = shown(attention.draw_attention, FRAMES,
                   {3: (patches, np.full(5, .8))}, False, 'title')
    maps = [axes.images[1].get_array().data for axes in figure.axes
            if len(axes.images) == 2]
    np.testing.assert_allclose(maps, patches / .05)
    assert 'layer 3\nlargest 5 %' in [t.get_text() for t in figure.texts]
    assert f'{100 * patches[0].sum():.0f} %' in places(figure)


def check_that_nothing_is_cut_off(figure: Figure) -> None:
    """Fails if a text lies outside of a figure, or texts on one another."""
    figure.draw_without_rendering()
    texts = [*figure.texts, figure._suptitle,
             *figure.axes[-1].get_yticklabels(),  # of the colour bar
             *(axes.xaxis.label for axes in figure.axes)]
    boxes = {text: text.get_window_extent() for text in dict.fromkeys(texts)
             if text.get_text()}
    assert len(boxes) > 5
    for text, box in boxes.items():
        name = repr(text.get_text())
        assert box.x0 >= 0 and box.y0 >= 0, name
        assert box.x1 <= figure.bbox.x1 and box.y1 <= figure.bbox.y1, name
        for other, second in boxes.items():
            assert other is text or not (
                min(box.x1, second.x1) - max(box.x0, second.x0) > 1
                and min(box.y1, second.y1) - max(box.y0, second.y0) > 1), (
                    name, other.get_text())


TITLE = 'What the class token looks at in a_name_of_34_letters\nit says: W'


@pytest.mark.parametrize('number', [1, 2, 5, 16, 32])
def test_nothing_is_cut_off(number: int) -> None:
    frames = np.repeat(FRAMES[:1], number, axis=0)
    values = np.linspace(1e11, 7.9e12, number * 4).reshape(number, 2, 2)
    check_that_nothing_is_cut_off(shown(
        side.draw_activations, frames,
        {'block 11\nwith SME-Adapter': values}, TITLE))
    check_that_nothing_is_cut_off(shown(
        attention.draw_attention, frames,
        {11: (np.full((number, 2, 2), .2), np.full(number, .2))}, True,
        TITLE))
    if number % 4 == 0:
        pairs = [np.full((n, 5), .5, np.float32)
                 for n in (number, number // 2)]
        check_that_nothing_is_cut_off(shown(
            inti.draw_weights, frames, pairs, (2, 2), TITLE))


def test_colours_mean_the_same_on_dark_and_on_bright_pictures() -> None:
    figure, axes = plt.subplots(1, 2)
    grey = []
    for place, picture in zip(axes, (np.zeros((4, 4, 3)), np.ones((4, 4, 3))),
                              strict=True):
        image = canvas.heat_map(place, picture, np.full((2, 2), .5),
                                'inferno')
        grey.append(place.images[0].get_array().mean())
    canvas.add_scale(figure, image)
    below = figure.axes[-1].get_facecolor()[0]
    plt.close(figure)
    # Of 1, what a picture adds to a colour.
    added = (1 - image.get_alpha()) * np.array([*grey, below])
    assert added[0] < added[2] < added[1] < added[0] + .13


def test_weights_that_do_not_sum_to_one_are_drawn(
        caplog: pytest.LogCaptureFixture) -> None:
    weights = [np.full((n, 5), .9, np.float32) for n in (4, 2)]
    figure = shown(inti.draw_weights, FRAMES[:4], weights, (2, 2), 'title')
    for axes in figure.axes:
        for image in axes.images[:1]:
            assert 0 <= image.get_array().min()
            assert image.get_array().max() <= 1
    assert not caplog.records


def test_dollars_in_a_name_are_dollars(tmp_path: Path) -> None:
    side.draw_activations(FRAMES, {'a': np.ones((5, 2, 2))},
                          r'win_$\frac$_now.mp4', tmp_path / 'a.png')
    assert (tmp_path / 'a.png').is_file()


def test_long_names_that_begin_alike_stay_apart() -> None:
    names = class_names('sthv2')
    short = [canvas.short(name) for name in names]
    # By their beginnings 8 would be lost.
    assert max(map(len, short)) == 34 and len(set(short)) == len(names) - 3
    assert canvas.short('tai chi') == 'tai chi'


# -- what is refused --------------------------------------------------------


def refused(models: dict, *args: object) -> str:
    out = models['folder'] / 'refused'
    done = run(*args, '--out', out)
    assert not out.exists()
    return done.error


def test_a_model_without_the_method_is_refused(models: dict) -> None:
    video = models['video']
    error = refused(models, 'inti', *models['attention'], video)
    assert error == (
        f'{models["attention"][0]} cannot be drawn: CLIPViT holds no adapter '
        'that weighs frames: add InTI or LinearPooling')
    error = refused(models, 'side', *models['inti'], video)
    assert error.startswith(f'{models["inti"][0]} cannot be drawn: CLIPViT '
                            'has no side network')
    error = refused(models, 'side', *models['side'], video, '--without',
                    *models['inti'])
    assert error.startswith(f'{models["inti"][0]} cannot be drawn')


def test_a_video_that_cannot_be_read_is_named(models: dict,
                                              tmp_path: Path) -> None:
    no = tmp_path / 'no.mp4'
    assert refused(models, 'inti', *models['inti'], no) == (
        f'{no} does not exist: give a video, a folder of frames or a folder '
        'of videos')
    broken = cut(models['video'], tmp_path / 'broken.mp4', .5)
    assert 'broken.mp4' in refused(models, 'inti', *models['inti'], broken)
    assert 'is a folder of videos: give one of them' in refused(
        models, 'inti', *models['inti'], tmp_path)
    assert 'checkpoint' in refused(models, 'inti', models['inti'][0],
                                   tmp_path / 'no.pth', models['video'])


def test_what_there_is_not_cannot_be_chosen(models: dict) -> None:
    video = models['video']
    assert refused(models, 'inti', *models['inti'], video, '--view', 12) == (
        '--view 12 is not there, the config tests with 12 views: give 0 to '
        '11')
    assert 'has blocks 0 to 11' in refused(
        models, 'side', *models['side'], video, '--layers', 12)
    assert 'no layer -13: choose from 0 to 11' in refused(
        models, 'attention', *models['side'], video, '--layers', -13)
    assert 'the encoder has 2 heads: give 0 to 1' in refused(
        models, 'attention', *models['side'], video, '--head', 2)
    assert 'has window=5, so an SME-Adapter' in refused(
        models, 'side', *models['side'], video, '--without', *models['side'])
    assert 'give the model that has one first' in refused(
        models, 'side', *models['td'], video, '--without', *models['td'])


def test_models_of_other_sizes_cannot_be_compared(models: dict,
                                                  tmp_path: Path) -> None:
    cfg = Config.fromfile(models['td'][0])
    cfg.model.backbone.num_frames = 4
    cfg.test_dataloader.dataset.pipeline[0].sampler.clip_len = 4
    cfg.dump(tmp_path / 'four.py')
    torch.save(dict(state_dict=MODELS.build(cfg.model).state_dict()),
               tmp_path / 'four.pth')
    error = refused(models, 'side', *models['side'], models['video'],
                    '--without', tmp_path / 'four.py', tmp_path / 'four.pth')
    assert 'has other layers, frames or patches than' in error
