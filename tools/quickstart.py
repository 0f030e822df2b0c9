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
from typing import Callable, Dict, Iterator, List, Optional, Sequence

if __name__ == '__main__':
    # What the libraries say while they load is not for a first look.
    logging.disable(logging.WARNING)
    warnings.filterwarnings('ignore')

try:
    import mmvidadapt  # noqa: F401  (mends the stack first)
except ImportError as error:  # written for the user, by mmvidadapt.compat
    sys.exit(f'error: {error}')

import cv2
import numpy as np
import torch
from mmaction.registry import MODELS as REGISTRY
from mmaction.structures import ActionDataSample
from mmengine.config import Config
from mmengine.dataset import Compose, pseudo_collate
from mmengine.fileio import load
from mmengine.registry import init_default_scope
from torch import nn
from tqdm import tqdm

from mmvidadapt.apis.cli import make_parser, run_tool
from mmvidadapt.apis.complexity import config_complexity, input_shape
from mmvidadapt.files import whole_file
from mmvidadapt.quickstart import figures, pretrain, synthetic
from mmvidadapt.quickstart.methods import DEFAULT, METHODS, Method, Training
from mmvidadapt.quickstart.results import (
    Accuracy,
    Targets,
    comparison,
    measure,
    missed_targets,
)

ROOT = Path(__file__).resolve().parents[1]
#: Where configs/quickstart look for the work folder.
WORK_VARIABLE = 'MMVIDADAPT_QUICKSTART'
#: The clip that is shown: one whose direction is easy to see.
SHOWN = 'test/tunnel_forwards_000.mp4'
_STEP = re.compile(r'Epoch\(train\)\s+\[\s*(\d+)\]\[\s*(\d+)/\s*(\d+)\]'
                   r'.*?\bloss: ([\d.naif]+)')
_TESTED = re.compile(r'Epoch\(test\)\s+\[\s*(\d+)/\s*(\d+)\]')


@dataclass(frozen=True)
class Budget:
    """How much is made, trained and asked for.

    Args:
        videos (VideoSettings): Of the data, which all methods share.
        pretrain (PretrainSettings): Of the small CLIP, also shared.
        training (Training): Of the method's models.
    """

    videos: synthetic.VideoSettings
    pretrain: pretrain.PretrainSettings
    training: Training


def full_budget(method: Method, seed: int) -> Budget:
    """The budget of the README's command."""
    return Budget(synthetic.VideoSettings(seed),
                  pretrain.PretrainSettings(seed), method.full)


def ci_budget(method: Method, seed: int) -> Budget:
    """Fewer clips and steps; the targets still tell order from none."""
    return Budget(synthetic.VideoSettings(seed, test=10),
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
    """Write a video with OpenCV and read it with decord.

    Args:
        folder (Path): Where to try it.

    Returns:
        str: What was found.

    Raises:
        ValueError: If one of them cannot, with what to install.
    """
    try:
        import decord
    except (ImportError, OSError, RuntimeError) as error:
        raise ValueError(
            f'the video decoder decord does not load ({error}): install the '
            'version of requirements/pinned.txt') from error
    path = folder / 'check.mp4'
    frames = np.zeros((8, 64, 64, 3), np.uint8)
    frames[4:] = 200
    synthetic.write_video(path, frames, 8)
    try:
        reader = decord.VideoReader(str(path))
        read = reader.get_batch([0, len(reader) - 1]).asnumpy()
    except decord.DECORDError as error:
        raise ValueError(
            f'decord {decord.__version__} cannot read the mp4 that OpenCV '
            f'{cv2.__version__} writes: install the versions of '
            'requirements/pinned.txt') from error
    path.unlink()
    if len(reader) != 8 or read[0].mean() > 30 or read[1].mean() < 170:
        raise ValueError(
            f'decord {decord.__version__} reads other frames than OpenCV '
            f'{cv2.__version__} wrote: install the versions of '
            'requirements/pinned.txt')
    return (f'OpenCV {cv2.__version__} writes mp4, decord '
            f'{decord.__version__} reads it; torch {torch.__version__} on '
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
    options = train_options(epochs, budget.videos.seed)
    key = hashlib.sha256('\n'.join([
        Config.fromfile(config_path(model)).pretty_text,
        synthetic.data_key(budget.videos),
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


def test(model: str, work: Path, checkpoint: Path, split: str) -> np.ndarray:
    """Scores of a split, through ``tools/test.py --dump``.

    Args:
        model (str): Name of its config.
        work (Path): Work folder.
        checkpoint (Path): Checkpoint.
        split (str): Name of a list of the data set.

    Returns:
        np.ndarray: ``(N, K)`` in the order of the list.
    """
    folder = work / model
    dump = folder / f'{split}.pkl'
    with progress(1, 'batches') as bar:

        def follow(line: str) -> None:
            found = _TESTED.search(line)
            if found:
                bar.total = int(found[2])
                bar.update(int(found[1]) - bar.n)

        run_script([
            'tools/test.py', str(config_path(model)), str(checkpoint),
            '--work-dir', str(folder / 'test'), '--dump', str(dump),
            '--cfg-options', 'test_dataloader.dataset.ann_file='
            + str(work / 'data' / f'{split}.txt')
        ], folder / f'{split}.log', work, follow)
    # A pickle, but one that was written a moment ago, by us.
    return np.stack([np.asarray(sample['pred_score'])
                     for sample in load(dump)])


def labels_of(work: Path, split: str) -> np.ndarray:
    """Labels of a list, in its order."""
    lines = (work / 'data' / f'{split}.txt').read_text().splitlines()
    return np.array([int(line.rsplit(' ', 1)[1]) for line in lines])


def infer(model: str, work: Path, checkpoint: Path,
          videos: Sequence[Path]) -> List[str]:
    """What MMAction2's inferencer says about videos.

    Args:
        model (str): Name of its config.
        work (Path): Work folder.
        checkpoint (Path): Checkpoint.
        videos (Sequence[Path]): Video files.

    Returns:
        list[str]: For each video, its best class and the score.
    """
    from mmaction.apis.inferencers import MMAction2Inferencer
    names = [c.text for c in synthetic.CLASSES]
    with contextlib.redirect_stdout(io.StringIO()):
        inferencer = MMAction2Inferencer(
            rec=str(config_path(model)), rec_weights=str(checkpoint),
            device='cpu', label_file=str(work / 'data' / 'labels.txt'))
        found = [inferencer(str(video))['predictions'][0]
                 for video in videos]
    texts = []
    for prediction in found:
        label = int(prediction['rec_labels'][0][0])
        score = max(prediction['rec_scores'][0])
        texts.append(f'{names[label]} ({100 * score:.0f} %)')
    return texts


def look_at(model: str, checkpoint: Path, video: Path) -> figures.Look:
    """Give a video to a trained model, as its tests do.

    Args:
        model (str): Name of its config.
        checkpoint (Path): Checkpoint.
        video (Path): Video file.

    Returns:
        figures.Look: The model and the clip.
    """
    from mmaction.apis import init_recognizer
    with contextlib.redirect_stdout(io.StringIO()):
        recognizer = init_recognizer(
            str(config_path(model)), str(checkpoint), device='cpu')
    init_default_scope('mmaction')
    data = pseudo_collate([Compose(recognizer.cfg.test_pipeline)(dict(
        filename=str(video), label=-1, start_index=0, modality='RGB'))])
    frames = data['inputs'][0][0]  # (3, T, H, W), pixels
    window = getattr(recognizer.backbone, 'window', 1)
    frames = frames[:, window // 2::window]
    return figures.Look(
        recognizer.backbone,
        frames.permute(1, 2, 3, 0).numpy().astype(np.uint8),
        recognizer.data_preprocessor(data)['inputs'].flatten(0, 1))


def changed_weights(model: str, backbone: nn.Module) -> List[str]:
    """Names of CLIP's weights that are not what they were pretrained to.

    Args:
        model (str): Name of a config.
        backbone (nn.Module): Its backbone, after training.

    Returns:
        list[str]: Of the image tower; bits count.
    """
    init_default_scope('mmaction')
    fresh = REGISTRY.build(Config.fromfile(config_path(model)).model.backbone)
    fresh.init_weights()
    # Checkpoints keep a weight that differs, and leave out what does not.
    trained = dict(backbone.encoder.named_parameters())
    return [name for name, value in fresh.encoder.named_parameters()
            if not torch.equal(value, trained[name])]


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
        built[name] = REGISTRY.build(cfg.model).to(device).train()
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
        models = [model for method in METHODS.values()
                  for model in method.models.values()]
        for name in ('data', 'clip', *models):
            shutil.rmtree(work / name, ignore_errors=True)
    work.mkdir(parents=True, exist_ok=True)


def main(args: argparse.Namespace) -> int:
    """Run all stages; the exit status says whether the targets were met."""
    start = time.perf_counter()
    method = METHODS[args.method]
    budget = (ci_budget if args.ci else full_budget)(method, args.seed)
    epochs = budget.training.epochs
    work = Path(args.work_dir).resolve()
    os.environ[WORK_VARIABLE] = str(work)
    prepare_folder(work, args.fresh)
    classes = synthetic.CLASSES
    reverse = synthetic.reverse_labels()
    pairs = synthetic.motion_pairs()
    both = 'both' if len(method.models) == 2 else f'all {len(method.models)}'
    width = max(map(len, method.models)) + 1
    print(f'{method.question}\nEverything goes to {work}\n')
    stages = Stages(6)

    with stages('Check this machine') as say:
        say(check_system(work))

    with stages('Make videos: moving shapes, as mp4 files') as say:
        cached = make_data(work / 'data', budget.videos)
        say(f'{budget.videos.num_clips} videos of {len(classes)} classes'
            + (', made before' if cached else ''))
        say(f'{2 * len(pairs)} classes are pairs of reversed motions, such '
            f'as\n      "{classes[pairs[0][0]].text}" and\n'
            f'      "{classes[pairs[0][1]].text}":\n'
            '      no single frame tells which of the two it is')

    weights = work / 'clip' / 'small_clip.pt'
    with stages('Pretrain a small CLIP on still pictures with captions'
                ) as say:
        clip = make_clip(weights, budget.pretrain)
        say(f'finds the caption of {100 * clip["caption_accuracy"]:.0f} % '
            'of unseen pictures'
            + (', trained before' if clip['cached'] else ''))

    checkpoints, histories = {}, {}
    missed: List[str] = []
    with stages(f'Train {both} models from it, {epochs} epochs each '
                '(tools/train.py)') as say:
        for name, model in method.models.items():
            cached = train(model, work, budget)
            checkpoints[name] = work / model / f'epoch_{epochs}.pth'
            histories[name] = figures.read_history(work / model)
            last = list(histories[name].accuracy.values())[-1]
            say(f'{name + ":":{width}} {100 * last:.0f} % of the validation '
                'clips' + (', trained before' if cached else ''))

    accuracies: Dict[str, Accuracy] = {}
    with stages(f'Test {both}, forwards and backwards (tools/test.py)'
                ) as say:
        for name, model in method.models.items():
            scores = {split: test(model, work, checkpoints[name], split)
                      for split in ('test', synthetic.REVERSED)}
            accuracies[name] = measure(
                scores['test'], labels_of(work, 'test'),
                scores[synthetic.REVERSED], reverse,
                [c.text for c in classes])
            missed += missed_targets(
                name, accuracies[name],
                budget.training.targets.get(name, Targets()))
        say(f'{len(labels_of(work, "test"))} clips, '
            f'{accuracies[method.main].motion_clips} of them also played '
            'backwards')

    picture = work / method.picture
    curves = work / f'{method.prefix}curves.png'
    with stages("Look at one video (MMAction2's inferencer), draw figures"
                ) as say:
        shown = work / 'data' / SHOWN
        back = work / 'data' / SHOWN.replace('test/',
                                             f'{synthetic.REVERSED}/')
        seen = infer(method.models[method.main], work,
                     checkpoints[method.main], [shown, back])
        say(f'{SHOWN}:\n      {seen[0]}')
        say(f'the same, backwards:\n      {seen[1]}')
        looks = {name: look_at(model, checkpoints[name], shown)
                 for name, model in method.models.items()}
        method.draw(looks, classes[0].text, picture)
        blind = 1 - len(pairs) / len(classes)
        figures.draw_curves(histories, blind, len(classes), curves)
        if method.frozen:
            changed = {name: changed_weights(model, looks[name].backbone)
                       for name, model in method.models.items()}
            missed += [f'training {name} changed weights of the frozen CLIP '
                       f'({", ".join(found)})'
                       for name, found in changed.items() if found]
            if not any(changed.values()):
                say('after training, the frozen CLIP is what it was, bit '
                    'for bit')

    rows, macs = [], {}
    step_seconds = time_steps(list(method.models.values()))
    for name, model in method.models.items():
        cfg = Config.fromfile(config_path(model))
        macs[name] = config_complexity(cfg).total.all_macs
        rows.append((name, accuracies[name], macs[name],
                     step_seconds[model]))
    print('\n' + comparison(rows) + '\n')
    print('motion: pairs of reversed motions. within pairs: lowest and '
          'highest pair, forwards\nand backwards, where guessing gives 50. '
          'reversed: motion clips whose label turns\ninto its reverse when '
          'the clip is played backwards. s/step: forward and backward\nof '
          'a training batch.\n')
    seconds = time.perf_counter() - start
    summary = work / f'{method.prefix}summary.json'
    write_json(summary, dict(
        method=args.method, ci=args.ci, seed=args.seed, seconds=seconds,
        stage_seconds=stages.seconds, budget=asdict(budget), clip=clip,
        models={name: dict(
            accuracy=asdict(accuracies[name]), macs=macs[name],
            seconds_per_step=step_seconds[model],
            seconds_per_step_in_training=histories[name].seconds_per_step,
            checkpoint=str(checkpoints[name]))
            for name, model in method.models.items()},
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
