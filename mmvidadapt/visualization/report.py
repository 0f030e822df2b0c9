"""One HTML page of a run; pictures are inside it, nothing is fetched."""

import base64
import html
import shlex
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator
from mmaction.evaluation import confusion_matrix, top_k_accuracy
from mmengine.config import Config
from torch import Tensor

from ..apis.dumped import Scores
from ..apis.run_logs import Curves, RunLog
from ..apis.video_classifier import config_classes
from ..datasets.broken_video import BrokenVideoError
from ..datasets.class_lists import class_names
from ..version import __version__
from .canvas import names_as_written, numbered, png, short, strip
from .runs import spread, test_set

#: More classes than these are drawn without names, or without numbers.
_NAMED, _NUMBERED = 40, 20
#: Rows of the lists of classes and of confused pairs.
_ROWS = 10
#: Frames of a clip, and their height in pixels.
_FRAMES, _HEIGHT = 8, 112

_STYLE = """
:root { color-scheme: light; }
body { font: 16px/1.5 system-ui, sans-serif; margin: 0; color: #1b1f24;
  background: #f5f6f8; }
header { background: #14324a; color: #fff; padding: 1.2rem max(1rem,
  calc(50vw - 36rem)); }
header h1 { margin: 0; font-size: 1.6rem; overflow-wrap: anywhere; }
header p { margin: .2rem 0 .6rem; }
nav a { color: #cfe6ff; margin-right: 1rem; display: inline-block; }
main { max-width: 72rem; margin: 0 auto; padding: 1rem; }
section { background: #fff; border: 1px solid #dde1e6; border-radius: 6px;
  padding: .4rem 1.2rem 1rem; margin: 1rem 0; overflow-x: auto; }
h2 { font-size: 1.2rem; } h3 { font-size: 1rem; margin-bottom: .3rem; }
img { max-width: 100%; height: auto; }
figure { margin: 0 0 1rem; }
table { border-collapse: collapse; }
th, td { text-align: left; padding: .2rem .9rem .2rem 0; vertical-align: top;
  border-bottom: 1px solid #eceff2; overflow-wrap: anywhere; }
thead th { overflow-wrap: normal; }
td.number { text-align: right; font-variant-numeric: tabular-nums;
  white-space: nowrap; }
pre { background: #f5f6f8; padding: .8rem; overflow-x: auto;
  font-size: .85rem; }
.missing { background: #fff6dd; border-left: 4px solid #d9a400;
  padding: .5rem .8rem; }
.wrong { color: #a4001d; } .right { color: #00693e; }
.columns { display: flex; flex-wrap: wrap; gap: 0 3rem; }
"""


@dataclass
class Report:
    """What a page is made of.

    Args:
        title (str): Name of the run.
        work_dir (str): Its folder, as commands name it.
        run (RunLog): What the run left.
        config (Config | None): Its config, with the user's changes.
        scores (Scores | None): Predictions of its test set.
        clips (int): Sample clips of each kind.
    """

    title: str
    work_dir: str
    run: RunLog
    config: Config | None
    scores: Scores | None
    clips: int

    def names(self) -> list[str]:
        """Names of the classes.

        Returns:
            list[str]: One for each class that has a score.

        Raises:
            ValueError: If their number is not that of the scores.
        """
        if self.scores is None:
            return []
        number = self.scores.scores.shape[1]
        source = config_classes(self.config) if self.config else None
        if source is None:
            return [f'class {place}' for place in range(number)]
        names = class_names(source)
        if len(names) != number:
            raise ValueError(
                f'the config names {len(names)} classes and the predictions '
                f'have scores of {number}: give predictions of this config')
        return names

    def command(self) -> str:
        """The commands that make what a page without predictions lacks."""
        files = sorted(Path(self.work_dir).glob('*.py'))
        config: object = files[0] if len(files) == 1 else 'CONFIG'
        best = [path for path in self.run.checkpoints
                if path.name.startswith('best_')]
        newest: object = max(
            best or self.run.checkpoints,
            key=lambda path: path.stat().st_mtime, default='CKPT')
        dump = Path(self.work_dir, 'predictions.pkl')
        commands: list[list[object]] = [
            ['tools/test.py', config, newest, '--dump', dump],
            ['tools/report.py', self.work_dir, '--predictions', dump]]
        return '\n'.join(shlex.join(['python', *map(str, words)])
                         for words in commands)


@names_as_written
def make_page(report: Report) -> str:
    """Write the page.

    Args:
        report (Report): What it is made of.

    Returns:
        str: HTML that fetches nothing.

    Raises:
        ValueError: If the predictions are not of this config.
    """
    names = report.names()
    parts: list[tuple[str, str]] = [
        ('Summary', _summary(report)),
        ('Curves', _curves(report.run))]
    if report.scores is None:
        parts.append(('Classes', _missing(
            'There are no predictions, so no confusion matrix and no classes '
            'here. To add them:') + f'<pre>{_text(report.command())}</pre>'))
    else:
        parts += [('Accuracy', _accuracy(report.scores)),
                  ('Confusion', _confusion(report.scores, names)),
                  ('Classes', _classes(report.scores, names))]
    parts.append(('Clips', _clips(report, names)))
    if report.run.tests:
        parts.append(('Tests', _tests(report.run)))
    parts.append(('Configuration', _configuration(report)))
    parts.append(('Environment', _table(report.run.environment.items()) if
                  report.run.environment else
                  _missing('The log tells no environment.')))
    links = ''.join(f'<a href="#{name.lower()}">{name}</a>'
                    for name, _ in parts)
    body = '\n'.join(
        f'<section id="{name.lower()}"><h2>{name}</h2>\n{content}\n</section>'
        for name, content in parts)
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, '
        'initial-scale=1">\n<link rel="icon" href="data:,">\n'
        f'<title>{_text(report.title)}</title>\n<style>{_STYLE}</style>\n'
        f'</head>\n<body>\n<header><h1>{_text(report.title)}</h1>'
        f'<p>{_text(_headline(report.run))}</p><nav>{links}</nav></header>\n'
        f'<main>\n{body}\n</main>\n</body>\n</html>\n')


def _text(value: object) -> str:
    return html.escape(str(value))


def _missing(sentence: str) -> str:
    return f'<p class="missing">{_text(sentence)}</p>'


def _table(rows: Iterable[tuple[object, object]]) -> str:
    lines = ''.join(f'<tr><th scope="row">{_text(name)}</th>'
                    f'<td>{_text(value)}</td></tr>' for name, value in rows)
    return f'<table>{lines}</table>'


def _grid(heads: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A table; numbers stand on the right."""
    def cell(value: object) -> str:
        kind = ' class="number"' if isinstance(value, (int, float)) else ''
        shown = f'{value:.2f}' if isinstance(value, float) else value
        return f'<td{kind}>{_text(shown)}</td>'
    head = ''.join(f'<th scope="col">{_text(name)}</th>' for name in heads)
    body = ''.join(f'<tr>{"".join(map(cell, row))}</tr>' for row in rows)
    return (f'<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody>'
            '</table>')


def _picture(content: bytes, kind: str, alt: str) -> str:
    data = base64.b64encode(content).decode('ascii')
    return f'<img alt="{_text(alt)}" src="data:image/{kind};base64,{data}">'


# -- what the logs tell -----------------------------------------------------


def _best(values: Mapping[int, float]) -> tuple[int, float]:
    """Where a value is largest; one that is no number is never best."""
    return max(values.items(), key=lambda item: (
        item[1] if np.isfinite(item[1]) else -np.inf))


def _headline(run: RunLog) -> str:
    """One line on the whole run."""
    told = []
    for name, values in run.validation.items():
        if '/' in name:
            step, value = _best(values)
            told.append(f'best {name} {value:.4f} at {run.unit} {step}')
            break
    last = max((max(values) for values in run.training.values()), default=0)
    told.append(f'{numbered(last, "iteration")} in '
                f'{str(run.duration).partition(".")[0]}')
    return ', '.join(told)


def _summary(report: Report) -> str:
    run, rows = report.run, []
    rows.append(('Folder', report.work_dir))
    if report.config is not None:
        rows.append(('Model', _model(report.config)))
    if run.times:
        rows.append(('Trained', f'{run.times[0][0]} to {run.times[-1][1]}'
                     + (f', in {len(run.times)} runs'
                        if len(run.times) > 1 else '')))
    for name, values in run.validation.items():
        if '/' in name:
            step, value = _best(values)
            rows.append((name, f'best {value:.4f} at {run.unit} {step}, last '
                         f'{list(values.values())[-1]:.4f}'))
    for name, values in run.training.items():
        if name.startswith('loss'):
            rows.append((name, f'last {list(values.values())[-1]:.4f}'))
    rows.append(('Checkpoints', ', '.join(
        f'{path.name} ({path.stat().st_size / 1e6:.1f} MB)'
        for path in run.checkpoints) or 'none in the folder'))
    rows.append(('Made by', f'mmvidadapt {__version__}'))
    broken = [step for step, value in run.training.get('loss', {}).items()
              if not np.isfinite(value)]
    told = '' if not broken else _missing(
        f'The loss was not finite at {len(broken)} logged iterations, first '
        f'at iteration {broken[0]}.')
    return _table(rows) + told


def _model(cfg: Config) -> str:
    """Types of the parts of a model, adapters included."""
    def kind(part: dict) -> str:
        return str(part.get('type', '?')).rpartition('.')[2]
    model = cfg.model
    parts = [kind(model)]
    for name in ('backbone', 'neck', 'cls_head'):
        if model.get(name):
            parts.append(kind(model[name]))
            parts += [kind(one) for one in model[name].get('adapters', ())]
    return ', '.join(parts)


def _curves(run: RunLog) -> str:
    """All curves in one picture, and their last values as a table."""
    step = 'iteration'

    def chosen(curves: Curves, want: Callable[[str], bool]) -> Curves:
        return {name: values for name, values in curves.items()
                if want(name)}

    panels = [
        ('Loss', step, chosen(run.training, lambda n: n.startswith('loss'))),
        ('Accuracy on training clips', step,
         chosen(run.training, lambda n: 'acc' in n)),
        ('Validation', run.unit, chosen(run.validation, lambda n: '/' in n)),
        ('Learning rate', step, chosen(run.training, lambda n: n == 'lr')),
        ('Norm of the gradient', step,
         chosen(run.training, lambda n: n == 'grad_norm')),
        ('Seconds of an iteration', step,
         chosen(run.training, lambda n: n in ('time', 'data_time')))]
    panels = [panel for panel in panels if panel[2]]
    if not panels:
        return _missing('The log holds no curves.')
    rows = -(-len(panels) // 3)
    columns = min(3, len(panels))
    figure, table = plt.subplots(
        rows, columns, figsize=(4 * columns, 3.1 * rows), squeeze=False,
        layout='constrained')
    for axes in table.flat[len(panels):]:
        axes.axis('off')
    for axes, (title, label, curves) in zip(
            table.flat[:len(panels)], panels, strict=True):
        _draw_curves(axes, curves)
        axes.set(title=title, xlabel=label)
    last = []
    for _, _, curves in panels:
        for name, values in curves.items():
            every = list(values.values())
            numbers = [one for one in every if np.isfinite(one)] or [np.nan]
            last.append((name, len(every), every[-1], min(numbers),
                         max(numbers)))
    table_of_last = _grid(('what', 'values', 'last', 'smallest', 'largest'), [
        (name, count, *(f'{value:.6g}' for value in three))
        for name, count, *three in last])
    return _picture(png(figure), 'png', 'Curves: ' + ', '.join(
        title for title, _, _ in panels)) + (
        f'<details><summary>Last values</summary>{table_of_last}</details>')


def _draw_curves(axes: Axes, curves: Curves) -> None:
    for place, (name, values) in enumerate(curves.items()):
        few = len(values) < 30
        # Wider below narrower: a loss may be the sum of one part.
        axes.plot(list(values), list(values.values()), label=name,
                  lw=1.5 + 1.2 * (len(curves) - 1 - place),
                  marker='o' if few else None, ms=3.5)
    steps = [step for values in curves.values() for step in values]
    room = .05 * (max(steps) - min(steps)) or .5
    # Steps without a number are steps all the same.
    axes.set_xlim(min(steps) - room, max(steps) + room)
    axes.grid(alpha=.3)
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    axes.ticklabel_format(axis='y', scilimits=(-3, 4))
    if len(curves) > 1 or next(iter(curves)) != 'lr':
        axes.legend(fontsize=9, framealpha=.7)


def _tests(run: RunLog) -> str:
    heads = list(dict.fromkeys(
        name for test in run.tests for name in test['metrics']
        if '/' in name))
    return _grid(('time', *heads), [
        (test['time'], *(
            f'{test["metrics"][name]:.4f}' if name in test['metrics'] else ''
            for name in heads)) for test in run.tests])


def _configuration(report: Report) -> str:
    if report.config is None:
        return _missing('The run left no config (vis_data/config.py).')
    return ('<details open><summary>The whole config</summary><pre>'
            f'{_text(report.config.pretty_text)}</pre></details>')


# -- what predictions tell --------------------------------------------------


def _accuracy(found: Scores) -> str:
    rows = [('top-1', top_k_accuracy(found.scores, found.labels, (1, ))[0])]
    if found.scores.shape[1] > 5:
        rows.append(('top-5',
                     top_k_accuracy(found.scores, found.labels, (5, ))[0]))
    # Not as MMAction2's acc/mean1, which counts a class that is predicted but
    # has no video as one that is always wrong.
    _, counts = _counts(found)
    totals = counts.sum(axis=1)
    shown = totals > 0
    rows.append(('mean over classes',
                 (counts.diagonal()[shown] / totals[shown]).mean()))
    told = '' if shown.all() else (
        f' Predicted, but of no video: {int((~shown).sum())}; acc/mean1 of a '
        'test counts these too, with accuracy 0.')
    return (f'<p>{len(found.labels)} videos of {int(shown.sum())} classes '
            f'({found.scores.shape[1]} to choose from).{told}</p>'
            + _table((name, f'{100 * value:.2f} %') for name, value in rows))


def _counts(found: Scores) -> tuple[np.ndarray, np.ndarray]:
    """Classes that are shown or predicted, and how often which as which."""
    predicted = found.scores.argmax(axis=1)
    classes = np.union1d(predicted, found.labels)
    return classes, confusion_matrix(predicted, found.labels)


def _confusion(found: Scores, names: Sequence[str]) -> str:
    classes, counts = _counts(found)
    number = len(classes)
    share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    size = min(max(4.2, .34 * number + 2.4), 11)
    figure, axes = plt.subplots(figsize=(size + 1.6, size),
                                layout='constrained')
    image = axes.imshow(100 * share, cmap='Blues', vmin=0, vmax=100,
                        interpolation='nearest')
    which = '' if number <= _NAMED else ', its number counted from 0'
    axes.set(xlabel=f'predicted class{which}',
             ylabel=f'class of the video{which}')
    if number > _NAMED:
        ticks = spread(12, number)
        axes.set_xticks(ticks, classes[ticks])
        axes.set_yticks(ticks, classes[ticks])
    else:
        labels = [short(names[k]) for k in classes]
        axes.set_xticks(range(number), labels, rotation=45, ha='right',
                        rotation_mode='anchor', fontsize=8)
        axes.set_yticks(range(number), labels, fontsize=8)
    if number <= _NUMBERED:
        for row, column in np.argwhere(counts):
            axes.text(column, row, str(counts[row, column]), ha='center',
                      va='center', fontsize=8, color='white'
                      if share[row, column] > .5 else 'black')
    figure.colorbar(image, ax=axes, shrink=.8,
                    label='share of the videos of a class, %')
    pairs = [(counts[row, column], row, column)
             for row, column in np.argwhere(counts) if row != column]
    pairs.sort(key=lambda pair: -pair[0])
    worst = _grid(('videos', 'of class', 'taken for'), [
        (int(count), names[classes[row]], names[classes[column]])
        for count, row, column in pairs[:_ROWS]]) if pairs else (
        '<p>No video is taken for another class.</p>')
    return (_picture(png(figure), 'png', f'Confusion matrix of {number} '
                     'classes') + '<h3>Most frequent confusions</h3>' + worst)


def _classes(found: Scores, names: Sequence[str]) -> str:
    classes, counts = _counts(found)
    rows = []
    for place, k in enumerate(classes.tolist()):
        total = int(counts[place].sum())
        if total:
            wrong = counts[place].copy()
            wrong[place] = 0
            other = wrong.argmax()
            rows.append((
                names[k], total, 100 * float(counts[place, place]) / total,
                f'{names[classes[other]]} ({wrong[other]})'
                if wrong[other] else ''))
    rows.sort(key=lambda row: (-row[2], -row[1]))
    heads = ('class', 'videos', 'top-1, %', 'most often taken for')
    if len(rows) <= 2 * _ROWS:
        return '<h3>All classes, the best first</h3>' + _grid(heads, rows)
    return (
        f'<div class="columns"><div><h3>The best {_ROWS}</h3>'
        f'{_grid(heads, rows[:_ROWS])}</div><div><h3>The worst {_ROWS}</h3>'
        f'{_grid(heads, rows[:-_ROWS - 1:-1])}</div></div>'
        f'<details><summary>All {len(rows)} classes</summary>'
        f'{_grid(heads, rows)}</details>')


# -- sample clips -----------------------------------------------------------


def _clips(report: Report, names: Sequence[str]) -> str:
    if not report.clips:
        return _missing('Sample clips were not asked for (--clips 0).')
    if report.config is None:
        return _missing('The run left no config that tells where its clips '
                        'are.')
    try:
        dataset = test_set(report.config)
        infos = [dataset.get_data_info(place)
                 for place in range(len(dataset))]
    except (OSError, ValueError, BrokenVideoError) as error:
        return _missing(
            f'The test set cannot be read here ({_first(error)}); '
            '--cfg-options says where it is, for example '
            'test_dataloader.dataset.data_prefix.video=FOLDER.')
    found = report.scores
    if found is None:
        places = spread(2 * report.clips, len(infos))
        return _sheets(dataset, infos, places, lambda place: '')
    labels = [info.get('label') for info in infos]
    if labels != found.labels.tolist():
        return _missing(
            f'The predictions are of {len(found.labels)} videos '
            f'which are not the {len(infos)} of the test set of the config, '
            'in its order, so their clips are not shown.')
    scores, truths = found
    predicted = scores.argmax(axis=1)
    surest = np.argsort(-scores.max(axis=1), kind='stable')
    right = predicted == truths

    def told(place: int) -> str:
        k, truth = int(predicted[place]), int(truths[place])
        kind = 'right' if k == truth else 'wrong'
        otherwise = '' if k == truth else f', is {_text(names[truth])}'
        return (f': <span class="{kind}">{_text(names[k])} '
                f'{scores[place, k]:.2f}</span>{otherwise}')

    parts = []
    for title, hit in (('Wrong, and sure of it', ~right),
                       ('Right, and sure of it', right)):
        places = _varied([int(p) for p in surest if hit[p]], labels,
                         report.clips)
        parts.append(f'<h3>{title}</h3>' + (
            _sheets(dataset, infos, places, told) if places else
            '<p>There is none.</p>'))
    return ''.join(parts)


def _varied(places: Sequence[int], labels: Sequence[int],
            number: int) -> list[int]:
    """The first places of different classes, then the first others."""
    first = list({labels[place]: place
                  for place in reversed(places)}.values())[::-1]
    chosen = first[:number]
    rest = [place for place in places if place not in chosen]
    return sorted(chosen + rest[:number - len(chosen)], key=places.index)


def _sheets(dataset: Any, infos: Sequence[Mapping], places: Sequence[int],
            told: Callable[[int], str]) -> str:
    """Frames of clips, as the model sees them, each with a line below."""
    figures = []
    for place in places:
        info = infos[place]
        name = Path(str(info.get('filename') or info.get('frame_dir')
                        or f'clip {place}')).name
        try:
            sheet = _picture(_strip(dataset[place]['inputs'][0]), 'jpeg',
                             f'Frames of {name}')
        except (BrokenVideoError, OSError) as error:
            sheet = _missing(f'cannot be read: {_first(error)}')
        figures.append(f'<figure>{sheet}<figcaption>{_text(name)}'
                       f'{told(place)}</figcaption></figure>')
    return ''.join(figures)


def _strip(clip: Tensor) -> bytes:
    """JPEG of frames ``(3, T, H, W)`` side by side."""
    frames = clip.permute(1, 2, 3, 0).clamp(0, 255).byte().numpy()
    frames = frames[spread(_FRAMES, len(frames))]
    height, width = frames.shape[1:3]
    size = (max(1, round(width * _HEIGHT / height)), _HEIGHT)
    row = strip([cv2.resize(frame, size, interpolation=cv2.INTER_AREA)
                 for frame in frames])
    return cv2.imencode('.jpg', row[..., ::-1],
                        [cv2.IMWRITE_JPEG_QUALITY, 88])[1].tobytes()


def _first(error: Exception) -> str:
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0][:300]
