#!/usr/bin/env python
"""Train a method and what it is compared with on videos made here."""

import argparse
import contextlib
import hashlib
import io
import json
import logging
import os
import re
import shutil
import subprocess
import sys
import time
import warnings
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, Optional, Sequence

if __name__ == '__main__':
    # What the libraries say while they load is not for a first look.
    logging.disable(logging.WARNING)
    warnings.filterwarnings('ignore')

try:
    import mmvidadapt  # noqa: F401  (mends the stack first)
except ImportError as error:  # written for the user, by mmvidadapt.compat
    sys.exit(f'error: {error}')

import av
import cv2
import numpy as np
import torch
from mmaction.registry import MODELS as REGISTRY
from mmaction.structures import ActionDataSample
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.fileio import load
from mmengine.registry import init_default_scope
from mmengine.runner import Runner
from torch import nn
from tqdm import tqdm

from mmvidadapt.apis.cli import make_parser, run_tool
from mmvidadapt.apis.complexity import config_complexity, input_shape
from mmvidadapt.apis.video_pipeline import VideoPipeline
from mmvidadapt.datasets import BrokenVideoError, VideoReader
from mmvidadapt.files import whole_file
from mmvidadapt.quickstart import figures, pretrain, synthetic
from mmvidadapt.quickstart.methods import (
    DEFAULT,
    METHODS,
    Method,
    Row,
    Training,
)
from mmvidadapt.quickstart.results import Cost
from mmvidadapt.quickstart.sentences import Sentences
from mmvidadapt.quickstart.studies import ClipList

ROOT = Path(__file__).resolve().parents[1]
#: Where configs/quickstart look for the work folder, and the package for that
#: of text features.
WORK_VARIABLE, CACHE_VARIABLE = 'MMVIDADAPT_QUICKSTART', 'MMVIDADAPT_CACHE'
#: Folders of the work folder that belong to no data set and no model.
WEIGHTS, TEXTS, DESCRIPTIONS = 'clip', 'texts', 'descriptions'
_STEP = re.compile(r'Epoch\(train\)\s+\[\s*(\d+)\]\[\s*(\d+)/\s*(\d+)\]'
                   r'.*?\bloss: ([\d.naif]+)')
_TESTED = re.compile(r'Epoch\(test\)\s+\[\s*(\d+)/\s*(\d+)\]')


@dataclass(frozen=True)
class Budget:
    """How much is made, trained and asked for.

    Args:
        videos (dict[str, VideoSettings]): Of the data sets, by folder;
            methods that are asked the same share them.
        pretrain (PretrainSettings): Of the small CLIP, which all share.
        training (Training): Of the method's models.
    """

    videos: Dict[str, synthetic.VideoSettings]
    pretrain: pretrain.PretrainSettings
    training: Training


def full_budget(method: Method, seed: int) -> Budget:
    """The budget of the README's command."""
    return Budget(method.study.videos(seed, short=False),
                  pretrain.PretrainSettings(seed), method.full)


def ci_budget(method: Method, seed: int) -> Budget:
    """Fewer clips and steps; the targets still tell order from none."""
    return Budget(method.study.videos(seed, short=True),
                  pretrain.PretrainSettings(seed, steps=300), method.short)


def parse_args(argv: Optional[Sequence[str]] = None) -> argparse.Namespace:
    """Read the command line."""
    parser = make_parser(
        'Make a small video data set, pretrain a small CLIP on still '
        'pictures, train the\nmodels of a method with the same budget, test '
        'them, and draw what they see. Stages\nthat are done are kept and '
        'not repeated; a stopped training goes on.',
        'python tools/quickstart.py --work-dir .quickstart')
    parser.add_argument(
        '--method', choices=list(METHODS), default=DEFAULT,
        help=f'what is trained; default {DEFAULT}')
    parser.add_argument(
        '--work-dir', default='.quickstart', metavar='FOLDER',
        help='where everything goes; default .quickstart')
    parser.add_argument(
        '--ci', action='store_true',
        help='a shorter training with lower targets, by the same code')
    parser.add_argument('--fresh', action='store_true',
                        help='repeat all stages')
    parser.add_argument('--seed', type=int, default=0,
                        help='seed of data, weights and order; default 0')
    return parser.parse_args(argv)


def progress(total: int, unit: str) -> tqdm:
    """A progress bar with the time left; rare lines where nobody watches."""
    watched = sys.stderr.isatty()
    return tqdm(total=total, unit=f' {unit}', leave=False, ncols=78,
                ascii=not watched, mininterval=.2 if watched else 10,
                bar_format='      {percentage:3.0f}% |{bar}| {n_fmt}/'
                '{total_fmt}{unit}  {remaining} left{postfix}')


class Stages:
    """Numbered headlines, and how long each stage took.

    Args:
        total (int): Number of stages.
    """

    def __init__(self, total: int) -> None:
        self.total = total
        self.seconds: Dict[str, float] = {}

    @contextlib.contextmanager
    def __call__(self, name: str) -> Iterator[Callable[[str], None]]:
        """Announce a stage; yields the function that tells its outcome."""
        print(f'[{len(self.seconds) + 1}/{self.total}] {name}', flush=True)
        start = time.perf_counter()
        yield lambda text: print(f'      {text}', flush=True)
        self.seconds[name] = time.perf_counter() - start


def check_system(folder: Path) -> str:
    """Write a video with OpenCV and read it back.

    Args:
        folder (Path): Where to try it.

    Returns:
        str: What was found.

    Raises:
        ValueError: If one of them cannot, with what to install.
    """
    path = folder / 'check.mp4'
    frames = np.zeros((8, 64, 64, 3), np.uint8)
    frames[4:] = 200
    synthetic.write_video(path, frames, 8)
    found = f'OpenCV {cv2.__version__} writes mp4, PyAV {av.__version__}'
    try:
        with VideoReader(path) as reader:
            read = reader.read([0, len(reader) - 1])
    except BrokenVideoError as error:
        raise ValueError(
            f'{found} cannot read it: install the versions of '
            'requirements/pinned.txt') from error
    path.unlink()
    if len(reader) != 8 or read[0].mean() > 30 or read[1].mean() < 170:
        raise ValueError(
            f'{found} reads other frames: install the versions of '
            'requirements/pinned.txt')
    return (f'{found} reads it; torch {torch.__version__} on '
            + (torch.cuda.get_device_name() if torch.cuda.is_available()
               else f'{os.cpu_count()} CPU cores'))


def make_data(root: Path, settings: synthetic.VideoSettings) -> bool:
    """Write the data set unless it is there; whether it was."""
    if synthetic.is_complete(root, settings):
        return True
    with progress(settings.num_clips, 'videos') as bar:
        for count in synthetic.write_dataset(root, settings):
            bar.update(count)
    return False


def make_clip(path: Path, settings: pretrain.PretrainSettings) -> dict:
    """Pretrain the small CLIP unless it is there.

    Args:
        path (Path): Weights file.
        settings (PretrainSettings): Budget and seed.

    Returns:
        dict: ``key``, ``caption_accuracy`` and whether it was ``cached``.
    """
    facts_path = path.with_suffix('.json')
    key = pretrain.pretrain_key(settings)
    if path.exists() and facts_path.exists():
        facts = json.loads(facts_path.read_text())
        if facts['key'] == key:
            return dict(facts, cached=True)
    facts_path.unlink(missing_ok=True)
    with progress(settings.steps, 'steps') as bar:

        def report(step: pretrain.Report) -> None:
            bar.set_postfix_str(f'loss {step.loss:.2f}', refresh=False)
            bar.update()

        model = pretrain.pretrain(settings, report)
    pretrain.save_weights(model, path)
    facts = dict(key=key, caption_accuracy=pretrain.caption_accuracy(
        model, settings.seed))
    write_json(facts_path, facts)
    return dict(facts, cached=False)


def write_json(path: Path, content: dict) -> None:
    """Write JSON, whole or not at all."""
    with whole_file(path) as part:
        part.write_text(json.dumps(content, indent=2) + '\n')


def run_script(command: Sequence[str], log: Path, work: Path,
               follow: Callable[[str], None]) -> None:
    """Run one of the tools, its output in a file.

    Args:
        command (Sequence[str]): Script below the repository and its options.
        log (Path): Where its output goes.
        work (Path): Work folder, for the configs.
        follow (Callable[[str], None]): Sees every line.

    Raises:
        ValueError: If the script fails; the message ends with its last line.
    """
    env = dict(os.environ, PYTHONUNBUFFERED='1')
    env[WORK_VARIABLE] = str(work)
    env['PYTHONPATH'] = os.pathsep.join(
        [str(ROOT), *filter(None, [env.get('PYTHONPATH')])])
    lines: List[str] = []
    with open(log, 'w') as output, subprocess.Popen(
        [sys.executable, str(ROOT / command[0]), *command[1:]], env=env,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            text=True) as process:
        try:
            for line in process.stdout:
                output.write(line)
                lines = [*lines[-20:], line.strip()]
                follow(line)
        except BaseException:
            process.terminate()
            raise
    if process.returncode:
        last = [line for line in lines if line] or ['no output']
        raise ValueError(f'{command[0]} stopped with status '
                         f'{process.returncode} ({last[-1]}): see {log}')


def config_path(model: str) -> Path:
    """Config file of a model; its name is also that of its work folder."""
    return ROOT / 'configs' / 'quickstart' / f'{model}.py'


def train_options(epochs: int, seed: int) -> List[str]:
    """Options of ``tools/train.py`` for a number of epochs."""
    return [
        '--seed', str(seed), '--cfg-options',
        f'train_cfg.max_epochs={epochs}',
        f'param_scheduler.1.T_max={epochs - 1}',
        f'param_scheduler.1.end={epochs}'
    ]


def train(model: str, work: Path, budget: Budget) -> bool:
    """Train a model through ``tools/train.py`` unless that is done.

    Args:
        model (str): Name of its config.
        work (Path): Work folder.
        budget (Budget): Epochs and what the data and weights depend on.

    Returns:
        bool: Whether it was done before.
    """
    folder, epochs = work / model, budget.training.epochs
    options = train_options(epochs, budget.pretrain.seed)
    cfg = Config.fromfile(config_path(model))
    described = cfg.model.get('consistency') or {}
    key = hashlib.sha256('\n'.join([
        json.dumps(cfg.to_dict(), sort_keys=True),
        *(Path(described[kind]).read_text() for kind in Sentences._fields
          if kind in described),
        *map(synthetic.data_key, budget.videos.values()),
        pretrain.pretrain_key(budget.pretrain), *options
    ]).encode()).hexdigest()[:16]
    stamp = folder / 'key.txt'
    if stamp.exists() and stamp.read_text() == key:
        if (folder / f'epoch_{epochs}.pth').exists():
            return True
        options = ['--resume', *options]
    else:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        stamp.write_text(key)
    with progress(epochs, 'epochs') as bar:

        def follow(line: str) -> None:
            found = _STEP.search(line)
            if found:
                epoch, step, steps = map(int, found.groups()[:3])
                bar.total = epochs * steps
                bar.unit = ' steps'
                bar.set_postfix_str(f'loss {found[4]}', refresh=False)
                bar.update((epoch - 1) * steps + step - bar.n)

        run_script(['tools/train.py', str(config_path(model)), '--work-dir',
                    str(folder), *options], folder / 'train.log', work,
                   follow)
    return False


def test(model: str, work: Path, checkpoint: Path, name: str,
         options: Dict[str, Any]) -> np.ndarray:
    """Scores of a list, through ``tools/test.py --dump``.

    Args:
        model (str): Name of its config.
        work (Path): Work folder.
        checkpoint (Path): Checkpoint.
        name (str): Name of the files that are left.
        options (Dict[str, Any]): Options of the config, the list among them.

    Returns:
        np.ndarray: ``(N, K)`` in the order of the list.
    """
    folder = work / model
    dump = folder / f'{name}.pkl'
    with progress(1, 'batches') as bar:

        def follow(line: str) -> None:
            found = _TESTED.search(line)
            if found:
                bar.total = int(found[2])
                bar.update(int(found[1]) - bar.n)

        run_script([
            'tools/test.py', str(config_path(model)), str(checkpoint),
            '--work-dir', str(folder / 'test'), '--dump', str(dump),
            '--cfg-options',
            *(f'{key}={value}' for key, value in options.items())
        ], folder / f'{name}.log', work, follow)
    # A pickle, but one that was written a moment ago, by us.
    return np.stack([np.asarray(sample['pred_score'])
                     for sample in load(dump)])


def score_rows(method: Method, work: Path, checkpoints: Dict[str, Path],
               clips: ClipList) -> Dict[str, np.ndarray]:
    """Scores of a list by rows that no checkpoint of their own has.

    They are the models of others with an option changed, or without
    training, and are tested in this process, on clips that are read once.

    Args:
        method (Method): The method.
        work (Path): Work folder.
        checkpoints (Dict[str, Path]): By name of the model.
        clips (ClipList): The list.

    Returns:
        dict[str, np.ndarray]: By name of the row, ``(N, K)`` in the order of
        the list.
    """
    init_default_scope('mmaction')
    scores: Dict[str, np.ndarray] = {}
    batches: List[dict] = []
    for name, row in method.rows.items():
        if row.plain:
            continue
        cfg = test_config(method, row, work, clips)
        if not batches:
            batches = list(Runner.build_dataloader(cfg.test_dataloader))
        recognizer = load_model(
            cfg, checkpoints[row.model] if row.trained else None)
        with torch.no_grad():
            found = [sample.pred_score for batch in batches
                     for sample in recognizer.test_step(batch)]
        scores[name] = torch.stack(found).cpu().numpy()
    return scores


def test_config(method: Method, row: Row, work: Path,
                clips: ClipList) -> Config:
    """Config of a row of the table, for a list."""
    cfg = Config.fromfile(config_path(method.models[row.model]))
    cfg.merge_from_dict({**method.study.options(work, clips), **row.options})
    return cfg


def load_model(cfg: Config, checkpoint: Optional[Path]) -> nn.Module:
    """A model in eval mode, as trained or as training starts.

    Args:
        cfg (Config): Its config.
        checkpoint (Path | None): Checkpoint; None for no training.

    Returns:
        nn.Module: On the CPU.
    """
    from mmaction.apis import init_recognizer
    with contextlib.redirect_stdout(io.StringIO()):
        recognizer = init_recognizer(
            cfg, checkpoint and str(checkpoint), device='cpu')
    init_default_scope('mmaction')
    if checkpoint is None:
        recognizer.init_weights()
    return recognizer


def labels_of(work: Path, clips: ClipList) -> np.ndarray:
    """Labels of a list, in its order."""
    lines = (work / clips.folder / f'{clips.name}.txt').read_text()
    return np.array([int(line.rsplit(' ', 1)[1])
                     for line in lines.splitlines()])


def infer(cfg: Config, checkpoint: Path, video: Path) -> str:
    """What MMAction2's inferencer says about a video.

    Args:
        cfg (Config): Of the model.
        checkpoint (Path): Checkpoint.
        video (Path): Video file, in a data set with a label file.

    Returns:
        str: The best class and its score.
    """
    from mmaction.apis.inferencers import MMAction2Inferencer
    labels = video.parents[1] / 'labels.txt'
    with contextlib.redirect_stdout(io.StringIO()):
        inferencer = MMAction2Inferencer(
            rec=cfg, rec_weights=str(checkpoint), device='cpu',
            label_file=str(labels))
        prediction = inferencer(str(video))['predictions'][0]
    label = int(prediction['rec_labels'][0][0])
    score = max(prediction['rec_scores'][0])
    name = labels.read_text().splitlines()[label]
    return f'{name} ({100 * score:.0f} %)'


def look_at(model: str, checkpoint: Path, video: Path) -> figures.Look:
    """Give a video to a trained model, as its tests do.

    Args:
        model (str): Name of its config.
        checkpoint (Path): Checkpoint.
        video (Path): Video file.

    Returns:
        figures.Look: The model and the clip.
    """
    recognizer = load_model(Config.fromfile(config_path(model)), checkpoint)
    data = pseudo_collate([VideoPipeline(recognizer.cfg).read(video)])
    frames = data['inputs'][0][0]  # (3, T, H, W), pixels
    window = getattr(recognizer.backbone, 'window', 1)
    frames = frames[:, window // 2::window]
    return figures.Look(
        recognizer,
        frames.permute(1, 2, 3, 0).numpy().astype(np.uint8),
        recognizer.data_preprocessor(data)['inputs'].flatten(0, 1))


def changed_weights(model: str, recognizer: nn.Module) -> List[str]:
    """Names of CLIP's weights that are not what they were pretrained to.

    Args:
        model (str): Name of a config.
        recognizer (nn.Module): Its model, after training.

    Returns:
        list[str]: Of the image tower, and of the text tower if the model has
        one; bits count.
    """
    init_default_scope('mmaction')
    fresh = REGISTRY.build(Config.fromfile(config_path(model)).model)
    fresh.init_weights()
    # Checkpoints keep a weight that differs, and leave out what does not.
    trained = dict(recognizer.named_parameters())
    return [name for name, value in fresh.named_parameters()
            if name.startswith(('backbone.encoder.', 'text_encoder.'))
            and not torch.equal(value, trained[name])]


def time_steps(models: Sequence[str], repeats: int = 9) -> Dict[str, float]:
    """Seconds of a training step of each model, forward and backward.

    The models take turns in one process, and the median counts, so that
    other work on the machine slows all of them.

    Args:
        models (Sequence[str]): Names of their configs.
        repeats (int): Timed steps of each model.

    Returns:
        dict[str, float]: Seconds by name.
    """
    device = 'cuda' if torch.cuda.is_available() else 'cpu'
    init_default_scope('mmaction')
    built, batches = {}, {}
    seconds: Dict[str, List[float]] = {name: [] for name in models}
    for name in models:
        cfg = Config.fromfile(config_path(name))
        built[name] = REGISTRY.build(cfg.model)
        built[name].init_weights()
        built[name].to(device).train()
        size = cfg.train_dataloader.batch_size
        batches[name] = dict(
            inputs=[torch.zeros(input_shape(cfg)[1:])] * size,
            data_samples=[ActionDataSample().set_gt_label(0)
                          for _ in range(size)])
    for turn in range(repeats + 2):
        for name, model in built.items():
            start = time.perf_counter()
            data = model.data_preprocessor(batches[name], training=True)
            model.parse_losses(model(**data, mode='loss'))[0].backward()
            if device == 'cuda':
                torch.cuda.synchronize()
            if turn >= 2:  # the first ones allocate memory
                seconds[name].append(time.perf_counter() - start)
    return {name: float(np.median(taken)) for name, taken in seconds.items()}


def prepare_folder(work: Path, fresh: bool) -> None:
    """Make the work folder; with ``fresh``, empty what is ours in it.

    Models of other methods go too: they rest on the weights that are removed.
    """
    if fresh:
        names = [name for method in METHODS.values()
                 for name in (*method.study.data, *method.models.values())]
        for name in (WEIGHTS, TEXTS, DESCRIPTIONS, *names):
            shutil.rmtree(work / name, ignore_errors=True)
    work.mkdir(parents=True, exist_ok=True)


def test_all(method: Method, work: Path, checkpoints: Dict[str, Path]
             ) -> Dict[str, Any]:
    """Test all rows of the table on all lists of the study.

    Args:
        method (Method): The method.
        work (Path): Work folder.
        checkpoints (Dict[str, Path]): By name of the model.

    Returns:
        dict[str, Any]: What the study measured, by name of the row.
    """
    study = method.study
    scores: Dict[str, Dict[str, np.ndarray]] = {
        name: {} for name in method.rows}
    for kind, clips in study.lists.items():
        for name, found in score_rows(method, work, checkpoints,
                                      clips).items():
            scores[name][kind] = found
        for name, row in method.rows.items():
            if row.plain:
                scores[name][kind] = test(
                    method.models[row.model], work, checkpoints[row.model],
                    kind, study.options(work, clips))
    labels = {kind: labels_of(work, clips)
              for kind, clips in study.lists.items()}
    return {name: study.measure(found, labels)
            for name, found in scores.items()}


def row_cost(row: Row, costs: Dict[str, Cost]) -> Optional[Cost]:
    """Cost of a row of the table.

    Args:
        row (Row): The row.
        costs (Dict[str, Cost]): By name of the model.

    Returns:
        Cost | None: None for a trained model that is tested otherwise.
    """
    cost = costs[row.model]
    if not row.trained:
        return cost._replace(seconds=None, trained=0)
    return cost if row.plain else None


def main(args: argparse.Namespace) -> int:
    """Run all stages; the exit status says whether the targets were met."""
    start = time.perf_counter()
    method = METHODS[args.method]
    study = method.study
    budget = (ci_budget if args.ci else full_budget)(method, args.seed)
    epochs = budget.training.epochs
    work = Path(args.work_dir).resolve()
    os.environ[WORK_VARIABLE] = str(work)
    os.environ[CACHE_VARIABLE] = str(work / TEXTS)
    prepare_folder(work, args.fresh)
    both = 'both' if len(method.models) == 2 else f'all {len(method.models)}'
    width = max(map(len, method.models)) + 1
    print(f'{method.question}\nEverything goes to {work}\n')
    stages = Stages(6)

    with stages('Check this machine') as say:
        say(check_system(work))

    with stages('Make videos: moving shapes, as mp4 files') as say:
        for folder, videos in budget.videos.items():
            cached = make_data(work / folder, videos)
            say(f'{videos.num_clips} videos of {len(videos.classes)} classes'
                + (f' in {folder}' if len(budget.videos) > 1 else '')
                + (', made before' if cached else ''))
        for line in (*study.about(), *study.write_texts(work)):
            say(line)

    weights = work / WEIGHTS / 'small_clip.pt'
    with stages('Pretrain a small CLIP on still pictures with captions'
                ) as say:
        clip = make_clip(weights, budget.pretrain)
        say(f'finds the caption of {100 * clip["caption_accuracy"]:.0f} % '
            'of unseen pictures'
            + (', trained before' if clip['cached'] else ''))

    checkpoints, histories = {}, {}
    with stages(f'Train {both} models from it, {epochs} epochs each '
                '(tools/train.py)') as say:
        for name, model in method.models.items():
            cached = train(model, work, budget)
            checkpoints[name] = work / model / f'epoch_{epochs}.pth'
            histories[name] = figures.read_history(work / model)
            last = list(histories[name].accuracy.values())[-1]
            say(f'{name + ":":{width}} {100 * last:.0f} % of the validation '
                'clips' + (', trained before' if cached else ''))

    with stages(f'Test {both}, {study.tests} (tools/test.py)') as say:
        results = test_all(method, work, checkpoints)
        missed = [sentence for name, found in results.items()
                  for sentence in study.missed(
                      name, found, budget.training.targets.get(name))]
        say(', '.join(f'{len(labels_of(work, clips))} clips {kind}'
                      for kind, clips in study.lists.items()))

    picture = work / method.picture
    curves = work / f'{method.prefix}curves.png'
    seen: List[str] = []
    with stages("Look at one video (MMAction2's inferencer), draw figures"
                ) as say:
        for sentence, clips in study.shown.items():
            cfg = test_config(method, Row(method.main), work, clips)
            seen.append(infer(cfg, checkpoints[method.main],
                              work / clips.folder / clips.name))
            say(f'{sentence} ({clips.folder}/{clips.name}):')
            say(seen[-1])
        folder, name = next(iter(study.shown.values()))
        looks = {model: look_at(config, checkpoints[model],
                                work / folder / name)
                 for model, config in method.models.items()}
        method.draw(figures.Findings(looks, study.title, results), picture)
        number = len(study.classes)
        blind = 1 - len(synthetic.motion_pairs(study.classes)) / number
        figures.draw_curves(histories, blind, number, curves)
        if method.frozen:
            changed = {name: changed_weights(method.models[name],
                                             looks[name].recognizer)
                       for name in method.frozen}
            missed += [f'training {name} changed weights of the frozen CLIP '
                       f'({", ".join(found)})'
                       for name, found in changed.items() if found]
            if not any(changed.values()):
                say('after training, the frozen CLIP is what it was, bit '
                    'for bit')

    step_seconds = time_steps(list(method.models.values()))
    counts = {name: config_complexity(
        Config.fromfile(config_path(model))).total
        for name, model in method.models.items()}
    costs = {name: Cost(counts[name].all_macs, step_seconds[model],
                        counts[name].trained_params)
             for name, model in method.models.items()}
    print('\n' + study.table([
        (name, results[name], row_cost(row, costs))
        for name, row in method.rows.items()]) + '\n')
    print(study.notes + '\n')
    seconds = time.perf_counter() - start
    summary = work / f'{method.prefix}summary.json'
    write_json(summary, dict(
        method=args.method, ci=args.ci, seed=args.seed, seconds=seconds,
        stage_seconds=stages.seconds, budget=asdict(budget), clip=clip,
        rows={name: dict(asdict(row), accuracy=asdict(results[name]))
              for name, row in method.rows.items()},
        models={name: dict(
            macs=costs[name].macs, trained_params=costs[name].trained,
            seconds_per_step=costs[name].seconds,
            seconds_per_step_in_training=histories[name].seconds_per_step,
            checkpoint=str(checkpoints[name]))
            for name in method.models},
        inference=seen, figures=[str(picture), str(curves)],
        missed_targets=missed))
    for path in (picture, curves, summary):
        print(f'wrote {path}')
    print(f'{seconds / 60:.1f} minutes')
    for sentence in missed:
        sys.stderr.write(f'error: {sentence}.\n')
    return 1 if missed else 0


if __name__ == '__main__':
    run_tool(main, parse_args())
