"""``tools/report.py``: one HTML page of a run."""

import base64
import json
import os
import pickle
import re
import shlex
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path
from unittest import mock

import cv2
import numpy as np
import pytest
import torch
from mmengine.fileio import dump, load

from mmvidadapt.apis.dumped import Scores, read_scores
from mmvidadapt.apis.run_logs import RunLog, read_run
from mmvidadapt.visualization import report
from tests.scripts import Finished, plain_tool, video_config, write_videos

NAMES = ['a ball <rolling>', 'a jar & a lid', 'a door']


class Page(HTMLParser):
    """What a page holds; fails on tags that are not closed in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.links: list[str] = []
        self.sources: list[str] = []
        self.alts: list[str] = []
        self.text: dict[str, str] = {}
        self.rows: dict[str, list[list[str]]] = {}
        self.section = ''
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list) -> None:
        found = dict(attrs)
        if tag == 'img':
            self.sources.append(found['src'])
            self.alts.append(found['alt'])
        self.links += [found['href']] if 'href' in found else []
        assert 'src' not in found or tag == 'img'
        if tag == 'section':
            self.section = found['id']
            self.text[self.section] = ''
            self.rows[self.section] = []
        if tag == 'tr':
            self.rows[self.section].append([])
        if tag in ('td', 'th'):
            self.rows[self.section][-1].append('')
        if tag not in ('meta', 'link', 'img'):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag
        if tag == 'section':
            self.section = ''

    def handle_data(self, data: str) -> None:
        if self.section:
            self.text[self.section] += data
            if self.open[-1] in ('td', 'th'):
                self.rows[self.section][-1][-1] += data

    def row(self, section: str, name: str) -> list[str]:
        """What stands behind a name."""
        found, = [row[1:] for row in self.rows[section] if row[0] == name]
        return found

    def pictures(self) -> list[np.ndarray]:
        found = []
        for source in self.sources:
            head, _, data = source.partition(',')
            assert head in ('data:image/png;base64', 'data:image/jpeg;base64')
            found.append(cv2.imdecode(np.frombuffer(
                base64.b64decode(data), np.uint8), cv2.IMREAD_COLOR))
        return found


def run(*args: object) -> Finished:
    return plain_tool('report.py', *args)


@pytest.fixture(scope='module')
def trained(tmp_path_factory: pytest.TempPathFactory) -> dict:
    """A run of two epochs on six videos of two of three classes."""
    folder = tmp_path_factory.mktemp('report')
    videos = write_videos(folder)
    (folder / 'labels.txt').write_text('\n'.join(NAMES) + '\n')
    work_dir = folder / 'run'
    config = video_config(
        'inti/vitb_ssv2_naive.py', folder, videos, folder,
        model__cls_head__num_classes=3, train_cfg__max_epochs=2,
        train_cfg__val_interval=1)
    done = plain_tool('train.py', config, '--work-dir', work_dir,
                      '--cfg-options', 'default_hooks.checkpoint.interval=1',
                      'train_cfg.val_begin=1', 'experiment_name=report_train')
    assert done.returncode == 0, done.stderr
    return dict(folder=folder, work_dir=work_dir)


@pytest.fixture(scope='module')
def bare(trained: dict) -> Page:
    """The page of the run without predictions."""
    out = trained['folder'] / 'bare.html'
    done = run(trained['work_dir'], '--out', out, '--clips', 2)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f'wrote {out} (')
    return Page(out.read_text())


@pytest.fixture(scope='module')
def full(trained: dict, bare: Page) -> Page:
    """The page with what its own command makes."""
    test, again = re.search(r'python tools/test\.py .*\npython tools/report'
                            r'\.py .*', bare.text['classes'])[0].split('\n')
    done = plain_tool('test.py', *shlex.split(test)[2:], '--cfg-options',
                      'experiment_name=report_test')
    assert done.returncode == 0, done.stderr
    trained['pkl'] = Path(shlex.split(test)[-1])
    done = run(*shlex.split(again)[2:])
    assert done.returncode == 0, done.stderr
    return Page((trained['work_dir'] / 'report.html').read_text())


def logged(trained: dict) -> list[dict]:
    log, = trained['work_dir'].glob('*/vis_data/scalars.json')
    return [json.loads(line) for line in log.read_text().splitlines()]


def test_nothing_is_fetched(full: Page) -> None:
    assert full.links[0] == 'data:,'  # else browsers ask for an icon
    assert full.links[1:] == [f'#{name}' for name in full.text]
    for picture in full.pictures():
        assert picture is not None and picture.std() > 5
    assert len(full.alts) == len(set(full.alts)) and all(full.alts)


def test_the_page_of_a_run_without_predictions_says_so(bare: Page) -> None:
    assert list(bare.text) == ['summary', 'curves', 'classes', 'clips',
                               'configuration', 'environment']
    assert 'There are no predictions' in bare.text['classes']
    assert len(bare.sources) == 1 + 4  # curves, and clips of the test set
    assert [alt for alt in bare.alts[1:]] == [
        f'Frames of {n}.mp4' for n in (0, 2, 3, 5)]


def test_the_summary_tells_what_the_log_does(trained: dict,
                                             bare: Page) -> None:
    entries = logged(trained)
    steps = [one for one in entries if 'loss' in one]
    values = [one['acc/top1'] for one in entries if 'acc/top1' in one]
    assert len(values) == 2
    assert bare.row('summary', 'acc/top1') == [
        f'best {max(values):.4f} at epoch {1 + int(np.argmax(values))}, '
        f'last {values[-1]:.4f}']
    assert bare.row('summary', 'loss') == [f'last {steps[-1]["loss"]:.4f}']
    assert bare.row('summary', 'Model') == ['Recognizer3D, CLIPViT, '
                                            'LinearHead']
    assert 'epoch_2.pth' in bare.row('summary', 'Checkpoints')[0]
    count, last, least, most = bare.row('curves', 'loss')
    losses = [one['loss'] for one in steps]
    assert int(count) == len(losses) and float(last) == pytest.approx(
        losses[-1], rel=1e-5)
    assert (float(least), float(most)) == (
        pytest.approx(min(losses), rel=1e-5),
        pytest.approx(max(losses), rel=1e-5))
    assert {'lr', 'loss_cls', 'acc/top1', 'top1_acc', 'time'} <= {
        row[0] for row in bare.rows['curves']}


def test_configuration_and_environment_are_there(trained: dict,
                                                 bare: Page) -> None:
    assert "type='CLIPViT'" in bare.text['configuration']
    assert str(trained['folder'] / 'list.txt') in bare.text['configuration']
    assert bare.row('environment', 'PyTorch') == [torch.__version__]
    assert bare.row('environment', 'Distributed launcher') == ['none']


def test_numbers_of_predictions_are_those_of_the_test(trained: dict,
                                                      full: Page) -> None:
    result = [row for row in full.rows['tests'] if row[0] != 'time']
    heads = full.rows['tests'][0]
    assert len(result) == 1
    samples = load(trained['pkl'])
    predicted = [int(one['pred_score'].argmax()) for one in samples]
    truth = [int(one['gt_label']) for one in samples]
    assert truth == [0, 1] * 3
    top1 = sum(p == t for p, t in zip(predicted, truth, strict=True)) / 6
    assert full.row('accuracy', 'top-1') == [f'{100 * top1:.2f} %']
    assert result[0][heads.index('acc/top1')] == f'{top1:.4f}'
    assert '6 videos of 2 classes (3 to choose from)' in full.text['accuracy']
    rows = {row[0]: row for row in full.rows['classes'][1:]}
    assert set(rows) == set(NAMES[:2])
    for k in range(2):
        own = [p for p, t in zip(predicted, truth, strict=True) if t == k]
        assert rows[NAMES[k]][1] == '3'
        assert rows[NAMES[k]][2] == f'{100 * own.count(k) / 3:.2f}'


def test_clips_are_sorted_by_how_sure_the_model_is(trained: dict,
                                                   full: Page) -> None:
    samples = load(trained['pkl'])
    wrong, right = full.text['clips'].split('Right, and sure of it')
    for place, one in enumerate(samples):
        k, score = int(one['pred_score'].argmax()), one['pred_score'].max()
        line = f'{place}.mp4: {NAMES[k]} {score:.2f}'
        hit = k == int(one['gt_label'])
        assert (line in right) == hit and (line in wrong) == (not hit)
    strips = [picture for picture, alt in zip(
        full.pictures(), full.alts, strict=True) if alt.startswith('Frames')]
    assert len(strips) == 6
    # Eight squares of 112 pixels with 3 white columns between two.
    assert {strip.shape for strip in strips} == {(112, 8 * 115 - 3, 3)}


def scores_of(predicted: list[int], labels: list[int], count: int) -> Scores:
    scores = np.full((len(labels), count), .1, np.float32)
    for row, k in enumerate(predicted):
        scores[row, k] = .9
    return Scores(scores, np.array(labels))


def test_confusions_are_counted() -> None:
    found = scores_of([0, 1, 1, 2, 2, 2], [0, 0, 0, 2, 1, 2], 7)
    names = [f'name {k}' for k in range(7)]
    with mock.patch.object(report, 'png', side_effect=report.png) as drawn:
        confusion = report._confusion(found, names)
    axes = drawn.call_args.args[0].axes[0]
    np.testing.assert_allclose(  # rows: of all videos of a class
        axes.images[0].get_array(),
        [[100 / 3, 200 / 3, 0], [0, 0, 100], [0, 0, 100]])
    assert [label.get_text() for label in axes.get_yticklabels()] == names[:3]
    page = Page('<section id="a">' + confusion
                + '</section><section id="b">'
                + report._classes(found, names) + '</section>')
    assert page.rows['a'] == [['videos', 'of class', 'taken for'],
                              ['2', 'name 0', 'name 1'],
                              ['1', 'name 1', 'name 2']]
    assert page.rows['b'][1:] == [['name 2', '2', '100.00', ''],
                                  ['name 0', '3', '33.33', 'name 1 (2)'],
                                  ['name 1', '1', '0.00', 'name 2 (1)']]
    assert page.alts == ['Confusion matrix of 3 classes']


def test_the_mean_over_classes_is_over_those_that_have_videos() -> None:
    found = scores_of([0, 1, 5, 6], [0, 0, 1, 1], 7)
    text = report._accuracy(found)
    page = Page(f'<section id="a">{text}</section>')
    assert page.row('a', 'top-1') == page.row('a', 'mean over classes') == [
        '25.00 %']
    assert 'Predicted, but of no video: 2;' in page.text['a']
    assert 'of no video' not in report._accuracy(
        scores_of([1, 1], [0, 1], 7))


def test_of_many_classes_the_numbers_stand_beside_the_matrix() -> None:
    labels = list(range(0, 600, 6))
    with mock.patch.object(report, 'png', side_effect=report.png) as drawn:
        report._confusion(scores_of(labels, labels, 600), ['any'] * 600)
    axes = drawn.call_args.args[0].axes[0]
    for axis in (axes.xaxis, axes.yaxis):
        for place, label in zip(axis.get_ticklocs(), axis.get_ticklabels(),
                                strict=True):
            assert label.get_text() == str(labels[int(place)])
    assert 'number counted from 0' in axes.get_xlabel()


def test_of_many_classes_the_best_and_the_worst_are_told() -> None:
    labels = list(range(50)) * 2
    predicted = list(range(50)) + [
        k if k < 25 else 0 for k in range(50)]
    names = [f'name {k}' for k in range(50)]
    found = scores_of(predicted, labels, 50)
    text = report._classes(found, names)
    page = Page(f'<section id="b">{text}</section>')
    assert 'The best 10' in text and 'The worst 10' in text
    rows = page.rows['b']
    assert {row[2] for row in rows[1:11]} == {'100.00'}
    assert {row[2] for row in rows[12:22]} == {'50.00'}
    assert {row[3] for row in rows[12:22]} == {'name 0 (1)'}
    assert len(rows) == 2 * 11 + 51
    report._confusion(found, names)


def test_clips_of_different_classes_come_first() -> None:
    labels = [0, 1, 0, 1, 2]  # of the clips 0 to 4
    assert report._varied([4, 2, 0, 3, 1], labels, 3) == [4, 2, 3]
    assert report._varied([4, 2, 0, 3, 1], labels, 4) == [4, 2, 0, 3]
    assert report._varied([2, 0], labels, 3) == [2, 0]


# -- what the logs may hold -------------------------------------------------


def write_log(work_dir: Path, name: str, *entries: object) -> Path:
    log = work_dir / name / 'vis_data' / 'scalars.json'
    log.parent.mkdir(parents=True)
    log.write_text(''.join(
        (one if isinstance(one, str) else json.dumps(one)) + '\n'
        for one in entries))
    return log


def test_a_resumed_run_is_one_run(tmp_path: Path) -> None:
    write_log(tmp_path, '20260101_000000',
              dict(loss=3., lr=.1, epoch=1, iter=5, step=5),
              {'acc/top1': .5, 'step': 1},
              dict(loss=9., lr=.1, epoch=2, iter=10, step=10))
    write_log(tmp_path, '20260102_000000',
              dict(loss=2., lr=.1, epoch=2, iter=10, step=10),
              {'acc/top1': .25, 'step': 2})
    for name, last in (('20260101_000000', '00:01:00'),
                       ('20260102_000000', '00:00:30')):
        day = f'{name[:4]}/{name[4:6]}/{name[6:8]}'
        (tmp_path / name / f'{name}.log').write_text(
            f'{day} 00:00:00 - mmengine - INFO - first\n'
            f'{day} {last} - mmengine - INFO - last\n')
    found = read_run(tmp_path)
    assert found.training['loss'] == {5: 3., 10: 2.}
    assert found.validation == {'acc/top1': {1: .5, 2: .25}}
    assert found.by_epoch and found.duration.total_seconds() == 90
    assert report._headline(found) == (
        'best acc/top1 0.5000 at epoch 1, 10 iterations in 0:01:30')


def test_a_run_that_starts_anew_leaves_nothing_of_an_earlier_one(
        tmp_path: Path) -> None:
    for name, loss, epochs in (('20260101_000000', 3., 3),
                               ('20260102_000000', 1., 2)):
        write_log(tmp_path, name, *(
            line for n in range(1, epochs + 1) for line in (
                dict(loss=loss, lr=.1, epoch=n, step=5 * n),
                {'acc/top1': loss / 4, 'step': n})))
        day = f'{name[:4]}/{name[4:6]}/{name[6:8]}'
        (tmp_path / name / f'{name}.log').write_text(
            f'{day} 00:00:00 - first\n{day} 00:00:10 - last\n')
    found = read_run(tmp_path)
    assert found.training['loss'] == {5: 1., 10: 1.}
    assert found.validation == {'acc/top1': {1: .25, 2: .25}}
    assert len(found.times) == 1


def test_what_was_done_after_the_step_that_a_run_resumed_at_is_gone(
        tmp_path: Path) -> None:
    write_log(tmp_path, '20260101_000000', *(
        line for n in range(1, 5) for line in (
            dict(loss=3., lr=.1, epoch=n, step=5 * n),
            {'acc/top1': .9, 'step': n})))
    write_log(tmp_path, '20260102_000000', {'acc/top1': .1, 'step': 2},
              dict(loss=2., lr=.1, epoch=3, step=15))
    found = read_run(tmp_path)
    assert found.training['loss'] == {5: 3., 10: 3., 15: 2.}
    assert found.validation == {'acc/top1': {1: .9, 2: .1}}


def test_a_run_that_logged_no_training_has_times(tmp_path: Path) -> None:
    name = '20260101_000000'
    write_log(tmp_path, name, {'acc/top1': .1, 'step': 1})
    (tmp_path / name / f'{name}.log').write_text(
        '2026/01/01 00:00:00 - first\n2026/01/01 00:00:10 - last\n')
    assert read_run(tmp_path).duration.total_seconds() == 10


def test_no_number_is_neither_the_best_nor_the_largest(
        tmp_path: Path) -> None:
    write_log(tmp_path, '20260101_000000',
              '{"loss": NaN, "lr": 0.1, "step": 1}',
              *({'loss': loss, 'lr': .1, 'step': step}
                for step, loss in ((2, 2.), (3, 1.))),
              *(f'{{"loss": NaN, "lr": 0.1, "step": {n}}}' for n in (4, 9)),
              '{"acc/top1": NaN, "step": 2}', '{"acc/top1": 0.5, "step": 4}')
    found = read_run(tmp_path)
    assert report._headline(found).startswith(
        'best acc/top1 0.5000 at iteration 4, ')
    with mock.patch.object(report, 'png', side_effect=report.png) as drawn:
        text = report._curves(found)
    page = Page(f'<section id="c">{text}</section>')
    assert page.row('c', 'loss') == ['5', 'nan', '1', '2']
    loss, *_ = drawn.call_args.args[0].axes
    low, high = loss.get_xlim()
    assert low < 1 and high > 9  # steps without a number are shown


def test_curves_that_are_equal_are_all_seen() -> None:
    values = {1: 2., 2: 1.}
    with mock.patch.object(report, 'png', side_effect=report.png) as drawn:
        report._curves(RunLog(training=dict(loss=values, loss_cls=values)))
    first, second = drawn.call_args.args[0].axes[0].lines
    assert first.get_linewidth() > second.get_linewidth() + 1
    assert first.get_zorder() <= second.get_zorder()


def test_commands_may_be_pasted_whatever_the_folder_is_called(
        tmp_path: Path) -> None:
    folder = tmp_path / "one's $runs"
    folder.mkdir()
    (folder / 'a config.py').touch()
    made = report.Report('', str(folder), RunLog(
        checkpoints=[folder / 'epoch_1.pth']), None, None, 0)
    (folder / 'epoch_1.pth').touch()
    first, second = made.command().splitlines()
    assert shlex.split(first)[2:] == [
        str(folder / 'a config.py'), str(folder / 'epoch_1.pth'), '--dump',
        str(folder / 'predictions.pkl')]
    assert shlex.split(second)[2] == str(folder)


def test_a_loss_that_is_not_finite_is_told(tmp_path: Path) -> None:
    write_log(tmp_path, '20260101_000000', dict(loss=1., lr=.1, step=1),
              '{"loss": NaN, "lr": 0.1, "step": 2}')
    assert run(tmp_path).returncode == 0
    page = Page((tmp_path / 'report.html').read_text())
    assert ('not finite at 1 logged iterations, first at iteration 2'
            in page.text['summary'])
    assert 'no config' in page.text['configuration']
    assert 'no config' in page.text['clips']
    assert 'tells no environment' in page.text['environment']
    assert 'test.py CONFIG CKPT --dump' in page.text['classes']


def test_a_line_that_is_being_written_is_left_out(tmp_path: Path) -> None:
    log = write_log(tmp_path, '20260101_000000', dict(loss=1., step=1))
    with log.open('a') as file:
        file.write('{"loss": 2.')
    assert read_run(tmp_path).training == {'loss': {1: 1.}}
    with log.open('a') as file:
        file.write('\n')
    with pytest.raises(ValueError, match='line 2 of .* is no scalars'):
        read_run(tmp_path)


# -- what is refused --------------------------------------------------------


def test_a_folder_without_a_run_is_refused(tmp_path: Path) -> None:
    assert run(tmp_path / 'no').error == (
        f'{tmp_path / "no"} is no folder: give the work folder of a training')
    assert 'holds no training log' in run(tmp_path).error
    assert not list(tmp_path.iterdir())


def sample(score: torch.Tensor, *labels: int) -> dict:
    return dict(pred_score=score, gt_label=torch.tensor(labels))


def test_predictions_that_are_none_are_refused(tmp_path: Path) -> None:
    path = tmp_path / 'some.pkl'

    def error(content: object) -> str:
        dump(content, path)
        with pytest.raises(ValueError) as caught:
            read_scores(path)
        return str(caught.value)

    assert 'holds no predictions' in error({'a': 1})
    assert 'holds no video' in error([])
    assert 'each view apart' in error([sample(torch.rand(2, 3), 0)])
    assert 'several classes or none' in error([sample(torch.rand(3), 0, 1)])
    assert 'video of class 3 and scores of 3' in error(
        [sample(torch.rand(3), 3)])
    path.write_bytes(b'no pickle')
    with pytest.raises(ValueError, match='holds no predictions'):
        read_scores(path)
    with pytest.raises(FileNotFoundError, match='does not exist'):
        read_scores(tmp_path / 'no.pkl')
    dump([sample(torch.tensor([.25, .75]), 1)], path)
    found = read_scores(path)
    assert found.scores.tolist() == [[.25, .75]]
    assert found.labels.tolist() == [1]


class Harmful:
    """Asks to be made by a call."""

    def __reduce__(self) -> tuple:
        return os.mkdir, ('harmed', )


def test_predictions_run_no_code(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path('harmful.pkl').write_bytes(pickle.dumps([Harmful()]))
    with pytest.raises(ValueError, match=r'asks for (posix|os|nt)\.mkdir'):
        read_scores(Path('harmful.pkl'))
    assert not Path('harmed').exists()


def test_options_that_do_not_fit_are_refused(trained: dict, full: Page,
                                             tmp_path: Path) -> None:
    work_dir = trained['work_dir']
    assert '--clips -1' in run(work_dir, '--clips', -1).error
    other = tmp_path / 'other.pkl'
    dump([sample(torch.rand(5), 0)], other)
    assert 'names 3 classes and the predictions have scores of 5' in run(
        work_dir, '--predictions', other).error


def test_clips_that_are_elsewhere_are_named(trained: dict, full: Page,
                                            tmp_path: Path) -> None:
    def clips(*options: object) -> str:
        done = run(trained['work_dir'], '--predictions', trained['pkl'],
                   '--out', tmp_path / 'page.html', *options)
        assert done.returncode == 0, done.stderr
        return Page((tmp_path / 'page.html').read_text()).text['clips']

    key = 'test_dataloader.dataset'
    gone = clips('--cfg-options', f'{key}.data_prefix.video={tmp_path}')
    assert gone.count('cannot be read') == 6
    assert f'{tmp_path}/0.mp4 does not exist' in gone
    assert 'The test set cannot be read here' in clips(
        '--cfg-options', f'{key}.ann_file={tmp_path}/no.txt')
    fewer = tmp_path / 'fewer.txt'
    fewer.write_text('0.mp4 0\n')
    shutil.copy(trained['folder'] / 'labels.txt', tmp_path)
    assert 'are not the 1 of the test set' in clips(
        '--cfg-options', f'{key}.ann_file={fewer}')
    assert 'not asked for' in clips('--clips', 0)


# -- in a browser -----------------------------------------------------------

_CHECK = """<script>addEventListener('load', () => {
  document.documentElement.dataset.seen = JSON.stringify({
    broken: [...document.images].filter(i => !i.naturalWidth).length,
    images: document.images.length,
    wide: document.documentElement.scrollWidth - innerWidth,
    fetched: performance.getEntriesByType('resource')
      .map(e => e.name).filter(n => !n.startsWith('data:')),
    sections: [...document.querySelectorAll('section')]
      .map(s => [s.id, s.getBoundingClientRect().height > 40])});
});</script>"""


@pytest.mark.slow
@pytest.mark.parametrize('width', [1280, 500])
def test_a_browser_shows_the_whole_page(full: Page, trained: dict, width: int,
                                        tmp_path: Path) -> None:
    browser = shutil.which('chromium') or shutil.which('google-chrome')
    if browser is None:
        message = ("no browser looks at the page: install Debian's chromium "
                   '(apt-get install chromium)')
        if os.environ.get('CI') == 'true':
            pytest.fail(message)
        pytest.skip(message)
    page = tmp_path / 'page.html'
    text = (trained['work_dir'] / 'report.html').read_text()
    page.write_text(text.replace('</body>', _CHECK + '</body>'))
    command = [browser, '--headless', '--no-sandbox', '--disable-gpu',
               f'--user-data-dir={tmp_path}/profile', '--hide-scrollbars',
               f'--window-size={width},900', '--enable-logging=stderr',
               '--host-resolver-rules=MAP * ~NOTFOUND']
    done = subprocess.run(
        [*command, '--virtual-time-budget=5000', '--dump-dom', page.as_uri()],
        capture_output=True, text=True, timeout=120, check=True)
    seen = json.loads(re.search(r'data-seen="(.*?)"', done.stdout)[1].replace(
        '&quot;', '"'))
    assert 'CONSOLE' not in done.stderr
    assert seen['broken'] == 0 and seen['images'] == len(full.sources)
    assert seen['fetched'] == [] and seen['wide'] <= 0
    assert seen['sections'] == [[name, True] for name in full.text]
    picture = tmp_path / 'page.png'
    subprocess.run([*command, f'--screenshot={picture}', page.as_uri()],
                   capture_output=True, timeout=120, check=True)
    shown = cv2.imread(str(picture))
    assert shown.shape[1] == width
    assert (shown[5, 5] == [0x4a, 0x32, 0x14]).all()  # the heading's colour
    assert shown[100:].std() > 10


def test_a_run_may_hold_nothing_but_steps() -> None:
    assert report._headline(RunLog()) == '0 iterations in 0:00:00'
    assert 'no curves' in report._curves(RunLog())
