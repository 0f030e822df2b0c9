#!/usr/bin/env python
"""Write the features of every video of a folder to disk."""

import argparse
import os
import sys
from pathlib import Path

import numpy as np
import torch
from mmaction.apis import init_recognizer
from mmengine.dataset import pseudo_collate
from mmengine.utils import track_iter_progress
from torch import Tensor, nn

import mmvidadapt  # noqa: F401  (mends the stack before mmaction is used)
from mmvidadapt.apis.cli import (
    add_config_options,
    change_config,
    load_config,
    make_parser,
    run_tool,
)
from mmvidadapt.apis.video_pipeline import VideoPipeline
from mmvidadapt.datasets.broken_video import BrokenVideoError
from mmvidadapt.datasets.video_files import VIDEO_SUFFIXES, files_below
from mmvidadapt.files import whole_file


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = make_parser(
        'Write the features of every video of a folder to disk: the frame '
        'features of each\nview (V, T, D) and their mean, the clip feature '
        '(D). Videos that have a file\nalready are skipped, so that an '
        'interrupted run goes on where it stopped.',
        'python tools/data/extract_features.py configs/inti/vitb_k400.py '
        'work_dirs/vitb_k400/epoch_30.pth my_videos features')
    parser.add_argument('config', help='path of the config; its '
                        'test data say which views are taken, as in '
                        'tools/test.py')
    parser.add_argument('checkpoint', help='weights of the model')
    parser.add_argument('folder', type=Path,
                        help='folder of videos, searched to its depth')
    parser.add_argument('out', type=Path, help='folder to write to')
    parser.add_argument('--format', choices=('npz', 'pt'), default='npz',
                        help='NumPy archive (default) or Torch file, with '
                        "the keys 'frames' and 'clip'")
    parser.add_argument('--device', default='cuda:0' if
                        torch.cuda.is_available() else 'cpu',
                        help='where the model runs (default: %(default)s)')
    parser.add_argument('--views', type=int, default=4,
                        help='views that pass through the model at once '
                        '(default 4)')
    parser.add_argument('--force', action='store_true',
                        help='extract again what has been extracted')
    add_config_options(parser)
    return parser.parse_args()


def plan(folder: Path, out: Path, suffix: str,
         force: bool = False) -> list[tuple[Path, Path]]:
    """Pair the videos of a folder with the files to write.

    The tree of the folder is kept, and the video's whole name, so that two
    videos that differ in their suffix do not meet.

    Args:
        folder (Path): Folder of videos.
        out (Path): Folder to write to.
        suffix (str): Of the files to write, without a dot.
        force (bool): Whether to take videos that have their file.

    Returns:
        list[tuple[Path, Path]]: Video and file, sorted.

    Raises:
        ValueError: If the folder does not exist or holds no videos.
    """
    if not folder.is_dir():
        raise ValueError(f'{folder} is not a folder: give a folder of '
                         'videos.')
    videos = files_below(folder)
    if not videos:
        raise ValueError(f'{folder} holds no videos '
                         f'({", ".join(VIDEO_SUFFIXES)}): give a folder of '
                         'videos.')
    pairs = [(video, out / f'{video.relative_to(folder)}.{suffix}')
             for video in videos]
    return [(video, target) for video, target in pairs
            if force or not target.exists()]


@torch.no_grad()
def extract(model: nn.Module, pipeline: VideoPipeline, video: Path,
            views: int) -> dict[str, Tensor]:
    """Features of one video.

    Args:
        model (nn.Module): A recognizer whose backbone returns frame features
            ``(B, T, D)``.
        pipeline (VideoPipeline): How the config reads videos.
        video (Path): The file.
        views (int): How many views pass through the model at once.

    Returns:
        dict[str, Tensor]: ``frames`` ``(V, T, D)`` and ``clip`` ``(D)``,
        float32 on the CPU.

    Raises:
        ValueError: If the backbone returns something else.
    """
    data = model.data_preprocessor(
        pseudo_collate([pipeline.read(video)]), False)
    inputs = data['inputs'].flatten(0, 1)  # (V, 3, T, H, W)
    frames = torch.cat([model.backbone(part)
                        for part in inputs.split(views)]).float().cpu()
    if frames.dim() != 3:
        raise ValueError(
            f'The backbone returns features of shape {tuple(frames.shape)}, '
            'not (views, frames, channels): use a config whose backbone '
            'gives frame features.')
    return dict(frames=frames, clip=frames.mean(dim=(0, 1)))


def save(features: dict[str, Tensor], target: Path) -> None:
    """Write features so that a kill leaves no half file behind.

    Args:
        features (dict[str, Tensor]): What to write.
        target (Path): ``.npz`` or ``.pt``.
    """
    with whole_file(target) as partial, partial.open('wb') as file:
        if target.suffix == '.pt':
            torch.save(features, file)
        else:
            np.savez(file, **{key: value.numpy()
                              for key, value in features.items()})


def main(args: argparse.Namespace) -> int:
    """Extract what is missing.

    Args:
        args (argparse.Namespace): The command line.

    Returns:
        int: 1 if a video could not be read, else 0.
    """
    if args.views < 1:
        raise ValueError(f'--views is {args.views}: give at least 1.')
    if not os.path.isfile(args.checkpoint):
        raise FileNotFoundError(f'checkpoint {args.checkpoint!r} does not '
                                'exist: give the path of a .pth file')
    todo = plan(args.folder, args.out, args.format, args.force)
    if not todo:
        print('Nothing to do: every video has its file (--force extracts '
              'again).')
        return 0
    cfg = load_config(args.config)
    change_config(cfg, args.cfg_options)
    pipeline = VideoPipeline(cfg)
    model = init_recognizer(cfg, args.checkpoint, device=args.device)
    broken = []
    for video, target in track_iter_progress(todo, file=sys.stderr):
        try:
            save(extract(model, pipeline, video, args.views), target)
        except BrokenVideoError as error:
            broken.append(str(error))
    print(f'\n{len(todo) - len(broken)} of {len(todo)} videos written to '
          f'{args.out}')
    for what in broken:
        print(f'Left out: {what}')
    return 1 if broken else 0


if __name__ == '__main__':
    arguments = parse_args()
    run_tool(main, arguments)
