"""Pictures of the experts of a MoTE: accuracies, similarity, attention.

Source: *MoTE: Reconciling Generalization with Specialization for
Visual-Language to Video Knowledge Transfer*, NeurIPS 2024, Fig. 3, 4, 6, 7.
"""

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from mmaction.apis import init_recognizer
from mmengine.config import Config
from mmengine.runner.amp import autocast

from ..apis.cli import with_options
from ..apis.mote_experts import (
    FRAMES,
    MERGED,
    MODULATED,
    AttentionMap,
    ExpertStudy,
    has_patches,
    study_experts,
)
from ..compat.checkpoints import read_checkpoint
from ..files import whole_file
from ..models.necks.experts import has_experts
from .canvas import (
    add_scale,
    heat_map,
    names_as_written,
    numbered,
    row_name,
    save_figure,
    short,
    stretched,
    tile,
)
from .runs import (
    add_model_arguments,
    add_test_set_arguments,
    out_folder,
    progress,
    spread,
    test_loader,
)

SUMMARY = ('accuracy of each expert of MoTE and of the merged model, by '
           'class too, their similarity and attention')
EXAMPLE = ('python tools/visualize.py experts '
           'configs/mote/vitb_zeroshot_ucf101.py '
           'work_dirs/vitb_k400/epoch_30.pth --out ucf101_experts')

#: Of the parts that are no single expert.
_COLOURS = {FRAMES: '0.55', MERGED: '#D55E00', MODULATED: '#CC79A7'}
_MARKERS = {FRAMES: 'X', MERGED: 'D', MODULATED: 'P'}


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add what the picture is asked for with."""
    add_model_arguments(parser)
    add_test_set_arguments(parser)
    parser.add_argument(
        '--classes', type=int, default=20, metavar='N', help='draw the N '
        'classes whose accuracy differs most between experts (default 20)')
    parser.add_argument(
        '--maps', type=int, default=4, metavar='N', help='draw the attention '
        'of N videos (default 4), spread over those that are looked at')
    parser.add_argument(
        '--closed-set', type=Path, metavar='experts.json', help='what this '
        'wrote for the same experts on the classes they were trained on: '
        'draws both accuracies against each other (Fig. 3)')


def draw(args: argparse.Namespace) -> str:
    """Run the test set and write pictures and numbers.

    Args:
        args (argparse.Namespace): With :func:`add_options`.

    Returns:
        str: What to tell the user.

    Raises:
        ValueError: If an option, the config or the checkpoint does not fit.
    """
    told = []
    if args.classes < 1 or args.maps < 0:
        raise ValueError(
            f'--classes {args.classes} --maps {args.maps}: give at least one '
            'class, and 0 maps or more')
    cfg = with_options(args)
    check_experts(cfg, args.config, args.checkpoint)
    loader = test_loader(cfg, args.max_videos)
    model = init_recognizer(cfg, args.checkpoint, device=args.device)
    closed = None if args.closed_set is None else read_closed_set(
        args.closed_set, model.neck.num_experts)
    places = list(loader.sampler)
    mapped = spread(args.maps, len(places)) if args.maps else []
    if mapped and not has_patches(model):
        told.append(
            f'no attention maps: {type(model.backbone).__name__} has no '
            'patch tokens in the space of its frame features')
        mapped = []
    half = cfg.get('test_cfg', {}).get('fp16', False)  # as TestLoop takes it
    with autocast(enabled=half), progress(loader) as batches:
        study = study_experts(model, batches, mapped)
    names = getattr(model.cls_head, 'class_names', None) or [
        f'class {label}' for label in range(model.cls_head.num_classes)]
    numbers = as_json(study, names, places)
    numbers.update(config=args.config, checkpoint=args.checkpoint)
    folder = out_folder(args, 'experts')
    written = write_pictures(study, numbers, names, args.classes, folder)
    if closed is not None:
        draw_plane(closed, study.accuracy(), folder / 'plane.png')
        written.append('plane.png')
    with whole_file(folder / 'experts.json') as partial:
        partial.write_text(json.dumps(numbers, indent=1) + '\n')
    told += [f'{100 * value:6.2f} %  {part}'
             for part, value in study.accuracy().items()]
    told.append(f'wrote {", ".join([*written, "experts.json"])} to {folder}')
    return '\n'.join(told)


def check_experts(cfg: Config, config: str, checkpoint: str) -> None:
    """Refuse what has no experts, before anything large is built.

    Args:
        cfg (Config): The config.
        config (str): Its path.
        checkpoint (str): Path of the checkpoint.

    Raises:
        FileNotFoundError: If there is no such checkpoint.
        ValueError: If config or checkpoint have no experts.
    """
    neck = cfg.model.get('neck') or {}
    if str(neck.get('type')).rpartition('.')[2] != 'MoTE':
        raise ValueError(
            f'{config} has no MoTE, whose experts could be drawn: give a '
            'config with model.neck of type MoTE, such as those of '
            'configs/mote')
    if neck.get('num_experts') == 0:
        raise ValueError(
            f'{config} has num_experts=0, a plain transformer without '
            'experts to draw: give the config and the checkpoint of a '
            'training with experts')
    if not Path(checkpoint).is_file():
        raise FileNotFoundError(f'checkpoint {checkpoint!r} does not exist: '
                                'give the path of a .pth file')
    content: Any = read_checkpoint(checkpoint, map_location='cpu')
    state = content.get('state_dict', content)
    if 'neck.positional_embedding' in state and not has_experts(state):
        raise ValueError(
            f'{checkpoint} has a plain transformer, its experts are merged '
            'already: give the checkpoint that it was merged from')


def read_closed_set(path: Path, num_experts: int) -> dict[str, float]:
    """Accuracies by part of an earlier run.

    Args:
        path (Path): Its ``experts.json``.
        num_experts (int): Experts of the model.

    Returns:
        dict[str, float]: By part, as fractions.

    Raises:
        FileNotFoundError: If it does not exist.
        ValueError: If it is something else, or of another number of experts.
    """
    if not path.is_file():
        raise FileNotFoundError(
            f'--closed-set {path} does not exist: give the experts.json of a '
            'run on the classes of the training')
    try:
        found = {part: float(value) for part, value in
                 json.loads(path.read_text())['top1'].items()}
    except (ValueError, KeyError, TypeError, AttributeError):
        raise ValueError(
            f'--closed-set {path} has no accuracies of experts: give an '
            'experts.json that this tool wrote') from None
    experts = [part for part in found if part not in _COLOURS]
    if len(experts) != num_experts:
        raise ValueError(
            f'--closed-set {path} is of {len(experts)} experts and the model '
            f'has {num_experts}: give the experts.json of the same '
            'checkpoint')
    return found


def as_json(study: ExpertStudy, names: Sequence[str],
            places: Sequence[int]) -> dict:
    """All numbers of the pictures.

    Args:
        study (ExpertStudy): What came out.
        names (Sequence[str]): Of the classes.
        places (Sequence[int]): Of the videos in the test set.

    Returns:
        dict: Accuracies are fractions.
    """
    return dict(
        videos=len(study.labels),
        top1=study.accuracy(),
        classes=[
            dict(label=label, name=names[label],
                 videos=study.labels.count(label), top1=top1)
            for label, top1 in study.class_accuracy().items()],
        similarity=dict(
            parts=study.experts,
            video_features=study.video_similarity.tolist(),
            temporal_features=study.temporal_similarity.tolist()),
        attention=[
            dict(place=places[one.place], name=names[one.label],
                 predicted={part: names[found[one.place]] for part, found
                            in study.predicted.items()},
                 cosines={part: values.tolist()
                          for part, values in one.cosines.items()})
            for one in study.maps])


def write_pictures(study: ExpertStudy, numbers: Mapping[str, Any],
                   names: Sequence[str], num_classes: int,
                   folder: Path) -> list[str]:
    """Draw everything that one test set tells.

    Args:
        study (ExpertStudy): What came out.
        numbers (Mapping[str, Any]): Of :func:`as_json`.
        names (Sequence[str]): Of the classes.
        num_classes (int): Classes to draw.
        folder (Path): Where to write.

    Returns:
        list[str]: Names of the files.
    """
    written = ['accuracy.png', 'classes.png', 'similarity.png']
    draw_accuracy(study.accuracy(), len(study.labels),
                  len(numbers['classes']), folder / 'accuracy.png')
    draw_classes(numbers['classes'], study.experts, num_classes,
                 folder / 'classes.png')
    draw_similarity(study, folder / 'similarity.png')
    if study.maps:
        draw_attention(study.maps, study.predicted, names,
                       folder / 'attention.png')
        written.append('attention.png')
    return written


def _look(parts: Sequence[str]) -> dict[str, dict]:
    """Colour and marker of each part; experts go from dark to light."""
    experts = [part for part in parts if part not in _COLOURS]
    shades = plt.get_cmap('viridis')(np.linspace(.05, .8, len(experts)))
    marks = 'o^svp*hd<>'
    looks = {part: dict(color=shade, marker=marks[i % len(marks)])
             for i, (part, shade) in enumerate(
                 zip(experts, shades, strict=True))}
    return {part: looks.get(part) or dict(
        color=_COLOURS[part], marker=_MARKERS[part]) for part in parts}


@names_as_written
def draw_accuracy(accuracy: Mapping[str, float], num_videos: int,
                  num_classes: int, path: Path) -> None:
    """Accuracy of every part on one test set (Fig. 3, one of its axes).

    Args:
        accuracy (Mapping[str, float]): By part, as fractions.
        num_videos (int): Videos of the test set.
        num_classes (int): Classes that they show.
        path (Path): PNG file.
    """
    looks = _look(list(accuracy))
    figure, axes = plt.subplots(figsize=(7.5, 1.2 + .42 * len(accuracy)),
                                layout='constrained')
    values = [100 * value for value in accuracy.values()]
    bars = axes.barh(list(accuracy), values, height=.7,
                     color=[looks[part]['color'] for part in accuracy])
    axes.bar_label(bars, fmt='%.1f', padding=4)
    axes.invert_yaxis()
    axes.set(xlabel='top-1, %', xlim=(0, max(*values, 1) * 1.12),
             title=f'Experts on {numbered(num_videos, "video")} of '
             f'{numbered(num_classes, "class")}')
    axes.grid(axis='x', alpha=.3)
    axes.set_axisbelow(True)
    save_figure(figure, path)


@names_as_written
def draw_plane(closed: Mapping[str, float], other: Mapping[str, float],
               path: Path) -> None:
    """Accuracy on trained classes against that on another test set (Fig. 3).

    Args:
        closed (Mapping[str, float]): By part, on the classes of the
            training.
        other (Mapping[str, float]): By part, on the other test set.
        path (Path): PNG file.
    """
    figure, axes = plt.subplots(figsize=(6.6, 5), layout='constrained')
    for part, look in _look([p for p in other if p in closed]).items():
        axes.scatter(100 * closed[part], 100 * other[part], s=110,
                     label=part, edgecolors='white', zorder=3, **look)
    axes.set(xlabel='top-1 on the classes of the training, %',
             ylabel='top-1 on this test set, %',
             title='Specialization against generalization')
    axes.margins(.12)
    axes.grid(alpha=.3)
    figure.legend(loc='outside right upper', frameon=False)
    save_figure(figure, path)


@names_as_written
def draw_classes(classes: Sequence[Mapping[str, Any]],
                 parts: Sequence[str], number: int, path: Path) -> None:
    """Accuracy of merged model and experts by class (Fig. 4).

    Args:
        classes (Sequence[Mapping[str, Any]]): With ``name``, ``videos`` and
            ``top1`` by part.
        parts (Sequence[str]): Which parts.
        number (int): Draw so many classes, those with the largest spread.
        path (Path): PNG file.
    """
    def spread_of(row: Mapping[str, Any]) -> tuple[float, int]:
        values = [row['top1'][part] for part in parts]
        return max(values) - min(values), row['videos']

    chosen = sorted(classes, key=spread_of, reverse=True)[:number]
    looks = _look(parts)
    height = len(chosen) * (.2 + .055 * len(parts))
    figure, axes = plt.subplots(figsize=(9, 1.7 + height),
                                layout='constrained')
    rows = np.arange(len(chosen))
    # Beside each other within a row, since few videos give equal values.
    steps = np.linspace(-.34, .34, len(parts))
    for row in rows[::2]:
        axes.axhspan(row - .5, row + .5, color='0.95', zorder=0)
    for part, step in zip(parts, steps, strict=True):
        axes.scatter([100 * one['top1'][part] for one in chosen],
                     rows + step, s=70 if part == MERGED else 42,
                     label=part, zorder=3, clip_on=False, **looks[part])
    axes.set_yticks(rows, [f'{short(one["name"])} ({one["videos"]})'
                           for one in chosen])
    axes.set(xlim=(-2, 102), ylim=(len(chosen) - .5, -.5),
             xlabel='top-1, %  (number of videos in brackets)')
    axes.grid(axis='x', alpha=.4)
    total = numbered(len(classes), 'class')
    axes.set_title(
        f'{total}, those that experts differ most on first'
        if len(chosen) == len(classes) else
        f'The {len(chosen)} of {total} that experts differ most on')
    figure.legend(loc='outside lower center', ncols=min(len(parts), 7),
                  frameon=False)
    save_figure(figure, path)


@names_as_written
def draw_similarity(study: ExpertStudy, path: Path) -> None:
    """Similarity between experts and merged model (Fig. 7).

    Args:
        study (ExpertStudy): What came out.
        path (Path): PNG file.
    """
    names = study.experts
    size = 1.6 + .62 * len(names)
    figure, table = plt.subplots(1, 2, figsize=(2 * size + 1.2, size),
                                 layout='constrained')
    figure.suptitle('Cosine between experts, mean over '
                    + numbered(len(study.labels), 'video'), fontsize=13)
    for axes, values, title in (
            (table[0], study.video_similarity,
             'features of videos (frames + temporal)'),
            (table[1], study.temporal_similarity, 'temporal features')):
        lowest = min(float(values.min()), .999)
        digits = 2 if lowest < .9 else 3
        image = axes.imshow(values, cmap='viridis', vmin=lowest, vmax=1)
        axes.set_title(title, fontsize=11)
        axes.set_xticks(range(len(names)), names, rotation=40, ha='right',
                        rotation_mode='anchor')
        axes.set_yticks(range(len(names)), names)
        for row, line in enumerate(values):
            for column, value in enumerate(line):
                dark = (value - lowest) / (1 - lowest) < .6
                axes.text(column, row, f'{value:.{digits}f}', ha='center',
                          va='center', fontsize=9,
                          color='white' if dark else 'black')
        figure.colorbar(image, ax=axes, shrink=.8)
    save_figure(figure, path)


@names_as_written
def draw_attention(maps: Sequence[AttentionMap],
                   predicted: Mapping[str, Sequence[int]],
                   names: Sequence[str], path: Path) -> None:
    """Where in a frame each expert's video feature finds itself (Fig. 6).

    ::

        a video | frame | frames alone | merged | expert 0 | expert 1 | ...

    Every map has a scale of its own: 0 is its smallest cosine, 1 its
    largest.

    Args:
        maps (Sequence[AttentionMap]): One for each row.
        predicted (Mapping[str, Sequence[int]]): By part, the classes given
            to all videos.
        names (Sequence[str]): Of the classes.
        path (Path): PNG file.
    """
    parts = [FRAMES, *(p for p in maps[0].cosines if p != FRAMES)]
    figure = plt.figure(
        figsize=(1.9 * len(parts) + 4.1, 2.1 * len(maps) + 1),
        layout='constrained')
    figure.suptitle('Patches that resemble the feature of the video',
                    fontsize=13)
    table = figure.add_gridspec(len(maps), len(parts) + 2,
                                width_ratios=[1.1] + [1] * (len(parts) + 1))
    images = []
    for row, one in enumerate(maps):
        row_name(figure, table[row, 0], _wrapped(names[one.label]))
        axes = figure.add_subplot(table[row, 1])
        tile(axes, one.frame)
        if row == 0:
            axes.set_title('middle frame', fontsize=10)
        for column, part in enumerate(parts, start=2):
            axes = figure.add_subplot(table[row, column])
            values = one.cosines[part]
            images.append(heat_map(axes, one.frame / 255, stretched(values),
                                   'inferno'))
            if row == 0:
                axes.set_title(part, fontsize=10)
            found = predicted[part][one.place]
            right = found == one.label
            axes.set_xlabel(
                f'{values.min():.2g} to {values.max():.2g}\n'
                + ('✓ ' if right else '✗ ') + _wrapped(names[found], 20),
                fontsize=8, color='#007A4D' if right else '#B00020')
    add_scale(figure, images[-1])
    figure.supxlabel(
        'colours: cosine with the patch, 0 is the smallest of the map, 1 the '
        'largest\nbelow each map: these two, and the class that this part '
        'predicts, ✓ if right', fontsize=10)
    save_figure(figure, path)


def _wrapped(name: str, width: int = 16) -> str:
    """A name on up to two lines."""
    lines = ['']
    for word in name.replace('_', ' ').split():
        word = word if len(word) <= width else word[:width - 1] + '…'
        if lines[-1] and len(lines[-1]) + 1 + len(word) > width:
            lines.append(word)
        else:
            lines[-1] = f'{lines[-1]} {word}'.strip()
    if len(lines) > 2:
        lines[1:] = [lines[1].rstrip('…') + ' …']
    return '\n'.join(lines)
