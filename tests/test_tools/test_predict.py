"""tools/predict.py: text, JSON, videos and pictures of what is seen."""

import json
import os
import shutil
import warnings
from pathlib import Path

import cv2
import matplotlib.pyplot as plt
import numpy as np
import pytest
from fontTools.fontBuilder import FontBuilder
from fontTools.pens.ttGlyphPen import TTGlyphPen
from matplotlib import font_manager
from matplotlib.figure import Figure

from mmvidadapt.apis import VideoClassifier
from mmvidadapt.visualization import canvas, predictions
from tests.scripts import Finished, plain_tool
from tests.small_models import SmallModel, write_model
from tests.toy_videos import cut, write_video


@pytest.fixture(scope='module')
def model(tmp_path_factory) -> SmallModel:
    """A tiny MoTE, which takes any classes."""
    return write_model('mote', tmp_path_factory.mktemp('mote'))


@pytest.fixture(scope='module')
def videos(tmp_path_factory) -> Path:
    """A folder of three videos, the second one broken."""
    folder = tmp_path_factory.mktemp('videos')
    write_video(folder / 'a.mp4', 40)
    write_video(folder / 'c.avi', 20)
    cut(folder / 'a.mp4', folder / 'b.mp4', .5)
    return folder


def predict(model: SmallModel, *args: object) -> Finished:
    """Run the tool on the CPU."""
    return plain_tool('predict.py', *model, *args, '--device', 'cpu')


def drawn(path: Path) -> list[np.ndarray]:
    """Frames of a video that was written."""
    reader, frames = cv2.VideoCapture(str(path)), []
    while (read := reader.read())[0]:
        frames.append(read[1])
    return frames


def test_a_folder_is_told_as_text_and_json_and_a_broken_video_at_the_end(
        model, videos, tmp_path):
    out = tmp_path / 'result.json'
    done = predict(model, videos, '--classes', 'run, jump,walk', '--topk', 2,
                   '--out', out, '--batch-size', 2)
    assert done.returncode == 1
    lines = done.stdout.splitlines()
    assert lines[-1].startswith('left out: ')
    assert 'b.mp4 is truncated' in lines[-1]
    assert '3/3' in done.stderr  # the bar
    written = json.loads(out.read_text())
    assert (written['config'], written['checkpoint']) == model
    classifier = VideoClassifier(*model, device='cpu')
    expected = classifier(videos, classes=['run', 'jump', 'walk'], topk=2)
    for one, other in zip(written['predictions'], expected, strict=True):
        assert one.get('labels', []) == other.labels
        assert one.get('scores', []) == pytest.approx(other.scores, abs=1e-5)
        assert one.get('error') == other.error
    assert str(expected[0]) in done.stdout


def test_what_is_known_before_an_error_is_written(model, videos, tmp_path,
                                                  monkeypatch):
    plain, seen = VideoClassifier._scores, []

    def fail_at_last(self, model, batch):
        seen.append(batch)
        if len(seen) == 2:
            raise RuntimeError('out of memory')
        return plain(self, model, batch)

    monkeypatch.setattr(VideoClassifier, '_scores', fail_at_last)
    out = tmp_path / 'result.json'
    with pytest.raises(RuntimeError, match='out of memory'):
        predict(model, videos, videos / 'a.mp4', '--out', out)
    told = json.loads(out.read_text())['predictions']
    assert [Path(one['video']).name for one in told] == ['a.mp4']


@pytest.mark.parametrize('out', [None, 'result.json'])
def test_what_is_known_when_it_is_interrupted_is_told(
        out, model, videos, tmp_path, monkeypatch):
    plain, seen = VideoClassifier._scores, []

    def interrupted(self, model, batch):
        seen.append(batch)
        if len(seen) == 2:
            raise KeyboardInterrupt
        return plain(self, model, batch)

    monkeypatch.setattr(VideoClassifier, '_scores', interrupted)
    monkeypatch.chdir(tmp_path)
    done = predict(model, videos / 'a.mp4', videos / 'c.avi',
                   *([] if out is None else ['--out', out]))
    assert done.returncode == 130
    assert done.stdout.splitlines()[-1].startswith(f'{videos / "a.mp4"}: ')
    assert done.stderr.splitlines()[-1] == (
        'stopped: the answers of 1 of 2 videos are '
        f'{"above" if out is None else "in result.json"}')
    if out is not None:
        told, = json.loads(Path(out).read_text())['predictions']
        assert told['video'].endswith('a.mp4')


def test_a_file_is_written_again_while_it_grows(tmp_path):
    from importlib import util
    from time import monotonic
    path = Path(__file__).parents[2] / 'tools' / 'predict.py'
    spec = util.spec_from_file_location('predict', path)
    script = util.module_from_spec(spec)
    spec.loader.exec_module(script)
    out = tmp_path / 'result.json'
    answers = script.Answers(out, {}, 5)
    answers.add(script.Prediction('a.mp4', ['run'], [1.]))
    assert not out.exists()
    answers._saved = monotonic() - 2 * script.SAVE_EVERY
    answers.add(script.Prediction('b.mp4', error='broken'))
    assert [one['video'] for one in json.loads(
        out.read_text())['predictions']] == ['a.mp4', 'b.mp4']


def test_the_labels_are_drawn_on_each_frame_of_the_video(model, videos,
                                                         tmp_path):
    done = predict(model, videos / 'a.mp4', '--show', tmp_path / 'out.mp4')
    assert done.returncode == 0, done.stderr
    frames = drawn(tmp_path / 'out.mp4')
    plain = drawn(videos / 'a.mp4')
    assert len(frames) == len(plain) == 40
    assert frames[0].shape == (240, 320, 3)  # enlarged: letters need room
    for frame, before in zip(frames, plain):
        change = np.abs(frame.astype(int) - cv2.resize(before, (320, 240)))
        assert change[:160].mean() < 12  # coding alone
        assert change[-60:].mean() > 30
        assert frame[-60:].max() > 200  # letters


def test_labels_over_time_change_with_the_video(tmp_path):
    frames = tmp_path / 'frames'
    frames.mkdir()
    for number in range(24):  # two seconds, all black
        cv2.imwrite(str(frames / f'{number:03}.png'),
                    np.zeros((48, 65, 3), np.uint8))
    said = predictions.Timeline(
        str(frames), ['run', 'sleeping'], np.array([0., 1.]), 1.,
        np.array([[.9, .1], [.1, .9]], np.float32))
    predictions.write_labelled(said, tmp_path / 'out.mp4', 1)
    film = drawn(tmp_path / 'out.mp4')
    assert len(film) == 24 and film[0].shape == (240, 324, 3)
    letters = [frame[-30:, :120].min(axis=-1) > 120 for frame in film]
    assert letters[2].mean() > .01
    assert (letters[2] ^ letters[10]).mean() < .005
    assert (letters[2] ^ letters[13]).mean() > .02
    assert (letters[13] ^ letters[22]).mean() < .005


def test_a_contact_sheet_has_a_row_for_each_sound_video(model, videos,
                                                        tmp_path):
    def height(*what: Path) -> int:
        done = predict(model, *what, '--show', tmp_path / 'sheet.png')
        assert 'sheet.png' in done.stdout
        return cv2.imread(str(tmp_path / 'sheet.png')).shape[0]

    assert height(videos) == pytest.approx(
        2 * height(videos / 'a.mp4'), abs=2)


def test_many_videos_take_several_pages(videos, tmp_path, monkeypatch):
    monkeypatch.setattr(predictions, 'PAGE', 2)
    one = predictions.Prediction(str(videos / 'a.mp4'), ['run'], [1.])
    written = predictions.draw_sheet([one] * 5, tmp_path / 'sheet.png')
    assert [path.name for path in written] == [
        'sheet.png', 'sheet-2.png', 'sheet-3.png']
    assert all(cv2.imread(str(path)) is not None for path in written)
    with pytest.raises(ValueError, match='nothing to draw'):
        predictions.draw_sheet([], tmp_path / 'none.png')


def test_windows_are_told_drawn_and_filmed(model, videos, tmp_path):
    out = tmp_path / 'time.json'
    done = predict(model, videos, '--window', .8, '--stride', .4, '--out',
                   out, '--show', tmp_path / 'folder')
    assert done.returncode == 1 and 'b.mp4 is truncated' in done.stdout
    assert sorted(path.name for path in (tmp_path / 'folder').iterdir()) == [
        'a.mp4', 'a.png', 'c.mp4', 'c.png']
    assert 'a.mp4 (1 of 3)' in done.stderr and '3/3' in done.stderr  # windows
    told = json.loads(out.read_text())['predictions']
    assert [one['start'] for one in told[0]['windows']] == [0, .4, .8]
    assert 'truncated' in told[1]['error']
    assert len(told[2]['windows']) == 1
    picture = cv2.imread(str(tmp_path / 'folder' / 'a.png'))
    assert picture.shape[1] > 1200
    assert len(drawn(tmp_path / 'folder' / 'a.mp4')) == 40


def test_classes_over_time_do_not_hide_each_other(videos, tmp_path):
    path = tmp_path / 'time.png'
    names = ['run', r'$\frac$', 'c']  # no formula
    predictions.draw_timeline(predictions.Timeline(
        str(videos / 'a.mp4'), names, np.arange(3.), 1.,
        np.full((3, 3), .5, np.float32)), path)
    picture = cv2.imread(str(path))[..., ::-1].astype(int)
    shares = [(np.abs(picture - colour).max(axis=-1) < 8).mean()
              for colour in ((31, 119, 180), (255, 127, 14), (44, 160, 44))]
    assert min(shares) > .04
    assert shares == pytest.approx([shares[0]] * 3, rel=.1)


@pytest.mark.parametrize('scores', [np.full((3, 2), np.nan),
                                    np.full((3, 2), 7.)])
def test_scores_without_a_range_are_drawn(videos, tmp_path, scores):
    path = tmp_path / 'time.png'
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        predictions.draw_timeline(predictions.Timeline(
            str(videos / 'a.mp4'), ['a', 'b'], np.arange(3.), 1., scores),
            path)
    assert cv2.imread(str(path)) is not None


def test_figures_of_others_keep_their_formulas(videos, tmp_path):
    predictions.draw_sheet([predictions.Prediction(
        str(videos / 'a.mp4'), ['a'], [1.])], tmp_path / 'sheet.png')
    assert plt.rcParams['text.parse_math']


def test_a_name_with_dollars_is_no_formula(videos, tmp_path):
    name = shutil.copy(videos / 'a.mp4', tmp_path / r'$\frac$.mp4')
    one = predictions.Prediction(str(name), [r'$\frac$'], [1.])
    written, = predictions.draw_sheet([one], tmp_path / 'sheet.png')
    assert cv2.imread(str(written)) is not None


@pytest.fixture()
def eastern_font(tmp_path, monkeypatch) -> Path:
    """A font that has two Chinese letters, both of them black boxes."""
    pen = TTGlyphPen(None)
    for x, y in (0, 0), (0, 900), (900, 900), (900, 0):
        (pen.lineTo if pen.points else pen.moveTo)((x, y))
    pen.closePath()
    glyphs = ['.notdef', 'run', 'step']
    font = FontBuilder(1000)
    font.setupGlyphOrder(glyphs)
    font.setupCharacterMap({ord('跑'): 'run', ord('步'): 'step'})
    font.setupGlyf(dict.fromkeys(glyphs, pen.glyph()))
    font.setupHorizontalMetrics(dict.fromkeys(glyphs, (1000, 0)))
    font.setupHorizontalHeader(ascent=1000, descent=0)
    font.setupNameTable(dict(familyName='Two Boxes', styleName='Regular'))
    font.setupOS2()
    font.setupPost()
    path = tmp_path / 'eastern.ttf'
    font.save(path)
    manager = font_manager.fontManager
    monkeypatch.setattr(manager, 'ttflist', list(manager.ttflist))
    manager.addfont(path)
    monkeypatch.setattr(canvas, '_EASTERN', ('Not Here', 'Two Boxes'))
    return path


def test_chinese_names_are_drawn_where_a_font_has_them(
        videos, tmp_path, eastern_font, caplog):
    one = predictions.Prediction(str(videos / 'a.mp4'), ['run 跑步'], [1.])
    with warnings.catch_warnings():
        warnings.simplefilter('error')  # "Glyph ... missing from font(s)"
        predictions.draw_sheet([one], tmp_path / 'sheet.png')
    assert canvas.font_for('跑步') == str(eastern_font)
    assert canvas.font_for('run') == font_manager.findfont('DejaVu Sans')
    assert not caplog.records  # "findfont: Font family 'Not Here' not found"

    def panel(label: str) -> tuple[np.ndarray, np.ndarray]:
        """Place of the label, and of the score."""
        drawn = predictions._panel([(label, -1.)], (320, 240))
        return drawn[:, :250], drawn[:, 250:]

    def bright(label: str) -> int:
        return int((panel(label)[0][..., 0] > 200).sum())

    # Both letters are the same box in this font, which lacks all others.
    assert (panel('跑')[0] == panel('步')[0]).all()
    assert (panel('跑')[0] != panel('跳')[0]).any()  # no font has it
    assert bright('跑步') == 2 * bright('跑')
    assert abs(bright('run跑') - bright('run') - bright('跑')) < 9
    assert (panel('跑')[1] == panel('run')[1]).all()


def test_what_is_too_long_for_a_panel_is_cut(eastern_font):
    drawn = predictions._panel([('跑' * 99, -1.), ('run' * 99, -1.)],
                               (320, 240))
    gap = drawn[:, 270:276]
    assert (gap[..., 0] == 0).all()
    assert (drawn[:20, :260, 0] == 255).any()


def test_chinese_names_are_missed_without_a_font(videos, tmp_path,
                                                 monkeypatch):
    monkeypatch.setattr(canvas, '_EASTERN', ())
    one = predictions.Prediction(str(videos / 'a.mp4'), ['跑步'], [1.])
    with pytest.warns(UserWarning, match='missing from font'):
        predictions.draw_sheet([one], tmp_path / 'sheet.png')


def test_matplotlibs_font_stands_in_for_one_that_lacks(monkeypatch):
    monkeypatch.setitem(plt.rcParams, 'font.family', ['Not Here'])
    assert canvas.fonts()[:2] == ['Not Here', 'DejaVu Sans']
    drawn_with = canvas.names_as_written(lambda: plt.rcParams['font.family'])
    assert drawn_with() == canvas.fonts()


@pytest.mark.parametrize('title', ['run' * 11, '跑步' * 17])
def test_a_long_title_has_room_above_few_frames(title, eastern_font):
    @canvas.names_as_written
    def draw() -> Figure:
        figure = canvas.FrameTable(np.zeros((2, 8, 8, 3)), 1, title).figure
        figure.draw_without_rendering()
        return figure

    figure = draw()
    room = figure._suptitle.get_window_extent()
    assert room.x0 > 0 and room.x1 < figure.bbox.width
    plt.close(figure)


def test_videos_that_are_looked_at_are_never_written_over(
        model, videos, tmp_path):
    folder = shutil.copytree(videos, tmp_path / 'mine')
    frames = tmp_path / 'frames'
    frames.mkdir()
    cv2.imwrite(str(frames / 'img_00001.jpg'), np.zeros((48, 64, 3)))
    links = tmp_path / 'links'
    links.mkdir()
    (links / 'a.mp4').symlink_to(folder / 'a.mp4')
    before = {path: path.read_bytes() for path in tmp_path.rglob('*.*')}
    for show, *what in ((folder, folder), (folder, folder / 'c.avi'),
                        (links, links), (links / 'a.mp4', links),
                        (folder, links / 'a.mp4'),
                        (folder / 'a.mp4', folder / 'a.mp4'),
                        (folder / '..' / 'mine' / 'a.mp4', folder / 'a.mp4'),
                        (frames / 'sheet.png', frames), (frames, frames)):
        error = predict(model, *what, '--show', show).error
        assert error == (f'{show} would change the videos that are looked '
                         'at: choose another folder')
    assert before == {path: path.read_bytes()
                      for path in tmp_path.rglob('*.*')}


def test_what_cannot_be_written_is_said_at_once(model, videos, tmp_path,
                                                monkeypatch):
    (tmp_path / 'a.json').mkdir()
    (tmp_path / 'file').touch()
    monkeypatch.chdir(tmp_path)
    assert predict(model, videos, '--out', 'a.json').error == (
        'a.json is a folder: choose another name')
    assert predict(model, videos, '--show', 'file').error == (
        'file is a file: choose another name')
    assert predict(model, videos, '--out', 'file/b.json').error == (
        'file is a file: choose another folder')
    monkeypatch.setattr(os, 'access', lambda *_: False)
    for option, name in (('--out', 'new/b.json'), ('--show', 'new/folder')):
        assert 'cannot be written to: choose another folder' in predict(
            model, videos, option, name).error
    assert not Path('new').exists()


def test_videos_of_one_name_do_not_meet(model, videos, tmp_path):
    write_video(tmp_path / 'a.mp4', 12)
    done = predict(model, videos / 'a.mp4', tmp_path / 'a.mp4', '--show',
                   tmp_path / 'out')
    assert done.returncode == 0, done.stderr
    assert [len(drawn(tmp_path / 'out' / name))
            for name in ('a.mp4', 'a-2.mp4')] == [40, 12]


def test_another_decoder_and_precision_by_option(model, videos, tmp_path):
    scores = []
    for place, options in enumerate((
            [], ['--bf16'], ['--cfg-options'] + [
                f'test_dataloader.dataset.pipeline.{step}.type=PyAV{name}'
                for step, name in ((0, 'Init'), (2, 'Decode'))])):
        out = tmp_path / f'{place}.json'
        done = predict(model, videos / 'a.mp4', '--out', out, *options)
        assert done.returncode == 0, done.stderr
        scores.append(json.loads(
            out.read_text())['predictions'][0]['scores'])
    assert scores[2] == pytest.approx(scores[0], abs=1e-6)
    assert scores[1] != scores[0]
    assert scores[1] == pytest.approx(scores[0], abs=.05)


@pytest.mark.parametrize('args, message', [
    (['--stride', 1], '--stride is for sliding windows: add --window'),
    (['--fps', 1], '--fps is for sliding windows'),
    (['--out', 'result.txt'], 'is not a JSON file'),
    (['--show', 'film.gif'], 'neither .mp4 nor .png nor a folder'),
    (['--show', 'film.mp4'], 'holds one video and there are 3'),
    (['--show', 'x.png', '--window', 1], 'holds one video and there are 3'),
    (['--topk', 0], 'topk=0 is too small'),
    (['--classes', 'run,run'], 'are both named'),
    (['--labels', 'k400'], 'there are 400 labels in k400 and the model has '
     '101'),
    (['--cfg-options', 'test_pipeline.0.type=PyAVInit'],
     'changes nothing, because test_dataloader has the pipeline')])
def test_wrong_options_are_one_sentence(args, message, model, videos):
    args = ['--labels', 'ucf101', *args] if '--cfg-options' in args else args
    done = plain_tool('predict.py', *model, videos, '--device', 'cpu', *args)
    assert message in done.error
