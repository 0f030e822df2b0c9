#!/usr/bin/env python
"""Measure models of configs against each other, on CPU or GPU."""

import argparse
import json
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, field
from datetime import date
from functools import partial
from pathlib import Path
from typing import Callable, Dict, List, Optional, Sequence, Tuple
from unittest import mock

import torch
from mmaction.registry import MODELS
from mmaction.structures import ActionDataSample
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmengine.utils import track_iter_progress
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

import mmvidadapt  # noqa: F401  (mends the stack before mmengine is used)
from mmvidadapt.apis.cli import load_config, make_parser, run_tool
from mmvidadapt.apis.complexity import config_complexity
from mmvidadapt.apis.data_speed import measure_data
from mmvidadapt.apis.memory import (
    Peak,
    ResidentGrowth,
    live_at_peak,
    saved_bytes,
)
from mmvidadapt.apis.reader_speed import measure_readers, versions
from mmvidadapt.files import whole_file
from mmvidadapt.models.clip import CLIPTextEncoder

ROOT = Path(__file__).resolve().parents[1]
DTYPES = {'fp32': torch.float32, 'bf16': torch.bfloat16}


#: What seconds are: of the world, or of the processor for this process alone.
CLOCKS = {'wall': time.perf_counter, 'cpu': time.process_time}
#: Modes that do not run a model on clips.
OTHER_MODES = ('memory', 'text')
#: Seconds that class features may take from the cache.
WARM_SECONDS = 1.0
#: Steps after which memory that still grows is taken as it is.
MAX_STEPS = 6


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = make_parser(
        'Measure the forward pass, the training step and its peak memory of\n'
        'several models, in turns, and compare time with MACs. A suite is a\n'
        'choice of models, with random weights:\n'
        "  inti      naive, InTI_3,5 / 5,7 / 7,9, InTI^temp and MMAction2's "
        'UniFormerV2\n'
        '  tds_clip  full fine-tuning of the same ViT, Side4Video, TDS-CLIP, '
        'with the\n'
        '            lean backward, and with CLIP in bfloat16 where that is '
        'fast\n'
        '  mote      MoTE and the same model with a plain temporal '
        'transformer\n'
        '  msta      full fine-tuning of both towers of ViCLIP, MSTA, MSTA '
        'with few\n'
        '            texts at a time',
        'python tools/benchmark.py --suite tds_clip --batch 2 '
        '--out benchmark')
    parser.add_argument(
        'configs', nargs='*',
        help='configs to compare instead; the first is the baseline')
    parser.add_argument('--suite', choices=sorted(SUITES),
                        help='default: inti')
    parser.add_argument('--arch', choices=['vitb', 'vitl'],
                        help='size of the models of a suite; default: vitb')
    parser.add_argument(
        '--frames', type=int,
        help="frames of a clip; default: the config's, 8 for the suites "
        'beside inti')
    parser.add_argument('--batch', type=int, default=1, help='clips')
    parser.add_argument(
        '--modes', nargs='+', choices=['forward', 'train', *OTHER_MODES],
        help='memory: peak of training, weights and optimiser included, in a '
        'new process for each model. text: encode the classes of a TextHead '
        'by a text tower of random weights, then read them from the cache. '
        'Default: forward train; train memory for tds_clip; forward train '
        'text for mote; forward train memory for msta')
    parser.add_argument(
        '--dtypes', nargs='+', choices=sorted(DTYPES),
        help='bf16: autocast of the whole model, with float32 weights. '
        'Default: both; fp32 for the suites beside inti')
    parser.add_argument('--device', help='default: cuda if there is one')
    parser.add_argument('--repeats', type=int, default=9,
                        help='measurements of each model; the median counts')
    parser.add_argument('--warmup', type=int, default=2,
                        help='runs of each model before the first measurement')
    parser.add_argument('--threads', type=int,
                        help="CPU threads; default: torch's choice")
    parser.add_argument(
        '--clock', choices=sorted(CLOCKS), default='wall',
        help='cpu: count the time that this process has the processor, which '
        'other load disturbs less; default: wall')
    parser.add_argument(
        '--explain', action='store_true',
        help='with the mode memory: say what is live at the peak')
    parser.add_argument(
        '--data', metavar='CONFIG', help='measure instead whether reading '
        'videos or the model limits a config, in the precision of the config; '
        'with --repeats, --device and --out')
    parser.add_argument(
        '--split', choices=['train', 'val', 'test'],
        help='with --data: data set to read (default train)')
    parser.add_argument('--videos', metavar='FOLDER', help='with --data: '
                        "read these videos in place of the config's")
    parser.add_argument('--samples', type=int, help='with --data: samples to '
                        'read (default 32)')
    parser.add_argument(
        '--readers', nargs='*', metavar='PATH', help='measure instead the '
        'CPU time of what reads videos, on these files and folders, or on a '
        'set of ten codecs that is made; with --repeats and --out')
    parser.add_argument(
        '--re-encode', action='store_true', help='with --readers: measure the '
        'files also encoded by the defaults of x264 at 340 x 256 and 1280 x '
        '720')
    parser.add_argument(
        '--pipeline', metavar='CONFIG', help='with --readers: measure the '
        'training pipeline of a config as well, with each reader in it')
    parser.add_argument(
        '--rate', type=float, metavar='CLIPS', help='with --readers: clips a '
        'second that a GPU takes, for the cores that feed it (default 400)')
    parser.add_argument('--out', default='benchmark', metavar='PREFIX',
                        help='write PREFIX.json and PREFIX.png, which --data '
                        'and --readers do not draw')
    # For the processes that the tool starts itself: an Entry as JSON.
    parser.add_argument('--peak-of', help=argparse.SUPPRESS)
    parser.add_argument('--serve', help=argparse.SUPPRESS)
    return parser.parse_args()


@dataclass
class Entry:
    """One model to measure.

    Args:
        name (str): Short name.
        config (str | dict): Path of a config, or the config of a recognizer.
        changes (dict[str, object]): Settings of the config by dotted key.
        targets (dict[str, float]): Highest ratio to the baseline that the
            project aims at in fp32: of ``'time'`` or ``'peak'`` for
            training, of ``'forward'`` for the time of the forward pass.
        needs_bf16 (bool): Whether it gains by bfloat16 units alone.
    """

    name: str
    config: str | dict
    changes: Dict[str, object] = field(default_factory=dict)
    targets: Dict[str, float] = field(default_factory=dict)
    needs_bf16: bool = False


@dataclass
class Suite:
    """What is compared, and how if nothing else is asked for.

    Args:
        entries (Callable[[str], list[Entry]]): Models by size, the baseline
            first.
        frames (int | None): Frames of a clip; None: the config's.
        modes (tuple[str, ...]): What to measure.
        dtypes (tuple[str, ...]): In which precision.
    """

    entries: Callable[[str], List[Entry]]
    frames: Optional[int] = None
    modes: Tuple[str, ...] = ('forward', 'train')
    dtypes: Tuple[str, ...] = ('fp32', 'bf16')


@dataclass
class Case:
    """One model of the comparison.

    Args:
        name (str): Short name.
        model (nn.Module | None): The recognizer, if it is in this process.
        macs (int): Multiply-accumulates of one view, attention included.
        frames (int): Frames that a clip is sampled to.
        shape (tuple[int, ...]): Input of one view, ``(1, 1, 3, T, H, W)``;
            ``T`` counts the frames of local windows, too.
        targets (dict[str, float]): As in :class:`Entry`.
        worker (Worker | None): The process that the model is in, if it is
            another.
    """

    name: str
    model: Optional[nn.Module]
    macs: int
    frames: int
    shape: Tuple[int, ...]
    targets: Dict[str, float] = field(default_factory=dict)
    worker: Optional['Worker'] = None


def stock_uniformerv2(arch: str, frames: int) -> dict:
    """MMAction2's own UniFormerV2 at the sizes of the K400 recipe.

    Args:
        arch (str): ``'vitb'`` or ``'vitl'``.
        frames (int): Frames of a clip.

    Returns:
        dict: A recognizer config.
    """
    width, layers, patch = (768, 12, 16) if arch == 'vitb' else (1024, 24, 14)
    return dict(
        type='Recognizer3D',
        backbone=dict(
            type='UniFormerV2', patch_size=patch, width=width, layers=layers,
            heads=width // 64, t_size=frames, n_dim=width,
            n_head=width // 64,
            return_list=list(range(layers - 4, layers)),
            clip_pretrained=False),
        cls_head=dict(
            type='UniFormerHead', num_classes=400, in_channels=width,
            dropout_ratio=0.5))


def inti_entries(arch: str) -> List[Entry]:
    """The models of the InTI paper, and MMAction2's UniFormerV2.

    Args:
        arch (str): ``'vitb'`` or ``'vitl'``.

    Returns:
        list[Entry]: The naive model first.
    """
    folder = ROOT / 'configs' / 'inti'
    paths = [folder / f'{arch}_k400{suffix}.py'
             for suffix in ('_naive', '_3-5', '', '_7-9', '_temp')]
    return [Entry(path.stem, str(path)) for path in paths] + [
        Entry('mmaction2 UniFormerV2', stock_uniformerv2(arch, 16))]


def tds_clip_entries(arch: str) -> List[Entry]:
    """TDS-CLIP and Side4Video beside full fine-tuning of the same ViT.

    The baseline is the naive model of the InTI paper: the same encoder, all
    of it trained, with averaged frame features.

    Args:
        arch (str): ``'vitb'`` or ``'vitl'``.

    Returns:
        list[Entry]: Full fine-tuning first.
    """
    tds = str(ROOT / 'configs' / 'tds_clip' / f'{arch}_k400.py')
    backbone = 'model.backbone.'
    b16 = arch == 'vitb'  # which the targets are for, see docs/benchmarks.md
    return [
        Entry('full fine-tuning',
              str(ROOT / 'configs' / 'inti' / f'{arch}_k400_naive.py')),
        Entry('side4video', tds, {f'{backbone}preset': 'side4video'}),
        Entry('tds_clip', tds, targets=dict(time=0.54) if b16 else {}),
        Entry('tds_clip lean', tds, {f'{backbone}with_cp': True},
              dict(peak=0.40) if b16 else {}),
        Entry('tds_clip bf16', tds, {f'{backbone}encoder_dtype': 'bfloat16'},
              dict(time=0.36) if b16 else {}, needs_bf16=True)]


def mote_entries(arch: str) -> List[Entry]:
    """MoTE beside the same model with a plain temporal transformer.

    Nothing is recomputed in backward, which would hide the difference; class
    features are random, of one template.

    Args:
        arch (str): ``'vitb'`` or ``'vitl'``.

    Returns:
        list[Entry]: The plain transformer first.
    """
    config = str(ROOT / 'configs' / 'mote' / f'{arch}_k400.py')
    same = {'model.backbone.encoder.with_cp': False,
            'model.cls_head.templates': 'video',
            'model.cls_head.text.weights': None}
    return [
        Entry('plain transformer', config,
              {**same, 'model.neck.num_experts': 0}),
        Entry('mote', config, same,
              dict(time=1.04, forward=1.02) if arch == 'vitb' else {})]


def msta_entries(arch: str) -> List[Entry]:
    """MSTA beside full fine-tuning of both towers of the same ViCLIP.

    In eval mode the baseline is the frozen ViCLIP. The consistency loss, which
    reads files, compares a few hundred vectors a step; it is left out.

    Args:
        arch (str): ``'vitb'`` or ``'vitl'``.

    Returns:
        list[Entry]: Full fine-tuning first.
    """
    b16 = arch == 'vitb'  # the paper has no other
    config = str(ROOT / 'configs' / 'msta' / (
        'vitb_base-novel_ucf101.py' if b16 else 'vitl_k400.py'))
    plain = {'model.consistency': None}
    return [
        Entry('full fine-tuning', config,
              {**plain, 'model.adapter': None,
               'model.backbone.encoder.frozen': False,
               'model.text_encoder.frozen': False}),
        Entry('msta', config, plain,
              dict(time=0.75, forward=1 / 0.95) if b16 else {}),
        Entry('msta text_batch=8', config, {**plain, 'model.text_batch': 8})]


SUITES = dict(
    msta=Suite(msta_entries, frames=8, modes=('forward', 'train', 'memory'),
               dtypes=('fp32', )),
    mote=Suite(mote_entries, frames=8, modes=('forward', 'train', 'text'),
               dtypes=('fp32', )),
    inti=Suite(inti_entries),
    tds_clip=Suite(tds_clip_entries, frames=8, modes=('train', 'memory'),
                   dtypes=('fp32', )))


def choose(args: argparse.Namespace) -> List[Entry]:
    """The models that a command line asks for; completes its options.

    Args:
        args (argparse.Namespace): Parsed options; what was left out is
            filled in from the suite.

    Returns:
        list[Entry]: The baseline first.

    Raises:
        ValueError: If both configs and a suite are given.
    """
    for option in ('suite', 'arch'):
        if args.configs and getattr(args, option) is not None:
            raise ValueError(
                f'--{option} {getattr(args, option)} chooses models, and so '
                'do the configs: give one of both')
    suite = SUITES[args.suite or 'inti']
    args.modes = args.modes or suite.modes
    args.dtypes = args.dtypes or suite.dtypes
    args.frames = args.frames or suite.frames
    if args.configs:
        return [Entry(Path(path).stem, path) for path in args.configs]
    entries = suite.entries(args.arch or 'vitb')
    if args.frames != suite.frames:
        for entry in entries:
            entry.targets.clear()  # they are for the suite's own frames
    return entries


def bf16_cost(device: torch.device) -> float:
    """Time of a bfloat16 product over that of a float32 one.

    The processor's name does not tell: libraries emulate what it lacks.

    Args:
        device (torch.device): Where to run.

    Returns:
        float: Below 1 where there are units for bfloat16.
    """
    best = {}
    for number in range(4):
        for name, dtype in DTYPES.items():
            # The first product of a CLIP ViT-B/16's MLP, for two frames.
            x = torch.randn(394, 768, device=device, dtype=dtype)
            weight = torch.randn(3072, 768, device=device, dtype=dtype)
            seconds, _ = timed(
                lambda x=x, w=weight: nn.functional.linear(x, w), device)
            if number:  # the first prepares
                best[name] = min(seconds, best.get(name, seconds))
    return best['bf16'] / best['fp32']


def read_entry(entry: Entry, frames: Optional[int]) -> Config:
    """The config of a model, without what prepares its input.

    Args:
        entry (Entry): The model.
        frames (int | None): Frames of a clip; the config's if not given.

    Returns:
        Config: With ``model``.
    """
    cfg = (load_config(entry.config) if isinstance(entry.config, str)
           else Config(dict(model=entry.config)))
    cfg.merge_from_dict(entry.changes)
    if frames:
        backbone = cfg.model.backbone
        backbone['t_size' if 't_size' in backbone else 'num_frames'] = frames
    cfg.model.pop('data_preprocessor', None)
    init_default_scope(cfg.get('default_scope', 'mmaction'))
    return cfg


def frames_of(cfg: Config) -> int:
    """Frames that the clips of a config are sampled to.

    Args:
        cfg (Config): With ``model``.

    Returns:
        int: Frames.
    """
    backbone = cfg.model.backbone
    return backbone.get('t_size') or backbone.num_frames


def build_case(entry: Entry, frames: Optional[int]) -> Case:
    """Build a model, with random weights.

    Args:
        entry (Entry): The model.
        frames (int | None): Frames of a clip; the config's if not given.

    Returns:
        Case: The model; its MACs are not counted yet.
    """
    cfg = read_entry(entry, frames)
    frames = frames_of(cfg)
    model = MODELS.build(cfg.model)
    length = frames * getattr(model.backbone, 'window', 1)
    encoder = getattr(model.backbone, 'encoder', None)
    size = 224 if encoder is None else encoder.arch.image_size
    return Case(entry.name, model, 0, frames, (1, 1, 3, length, size, size),
                entry.targets)


def count_macs(entry: Entry, case: Case) -> int:
    """Multiply-accumulates of one view, attention included.

    Args:
        entry (Entry): The model.
        case (Case): The same, built.

    Returns:
        int: MACs.
    """
    cfg = read_entry(entry, case.frames)
    return config_complexity(cfg, case.shape).total.all_macs


def changes_process(entry: Entry) -> bool:
    """Whether a model sets up the memory of its whole process.

    The lean backward of a side network does; models beside it would be timed
    as nobody runs them.

    Args:
        entry (Entry): The model.

    Returns:
        bool: Whether it needs a process of its own.
    """
    backbone = read_entry(entry, None).model.backbone
    return backbone.type == 'SideCLIPViT' and backbone.get('with_cp', False)


def child_command(option: str, entry: Entry) -> List[str]:
    """Start this tool for one model.

    Args:
        option (str): What it shall do.
        entry (Entry): The model.

    Returns:
        list[str]: A command, with the options that this process was given.
    """
    return [sys.executable, __file__, *sys.argv[1:], option,
            json.dumps(asdict(entry))]


#: Begins the lines that a worker answers with.
ANSWER = 'answer: '


class Worker:
    """A process with one model, that runs a step when it is told to.

    Args:
        entry (Entry): The model.
    """

    def __init__(self, entry: Entry) -> None:
        self.name = entry.name
        self.process = subprocess.Popen(
            child_command('--serve', entry), stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, text=True)
        self.about = self.answer()

    def answer(self) -> dict:
        """Wait for an answer.

        Returns:
            dict: What the process says.

        Raises:
            ValueError: If it ended.
        """
        for line in self.process.stdout:
            if line.startswith(ANSWER):
                return json.loads(line[len(ANSWER):])
        raise ValueError(
            f'the process that runs {self.name} ended with '
            f'{self.process.wait()}: see what it said above, and whether the '
            'memory is enough')

    def timed(self, mode: str, dtype: str) -> Tuple[float, Optional[int]]:
        """Run a step once.

        Args:
            mode (str): ``'forward'`` or ``'train'``.
            dtype (str): Key of ``DTYPES``.

        Returns:
            tuple[float, int | None]: As :func:`timed`.
        """
        self.process.stdin.write(f'{mode} {dtype}\n')
        self.process.stdin.flush()
        seconds, peak = self.answer()['timed']
        return seconds, peak

    def close(self) -> None:
        """End the process."""
        self.process.stdin.close()
        self.process.stdout.close()
        self.process.wait()


def serve(entry: Entry, args: argparse.Namespace,
          device: torch.device) -> None:
    """Be the process of a :class:`Worker`, until its input ends.

    Args:
        entry (Entry): The model.
        args (argparse.Namespace): Parsed options.
        device (torch.device): Where to run.
    """
    def reply(**values: object) -> None:
        print(ANSWER + json.dumps(values), flush=True)

    case = build_case(entry, args.frames)
    reply(macs=count_macs(entry, case), frames=case.frames, shape=case.shape)
    wanted, step = '', None
    for line in sys.stdin:
        if line != wanted:
            mode, dtype = line.split()
            wanted = line
            step = make_step(case, mode, DTYPES[dtype], args.batch, device)
        reply(timed=timed(step, device, CLOCKS[args.clock]))


def build_cases(entries: Sequence[Entry],
                frames: Optional[int]) -> List[Case]:
    """Build the models to compare.

    Args:
        entries (Sequence[Entry]): The models, the baseline first.
        frames (int | None): Frames of a clip; the config's if not given.

    Returns:
        list[Case]: In the same order.
    """
    cases = []
    for place, entry in enumerate(entries, 1):
        print(f'building {place}/{len(entries)}: {entry.name}', flush=True)
        if changes_process(entry):
            worker = Worker(entry)
            cases.append(Case(entry.name, None, **worker.about,
                              targets=entry.targets, worker=worker))
            continue
        case = build_case(entry, frames)
        case.macs = count_macs(entry, case)
        cases.append(case)
    return cases


def autocast(dtype: torch.dtype,
             device: torch.device) -> AbstractContextManager:
    """Run in a precision; below float32 by autocast.

    Args:
        dtype (torch.dtype): The precision.
        device (torch.device): Where the model runs.

    Returns:
        AbstractContextManager: Around a forward pass.
    """
    return (nullcontext() if dtype is torch.float32 else
            torch.autocast(device.type, dtype))


class TrainStep:
    """Forward, backward and AdamW on random clips.

    Args:
        case (Case): The model.
        dtype (torch.dtype): Precision.
        batch (int): Clips.
        device (torch.device): Where to run.
    """

    def __init__(self, case: Case, dtype: torch.dtype, batch: int,
                 device: torch.device) -> None:
        self.model = case.model.to(device).train()
        self.cast = autocast(dtype, device)
        self.inputs = torch.randn(batch, *case.shape[1:], device=device)
        self.samples = [
            ActionDataSample().set_gt_label(i) for i in range(batch)]
        self.trained = [
            p for p in self.model.parameters() if p.requires_grad]
        self.optimizer = torch.optim.AdamW(self.trained, lr=1e-6)

    def loss(self) -> Tensor:
        """The loss with its graph.

        Returns:
            Tensor: A scalar.
        """
        with self.cast:
            losses = self.model(self.inputs, self.samples, mode='loss')
        return sum(v for k, v in losses.items() if 'loss' in k)

    def __call__(self) -> None:
        """Run a step."""
        self.loss().backward()
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)

    def saved_bytes(self) -> int:
        """Bytes that autograd keeps, beside parameters and the input.

        Returns:
            int: Bytes.
        """
        return saved_bytes(self.loss, [
            *self.model.parameters(), *self.model.buffers(), self.inputs])

    def peak(self) -> Peak:
        """What is live at the peak, after a first step.

        Returns:
            Peak: Bytes by kind.
        """
        state = [value for values in self.optimizer.state.values()
                 for value in values.values() if isinstance(value, Tensor)]
        frozen = [p for p in self.model.parameters() if not p.requires_grad]
        known = {'frozen weights': frozen, 'trained weights': self.trained,
                 'buffers': self.model.buffers(), 'AdamW': state,
                 'clips': [self.inputs]}
        return live_at_peak(self, known, self.trained)


def make_step(case: Case, mode: str, dtype: torch.dtype, batch: int,
              device: torch.device) -> Callable[[], None]:
    """A function that runs one forward pass or training step.

    Args:
        case (Case): The model.
        mode (str): ``'forward'`` or ``'train'``.
        dtype (torch.dtype): Precision.
        batch (int): Clips.
        device (torch.device): Where to run.

    Returns:
        Callable: Runs one step.
    """
    if mode == 'train':
        return TrainStep(case, dtype, batch, device)
    inputs = torch.randn(batch, *case.shape[1:], device=device)
    model = case.model.to(device).eval()

    def forward() -> None:
        with torch.no_grad(), autocast(dtype, device):
            feats, kwargs = model.extract_feat(inputs, test_mode=True)
            model.cls_head(feats, **kwargs)
    return forward


def timed(step: Callable[[], object], device: torch.device,
          clock: Callable[[], float] = time.perf_counter
          ) -> Tuple[float, Optional[int]]:
    """Run a step once.

    Args:
        step (Callable[[], object]): The step.
        device (torch.device): Where it runs.
        clock (Callable[[], float]): Value of :data:`CLOCKS`; a GPU has its
            own.

    Returns:
        tuple[float, int | None]: Seconds, and on a GPU the bytes that it
        took at its peak above what was allocated before.
    """
    if device.type != 'cuda':
        start = clock()
        step()
        return clock() - start, None
    torch.cuda.reset_peak_memory_stats(device)
    before = torch.cuda.memory_allocated(device)
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    start.record()
    step()
    end.record()
    end.synchronize()
    peak = torch.cuda.max_memory_allocated(device) - before
    return start.elapsed_time(end) / 1e3, peak


@dataclass
class MemoryRow:
    """Memory of one model in training.

    Args:
        dtype (str): Precision.
        name (str): Model.
        peak_mib (float): Peak: weights, gradients, optimiser, clips and all
            that a step needs.
        peak_ratio (float): That over the baseline's.
        saved_mib (float): What autograd keeps for backward.
        target (float | None): Highest ratio aimed at.
        at_peak (Peak | None): What is live at the peak, if asked for.
    """

    dtype: str
    name: str
    peak_mib: float
    peak_ratio: float
    saved_mib: float
    target: Optional[float] = None
    at_peak: Optional[Peak] = None


def load_libraries(device: torch.device) -> None:
    """Make torch import what it imports in a first training step.

    Args:
        device (torch.device): Where models will run.
    """
    MODELS.get('Recognizer3D')
    layer = nn.Linear(8, 8).to(device)
    x = torch.randn(8, 8, device=device)
    checkpoint(layer, x, use_reentrant=False).sum().backward()
    torch.optim.AdamW(layer.parameters()).step()


def peak_here(entry: Entry, args: argparse.Namespace,
              device: torch.device) -> dict:
    """Measure the memory of one model in this process.

    Args:
        entry (Entry): The model.
        args (argparse.Namespace): Parsed options.
        device (torch.device): Where to run.

    Returns:
        dict: Bytes ``peak`` and ``saved``, and ``at_peak`` if asked for.
    """
    load_libraries(device)
    growth = ResidentGrowth() if device.type == 'cpu' else None

    def peak() -> int:
        return (torch.cuda.max_memory_allocated(device) if growth is None
                else growth.peak())

    step = TrainStep(build_case(entry, args.frames), DTYPES[args.dtypes[0]],
                     args.batch, device)
    last = 0
    for _ in range(MAX_STEPS):
        step()
        if peak() < 1.01 * last:
            break
        last = peak()
    found = dict(peak=peak(), saved=step.saved_bytes(), at_peak=None)
    if args.explain:
        found['at_peak'] = asdict(step.peak())
    return found


def measure_memory(entries: Sequence[Entry], dtype: str,
                   args: argparse.Namespace) -> List[MemoryRow]:
    """Measure the memory of every model, each in a process of its own.

    Args:
        entries (Sequence[Entry]): The models, the baseline first.
        dtype (str): Key of ``DTYPES``.
        args (argparse.Namespace): Parsed options.

    Returns:
        list[MemoryRow]: One row a model.

    Raises:
        ValueError: If such a process fails.
    """
    found = []
    for place, entry in enumerate(entries, 1):
        print(f'memory, {dtype}, batch {args.batch}: {place}/{len(entries)} '
              f'{entry.name}', flush=True)
        child = subprocess.run(
            [*child_command('--peak-of', entry), '--dtypes', dtype],
            capture_output=True, text=True)
        if child.returncode:
            said = child.stderr.strip().splitlines() or ['nothing']
            raise ValueError(
                f'the process that measures {entry.name} ended with '
                f'{child.returncode} and said {said[-1]!r}: see whether the '
                'memory is enough, or lower --batch')
        found.append(json.loads(child.stdout.splitlines()[-1]))
    return [
        MemoryRow(dtype, entry.name, one['peak'] / 2**20,
                  one['peak'] / found[0]['peak'], one['saved'] / 2**20,
                  entry.targets.get('peak') if dtype == 'fp32' else None,
                  one['at_peak'] and Peak(**one['at_peak']))
        for entry, one in zip(entries, found, strict=True)]


def format_memory(rows: Sequence[MemoryRow]) -> str:
    """A table of the memory in one precision.

    Args:
        rows (Sequence[MemoryRow]): The measurements.

    Returns:
        str: Lines of text.
    """
    width = max(len(row.name) for row in rows)
    lines = [f'{"model":{width}}  peak MiB  x peak  saved MiB']
    for row in rows:
        lines.append(
            f'{row.name:{width}}  {row.peak_mib:8.0f}  {row.peak_ratio:6.3f}'
            f'  {row.saved_mib:9.1f}'
            + format_target(row.peak_ratio, row.target))
    for row in rows:
        if row.at_peak is not None:
            lines += ['', *format_peak(row.name, row.at_peak)]
    return '\n'.join(lines)


def format_target(ratio: float, target: Optional[float]) -> str:
    """Say whether a target is met.

    Args:
        ratio (float): What was measured.
        target (float | None): Highest ratio aimed at.

    Returns:
        str: The end of a line; empty without a target.
    """
    if target is None:
        return ''
    met = 'met' if ratio <= target else 'missed'
    return f'  (target {target:.2f}: {met})'


def format_peak(name: str, peak: Peak, number: int = 6) -> List[str]:
    """Say what is live at the peak of a step.

    Args:
        name (str): Model.
        peak (Peak): What was counted.
        number (int): Working tensors to list.

    Returns:
        list[str]: Lines of text.
    """
    def line(size: int, what: str) -> str:
        return f'  {size / 2**20:8.1f}  {what}'

    lines = [f'{name}: {peak.total / 2**20:.0f} MiB in tensors at the peak, '
             f'with the result of {peak.moment}']
    for kind, size in peak.kinds.items():
        lines.append(line(size, kind))
        if kind == 'working':
            lines += [line(part, f'  {source}')
                      for source, part in peak.working[:number]]
    return lines


@dataclass
class Row:
    """One measurement.

    Args:
        mode (str): ``'forward'`` or ``'train'``.
        dtype (str): Precision.
        name (str): Model.
        gmacs (float): MACs of a view, in units of 1e9.
        seconds (float): Median of the steps.
        spread (float): Half the distance of the quartiles, in seconds.
        time_ratio (float): Seconds over those of the baseline.
        mac_ratio (float): MACs over those of the baseline.
        peak_mib (float | None): Peak memory of a step on a GPU, above what
            lies there already.
        target (float | None): Highest ``time_ratio`` aimed at.
    """

    mode: str
    dtype: str
    name: str
    gmacs: float
    seconds: float
    spread: float
    time_ratio: float
    mac_ratio: float
    peak_mib: Optional[float]
    target: Optional[float] = None


def measure(cases: Sequence[Case], mode: str, dtype: str, batch: int,
            device: torch.device, repeats: int, warmup: int,
            clock: str = 'wall') -> List[Row]:
    """Measure every model in turns, so that drift hits all alike.

    Args:
        cases (Sequence[Case]): The models, the baseline first.
        mode (str): ``'forward'`` or ``'train'``.
        dtype (str): Key of ``DTYPES``.
        batch (int): Clips.
        device (torch.device): Where to run.
        repeats (int): Measurements of each model.
        warmup (int): Runs before the first measurement.
        clock (str): Key of :data:`CLOCKS`.

    Returns:
        list[Row]: One row a model.
    """
    steps = [partial(case.worker.timed, mode, dtype) if case.worker else
             partial(timed, make_step(case, mode, DTYPES[dtype], batch,
                                      device), device, CLOCKS[clock])
             for case in cases]
    what = f'{mode}, {dtype}, batch {batch} on {device}'
    for case, step in zip(cases, steps, strict=True):
        for number in range(1, warmup + 1):
            print(f'{what}: warm-up {number}/{warmup} of {case.name}',
                  flush=True)
            step()
    times: Dict[int, List[float]] = {i: [] for i in range(len(cases))}
    peaks: Dict[int, int] = {}
    print(what)
    for _ in track_iter_progress(list(range(repeats))):
        for i, step in enumerate(steps):
            seconds, peak = step()
            times[i].append(seconds)
            if peak is not None:
                peaks[i] = max(peaks.get(i, 0), peak)
    print()
    base = statistics.median(times[0])
    rows = []
    for i, case in enumerate(cases):
        median = statistics.median(times[i])
        low, _, high = statistics.quantiles(times[i], n=4)
        rows.append(Row(
            mode, dtype, case.name, case.macs / 1e9, median, (high - low) / 2,
            median / base, case.macs / cases[0].macs,
            peaks[i] / 2**20 if i in peaks else None,
            case.targets.get('time' if mode == 'train' else mode)
            if dtype == 'fp32' else None))
    return rows


def format_rows(rows: Sequence[Row]) -> str:
    """A table of one mode and precision.

    Args:
        rows (Sequence[Row]): The measurements.

    Returns:
        str: Lines of text.
    """
    width = max(len(row.name) for row in rows)
    lines = [f'{"model":{width}}  GMACs  ms (+-)          x time  x MACs  '
             'time/MACs  peak MiB']
    for row in rows:
        peak = '-' if row.peak_mib is None else f'{row.peak_mib:.0f}'
        lines.append(
            f'{row.name:{width}}  {row.gmacs:5.0f}  {row.seconds * 1e3:8.1f} '
            f'({row.spread * 1e3:5.1f})  {row.time_ratio:6.3f}  '
            f'{row.mac_ratio:6.3f}  {row.time_ratio / row.mac_ratio:9.3f}  '
            f'{peak:>8}' + format_target(row.time_ratio, row.target))
    return '\n'.join(lines)


@dataclass
class TextRow:
    """Time until the features of the classes are there.

    Args:
        name (str): Model.
        classes (int): Number of classes.
        templates (int): Number of templates.
        seconds (float): With nothing in the cache: the tower is built, read
            and run.
        warm_seconds (float): From the cache, with a tower that would raise.
        target (float): Highest ``warm_seconds`` aimed at.
    """

    name: str
    classes: int
    templates: int
    seconds: float
    warm_seconds: float
    target: float = WARM_SECONDS


def measure_text(entries: Sequence[Entry], device: torch.device,
                 clock: str) -> TextRow:
    """Encode the classes of a config, and read them from the cache.

    The tower has random weights, written to a file for the time being, so
    that nothing is downloaded; the time does not depend on values.

    Args:
        entries (Sequence[Entry]): The models; the first with a ``TextHead``
            is taken, as its config states it.
        device (torch.device): Where the tower runs.
        clock (str): Key of :data:`CLOCKS`.

    Returns:
        TextRow: The measurement.

    Raises:
        ValueError: If no model has a ``TextHead``.
    """
    for entry in entries:
        cfg = read_entry(Entry(entry.name, entry.config), None)
        if cfg.model.cls_head.type == 'TextHead':
            break
    else:
        raise ValueError('--modes text encodes the classes of a TextHead, and '
                         'no config has one: leave text out')
    config = cfg.model.cls_head

    def start() -> nn.Module:
        head = MODELS.build(config).to(device)
        head.init_weights()
        return head

    with tempfile.TemporaryDirectory() as folder:
        arch, act = config.text.arch, config.text.act
        weights = Path(folder, 'tower.pt')
        torch.save(CLIPTextEncoder(arch, act).state_dict(), weights)
        config.text = dict(arch=arch, act=act, weights=str(weights),
                           cache_dir=folder)
        head = MODELS.build(config)
        classes, templates = len(head.class_names), len(head.templates)
        print(f'text: {classes} classes x {templates} templates on {device}',
              flush=True)
        seconds, _ = timed(start, device, CLOCKS[clock])
        tower = RuntimeError('the cache was there and the tower was built')
        with mock.patch.object(CLIPTextEncoder, '__init__',
                               side_effect=tower):
            warm, _ = timed(start, device, CLOCKS[clock])
    return TextRow(entry.name, classes, templates, seconds, warm)


def format_text(row: TextRow) -> str:
    """A line on the classes.

    Args:
        row (TextRow): The measurement.

    Returns:
        str: The line.
    """
    return (f'{row.classes} classes x {row.templates} templates: '
            f'{row.seconds:.1f} s, from the cache {row.warm_seconds:.3f} s'
            + format_target(row.warm_seconds, row.target))


def environment(device: torch.device, clock: str = 'wall') -> dict:
    """What a figure depends on.

    Args:
        device (torch.device): Where was measured.
        clock (str): Key of :data:`CLOCKS`.

    Returns:
        dict: Device, threads, versions and date.
    """
    name = (torch.cuda.get_device_name(device) if device.type == 'cuda' else
            f'{platform.processor() or platform.machine()} CPU')
    return dict(
        device=name, threads=torch.get_num_threads(),
        cpu_capability=torch.backends.cpu.get_cpu_capability(),
        clock=clock, torch=torch.__version__,
        python=platform.python_version(), date=date.today().isoformat())


def draw(rows: Sequence[Row], memory: Sequence[MemoryRow], path: Path,
         title: str) -> None:
    """Draw time beside MACs, and memory, relative to the baseline.

    Args:
        rows (Sequence[Row]): All measurements of time.
        memory (Sequence[MemoryRow]): All measurements of memory.
        path (Path): PNG to write.
        title (str): Title of the picture.
    """
    import matplotlib
    matplotlib.use('Agg')
    from matplotlib import pyplot as plt
    panels: Dict[str, List[Tuple[str, float, Optional[float]]]] = {}
    for row in rows:
        panels.setdefault(f'{row.mode}, {row.dtype}', []).append(
            (row.name, row.time_ratio, row.mac_ratio))
    for one in memory:
        panels.setdefault(f'peak memory, {one.dtype}', []).append(
            (one.name, one.peak_ratio, None))
    figure, axes = plt.subplots(
        1, len(panels), figsize=(1 + 4.2 * len(panels), 4), squeeze=False,
        sharey=True)
    for axis, (name, bars) in zip(axes[0], panels.items(), strict=True):
        names, ratios, macs = zip(*bars, strict=True)
        axis.barh(names, ratios, color='#4c78a8')
        if macs[0] is not None:
            axis.scatter(macs, names, color='black', marker='|', s=260,
                         label='MACs', zorder=3)
            axis.legend(loc='lower right')
        for label, ratio in zip(names, ratios, strict=True):
            axis.text(0.02, label, f'{ratio:.2f}', va='center',
                      color='white')
        axis.set_title(name)
        axis.set_xlabel('relative to the first model')
    axes[0][0].invert_yaxis()
    figure.suptitle(title)
    figure.tight_layout()
    with whole_file(path) as partial:
        figure.savefig(partial, dpi=120)
    plt.close(figure)


def leave_out(entries: Sequence[Entry],
              device: torch.device) -> List[Entry]:
    """Drop what a processor without bfloat16 only slows down.

    Args:
        entries (Sequence[Entry]): The models.
        device (torch.device): Where to run.

    Returns:
        list[Entry]: Those to measure.
    """
    if not any(entry.needs_bf16 for entry in entries):
        return list(entries)
    cost = bf16_cost(device)
    if cost < 1:
        return list(entries)
    for entry in entries:
        if entry.needs_bf16:
            print(f'left out {entry.name}: a bfloat16 product takes {cost:.1f}'
                  ' times as long as a float32 one on this processor')
    return [entry for entry in entries if not entry.needs_bf16]


def main_data(args: argparse.Namespace) -> None:
    """Measure reading against the model, print and write."""
    if args.configs or args.suite:
        raise ValueError('--data measures one config and no suite: give it '
                         'alone')
    found = measure_data(
        load_config(args.data), args.split or 'train', videos=args.videos,
        samples=32 if args.samples is None else args.samples,
        steps=args.repeats, device=args.device)
    print(found)
    out = Path(args.out).with_suffix('.json')
    with whole_file(out) as partial:
        partial.write_text(json.dumps(found.as_dict(), indent=2) + '\n')
    print(f'wrote {out}')


def main_readers(args: argparse.Namespace) -> None:
    """Measure readers of videos, print each file and write."""
    if args.configs or args.suite or args.data is not None:
        raise ValueError('--readers measures no model: give it without '
                         'configs, --suite and --data')
    rate = 400. if args.rate is None else args.rate
    pipeline = args.pipeline and load_config(args.pipeline)
    found = []
    out = Path(args.out).with_suffix('.json')
    for file in measure_readers(
            args.readers, again=args.re_encode, repeats=args.repeats,
            rate=rate, pipeline=pipeline):
        print(file, '\n', flush=True)
        found.append(file.as_dict())
        with whole_file(out) as partial:  # a later file may be broken
            partial.write_text(json.dumps(
                dict(environment={**environment(torch.device('cpu'), 'cpu'),
                                  **versions(), 'threads': 1},
                     rate=rate, repeats=args.repeats, files=found),
                indent=2) + '\n')
    print(f'wrote {out}')


def main(args: argparse.Namespace) -> None:
    """Measure, print and write."""
    for name in ('re_encode', 'pipeline', 'rate'):
        given = getattr(args, name)
        if args.readers is None and given is not None and given is not False:
            raise ValueError(f'--{name.replace("_", "-")} is about readers: '
                             'add --readers')
    if args.data is not None and args.readers is None:
        main_data(args)
        return
    for name in ('split', 'videos', 'samples'):
        if getattr(args, name) is not None:
            raise ValueError(f'--{name} is about reading: add --data CONFIG')
    if args.readers is not None:
        main_readers(args)
        return
    if args.repeats < 2:
        raise ValueError(f'--repeats {args.repeats} gives no median: use at '
                         'least 2')
    entries = choose(args)
    if args.explain and 'memory' not in args.modes:
        raise ValueError('--explain tells what the mode memory finds: add '
                         'memory to --modes')
    if args.threads:
        torch.set_num_threads(args.threads)
    device = torch.device(
        args.device or ('cuda' if torch.cuda.is_available() else 'cpu'))
    if args.clock == 'cpu' and device.type != 'cpu':
        raise ValueError(f'--clock cpu does not see what {device} does: leave '
                         'it out, or add --device cpu')
    torch.manual_seed(0)
    if args.peak_of is not None:
        entry = Entry(**json.loads(args.peak_of))
        print(json.dumps(peak_here(entry, args, device)))
        return
    if args.serve is not None:
        serve(Entry(**json.loads(args.serve)), args, device)
        return
    entries = leave_out(entries, device)
    where = environment(device, args.clock)
    # First, while this process holds no model.
    memory: List[MemoryRow] = []
    for dtype in args.dtypes if 'memory' in args.modes else ():
        measured = measure_memory(entries, dtype, args)
        print(format_memory(measured), '\n')
        memory += measured
    text = None
    if 'text' in args.modes:
        text = measure_text(entries, device, args.clock)
        print(format_text(text), '\n')
    modes = [mode for mode in args.modes if mode not in OTHER_MODES]
    cases = build_cases(entries, args.frames) if modes else []
    rows: List[Row] = []
    for mode in modes:
        for dtype in args.dtypes:
            found = measure(cases, mode, dtype, args.batch, device,
                            args.repeats, args.warmup, args.clock)
            print(format_rows(found), '\n')
            rows += found
    for case in cases:
        if case.worker is not None:
            case.worker.close()
    frames = frames_of(read_entry(entries[0], args.frames))
    out = Path(args.out)
    with whole_file(out.with_suffix('.json')) as partial:
        partial.write_text(json.dumps(
            dict(environment=where, batch=args.batch, frames=frames,
                 rows=[asdict(row) for row in rows],
                 memory=[asdict(row) for row in memory],
                 text=text and asdict(text)), indent=2) + '\n')
    title = (f'{where["device"]}, torch {where["torch"]}, {args.batch} x '
             f'{frames} frames, {where["date"]}')
    written = [out.with_suffix('.json')]
    if rows or memory:
        written.append(out.with_suffix('.png'))
        draw(rows, memory, written[-1], title)
    print('wrote ' + ' and '.join(map(str, written)))


if __name__ == '__main__':
    arguments = parse_args()
    run_tool(main, arguments)
