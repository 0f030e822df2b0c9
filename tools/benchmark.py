#!/usr/bin/env python
"""Measure models of configs against each other, on CPU or GPU."""

import argparse
import json
import os
import platform
import statistics
import time
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path
from typing import Callable, Dict, List, Optional, Sequence, Tuple

import torch
from mmaction.registry import MODELS
from mmaction.structures import ActionDataSample
from mmengine.registry import init_default_scope
from mmengine.utils import track_iter_progress
from torch import nn

import mmvidadapt  # noqa: F401  (mends the stack before mmengine is used)
from mmvidadapt.apis.cli import load_config, make_parser, run_tool
from mmvidadapt.apis.complexity import config_complexity, count_complexity

ROOT = Path(__file__).resolve().parents[1]
DTYPES = {'fp32': torch.float32, 'bf16': torch.bfloat16}


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = make_parser(
        'Measure the forward pass and the training step of several models,\n'
        'in one process and in turns, and compare time with MACs. Without\n'
        "configs: naive, InTI_3,5 / 5,7 / 7,9, InTI^temp and MMAction2's "
        'UniFormerV2.',
        'python tools/benchmark.py --frames 16 --modes forward '
        '--out benchmark')
    parser.add_argument(
        'configs', nargs='*',
        help='configs to compare; the first is the baseline')
    parser.add_argument('--arch', choices=['vitb', 'vitl'], default='vitb',
                        help='size of the models compared by default')
    parser.add_argument('--frames', type=int,
                        help="frames of a clip; default: the config's")
    parser.add_argument('--batch', type=int, default=1, help='clips')
    parser.add_argument('--modes', nargs='+', choices=['forward', 'train'],
                        default=['forward', 'train'])
    parser.add_argument('--dtypes', nargs='+', choices=sorted(DTYPES),
                        default=['fp32', 'bf16'],
                        help='bf16: autocast with float32 weights')
    parser.add_argument('--device', help='default: cuda if there is one')
    parser.add_argument('--repeats', type=int, default=9,
                        help='measurements of each model; the median counts')
    parser.add_argument('--warmup', type=int, default=2,
                        help='runs of each model before the first measurement')
    parser.add_argument('--threads', type=int,
                        help="CPU threads; default: torch's choice")
    parser.add_argument('--out', default='benchmark', metavar='PREFIX',
                        help='write PREFIX.json and PREFIX.png')
    return parser.parse_args()


@dataclass
class Case:
    """One model of the comparison.

    Args:
        name (str): Short name.
        model (nn.Module): The recognizer.
        macs (int): Multiply-accumulates of one view, attention included.
        frames (int): Frames of a clip.
        size (int): Side of a frame in pixels.
    """

    name: str
    model: nn.Module
    macs: int
    frames: int
    size: int


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


def set_frames(cfg: dict, frames: int) -> None:
    """Give a config another frame count, in place.

    Args:
        cfg (dict): A config whose backbone is a ``CLIPViT``.
        frames (int): Frames of a clip.
    """
    cfg['model']['backbone']['num_frames'] = frames


def build_cases(args: argparse.Namespace) -> List[Case]:
    """Build the models to compare, with random weights.

    Args:
        args (argparse.Namespace): Parsed options.

    Returns:
        list[Case]: The baseline first.
    """
    paths = args.configs or [
        str(ROOT / 'configs' / 'inti' / f'{args.arch}_k400{suffix}.py')
        for suffix in ('_naive', '_3-5', '', '_7-9', '_temp')]
    cases = []
    for place, path in enumerate(paths, 1):
        print(f'building {place}/{len(paths)}: {Path(path).stem}', flush=True)
        cfg = load_config(path)
        init_default_scope(cfg.get('default_scope', 'mmaction'))
        frames = args.frames or cfg.model.backbone.num_frames
        set_frames(cfg, frames)
        cfg.model.pop('data_preprocessor', None)
        model = MODELS.build(cfg.model)
        size = model.backbone.encoder.arch.image_size
        macs = config_complexity(
            cfg, (1, 1, 3, frames, size, size)).total.all_macs
        cases.append(Case(Path(path).stem, model, macs, frames, size))
    if not args.configs:
        frames, size = cases[0].frames, cases[0].size
        print("building MMAction2's UniFormerV2", flush=True)
        model = MODELS.build(stock_uniformerv2(args.arch, frames))
        macs = count_complexity(
            model, (1, 1, 3, frames, size, size)).total.all_macs
        cases.append(Case('mmaction2 UniFormerV2', model, macs, frames, size))
    return cases


def make_step(case: Case, mode: str, dtype: torch.dtype, batch: int,
              device: torch.device) -> Callable[[], None]:
    """A function that runs one forward pass or training step.

    Args:
        case (Case): The model.
        mode (str): ``'forward'`` or ``'train'`` (forward, backward and an
            optimiser step without state).
        dtype (torch.dtype): Precision; below float32 by autocast.
        batch (int): Clips.
        device (torch.device): Where to run.

    Returns:
        Callable: Runs one step.
    """
    shape = (batch, 1, 3, case.frames, case.size, case.size)
    inputs = torch.randn(shape, device=device)
    model = case.model.to(device).train(mode == 'train')
    cast = nullcontext() if dtype is torch.float32 else torch.autocast(
        device.type, dtype)
    if mode == 'forward':
        def forward() -> None:
            with torch.no_grad(), cast:
                feats, kwargs = model.extract_feat(inputs, test_mode=True)
                model.cls_head(feats, **kwargs)
        return forward

    samples = [ActionDataSample().set_gt_label(i) for i in range(batch)]
    # Without momentum, so that all models fit beside each other.
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.SGD(trained, lr=1e-6)

    def train() -> None:
        with cast:
            losses = model(inputs, samples, mode='loss')
        loss = sum(v for k, v in losses.items() if 'loss' in k)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
    return train


def timed(step: Callable[[], None],
          device: torch.device) -> Tuple[float, Optional[int]]:
    """Run a step once.

    Args:
        step (Callable): The step.
        device (torch.device): Where it runs.

    Returns:
        tuple[float, int | None]: Seconds, and on a GPU the bytes that it
        took at its peak above what was allocated before.
    """
    if device.type != 'cuda':
        start = time.perf_counter()
        step()
        return time.perf_counter() - start, None
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
        peak_mib (float | None): Peak memory of a step on a GPU.
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


def measure(cases: Sequence[Case], mode: str, dtype: str, batch: int,
            device: torch.device, repeats: int, warmup: int) -> List[Row]:
    """Measure every model in turns, so that drift hits all alike.

    Args:
        cases (Sequence[Case]): The models, the baseline first.
        mode (str): ``'forward'`` or ``'train'``.
        dtype (str): Key of ``DTYPES``.
        batch (int): Clips.
        device (torch.device): Where to run.
        repeats (int): Measurements of each model.
        warmup (int): Runs before the first measurement.

    Returns:
        list[Row]: One row a model.
    """
    steps = [make_step(c, mode, DTYPES[dtype], batch, device) for c in cases]
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
            seconds, peak = timed(step, device)
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
            peaks[i] / 2**20 if i in peaks else None))
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
            f'{peak:>8}')
    return '\n'.join(lines)


def environment(device: torch.device) -> dict:
    """What a figure depends on.

    Args:
        device (torch.device): Where was measured.

    Returns:
        dict: Device, threads, versions and date.
    """
    name = (torch.cuda.get_device_name(device) if device.type == 'cuda' else
            f'{platform.processor() or platform.machine()} CPU')
    return dict(
        device=name, threads=torch.get_num_threads(),
        cpu_capability=torch.backends.cpu.get_cpu_capability(),
        torch=torch.__version__, python=platform.python_version(),
        date=date.today().isoformat())


def draw(rows: Sequence[Row], path: Path, title: str) -> None:
    """Draw time beside MACs, relative to the baseline.

    Args:
        rows (Sequence[Row]): All measurements.
        path (Path): PNG to write.
        title (str): Title of the picture.
    """
    import matplotlib
    matplotlib.use('Agg')
    from matplotlib import pyplot as plt
    groups = list(dict.fromkeys((row.mode, row.dtype) for row in rows))
    figure, axes = plt.subplots(
        1, len(groups), figsize=(1 + 4.2 * len(groups), 4), squeeze=False,
        sharey=True)
    for axis, group in zip(axes[0], groups, strict=True):
        found = [row for row in rows if (row.mode, row.dtype) == group]
        names = [row.name for row in found]
        axis.barh(names, [row.time_ratio for row in found], color='#4c78a8',
                  label='time')
        axis.scatter([row.mac_ratio for row in found], names, color='black',
                     marker='|', s=260, label='MACs', zorder=3)
        for row in found:
            axis.text(0.02, row.name, f'{row.time_ratio:.2f}', va='center',
                      color='white')
        axis.set_title(', '.join(group))
        axis.set_xlabel('relative to the first model')
        axis.invert_yaxis() if axis is axes[0][0] else None
    axes[0][-1].legend(loc='lower right')
    figure.suptitle(title)
    figure.tight_layout()
    partial = path.with_suffix('.part.png')
    figure.savefig(partial, dpi=120)
    plt.close(figure)
    os.replace(partial, path)


def main(args: argparse.Namespace) -> None:
    """Measure, print and write."""
    if args.repeats < 2:
        raise ValueError(f'--repeats {args.repeats} gives no median: use at '
                         'least 2')
    if args.threads:
        torch.set_num_threads(args.threads)
    device = torch.device(
        args.device or ('cuda' if torch.cuda.is_available() else 'cpu'))
    torch.manual_seed(0)
    cases = build_cases(args)
    where = environment(device)
    rows = []
    for mode in args.modes:
        for dtype in args.dtypes:
            found = measure(cases, mode, dtype, args.batch, device,
                            args.repeats, args.warmup)
            print(format_rows(found), '\n')
            rows += found
    out = Path(args.out)
    out.parent.mkdir(parents=True, exist_ok=True)
    partial = out.with_suffix('.json.part')
    partial.write_text(json.dumps(
        dict(environment=where, batch=args.batch, frames=cases[0].frames,
             rows=[asdict(row) for row in rows]), indent=2) + '\n')
    os.replace(partial, out.with_suffix('.json'))
    title = (f'{where["device"]}, torch {where["torch"]}, {args.batch} x '
             f'{cases[0].frames} frames, {where["date"]}')
    draw(rows, out.with_suffix('.png'), title)
    print(f'wrote {out.with_suffix(".json")} and {out.with_suffix(".png")}')


if __name__ == '__main__':
    arguments = parse_args()
    run_tool(main, arguments)
