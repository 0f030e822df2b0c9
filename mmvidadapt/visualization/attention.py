"""Which patches the class token of an encoder looks at in a video."""

import argparse
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch

from ..apis.class_attention import ClassAttention, class_attention
from .canvas import FrameTable, names_as_written
from .videos import add_video_arguments, look_at, write_numbers

SUMMARY = ('attention of the class token to the patches of the frames of a '
           'video, layer by layer')
EXAMPLE = ('python tools/visualize.py attention configs/mote/vitb_k400.py '
           'work_dirs/vitb_k400/epoch_30.pth demo.mp4 --layers 3 7 11 '
           '--out attention')


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add what the picture is asked for with."""
    add_video_arguments(parser)
    parser.add_argument(
        '--layers', type=int, nargs='+', metavar='N', default=[-1],
        help='layers of the encoder, counted from 0, or from the last one '
        'as -1 (default: the last one)')
    parser.add_argument(
        '--head', type=int, metavar='N', help='one head of the attention, '
        'counted from 0; default: the mean of all')


def draw(args: argparse.Namespace) -> str:
    """Show a video to a model and draw its attention.

    Args:
        args (argparse.Namespace): With :func:`add_options`.

    Returns:
        str: What to tell the user.

    Raises:
        ValueError: If the model has no such attention, or an option does not
            fit.
    """
    look = look_at(args)
    try:
        found = class_attention(look.backbone, look.clip, args.layers)
    except ValueError as error:
        raise ValueError(f'{args.config} cannot be drawn: {error}') from None
    shares = {layer: _of_head(one, args.head)
              for layer, one in found.items()}
    joint = look.backbone.encoder.kind == 'joint'
    numbers = dict(
        look.numbers, head=args.head, joint=joint,
        layers=[dict(layer=layer, itself=itself,
                     frames=patches.sum(axis=(1, 2)), patches=patches)
                for layer, (patches, itself) in shares.items()])
    which = 'mean of all heads' if args.head is None else f'head {args.head}'
    frames = look.frames
    tubelet = getattr(look.backbone.encoder, 'tubelet_size', 1)
    if tubelet > 1:
        frames = frames[tubelet // 2::tubelet]
    return write_numbers(
        args, 'attention', numbers, lambda file: draw_attention(
            frames, shares, joint,
            f'What the class token looks at ({which}) in {look.title}', file))


def _of_head(found: ClassAttention,
             head: int | None) -> tuple[np.ndarray, np.ndarray]:
    """Shares of patches ``(T, rows, columns)`` and of the class token."""
    patches, itself = found.patches[0], found.itself[0]
    heads = patches.shape[1]
    if head is not None and not 0 <= head < heads:
        raise ValueError(f'--head {head} is not there, the encoder has '
                         f'{heads} heads: give 0 to {heads - 1}')
    chosen = slice(None) if head is None else slice(head, head + 1)
    patches, itself = (torch.mean(values[:, chosen], dim=1).cpu()
                       for values in (patches, itself))
    return patches.numpy(), itself.numpy()


@names_as_written
def draw_attention(
        frames: np.ndarray,
        shares: Mapping[int, tuple[np.ndarray, np.ndarray]], joint: bool,
        title: str, path: Path) -> None:
    """Frames, and the attention of the class token in each layer.

    ::

        frames      | 1 | 2 | 3 | 4 |
        layer 3     | a | b | c | d |     colour: attention to each patch
        layer 11    |   a   |   b   |     (frames were merged in between)

    Each row has a scale of its own, from 0 to its largest share. Below a
    picture stands what all its patches get of the attention; the rest stays
    with the class token itself or, with attention over all frames, goes to
    other frames.

    Args:
        frames (np.ndarray): ``(T, H, W, 3)`` RGB, uint8.
        shares (Mapping[int, tuple[np.ndarray, np.ndarray]]): By layer, the
            shares of patches ``(T', rows, columns)`` and of the class tokens
            themselves, ``(T')`` or ``(1)``.
        joint (bool): Whether one class token looks at all frames.
        title (str): Headline.
        path (Path): PNG file.
    """
    table = FrameTable(frames, len(shares), title)
    for layer, (patches, itself) in shares.items():
        kept = f'\nitself {100 * itself[0]:.0f} %' if joint else ''
        table.row(
            f'layer {layer}\nlargest {100 * patches.max():.2g} %{kept}',
            table.merged(len(patches)),
            [f'{100 * one.sum():.0f} %' for one in patches],
            patches / max(patches.max(), 1e-12))
    whose = 'the clip' if joint else 'its frame'
    table.save(path, f'attention of the class token of {whose} to each patch, '
               '1 is the largest of the row; below each picture: the sum over '
               'its patches')
