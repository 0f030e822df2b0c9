"""What is large in the side network of TDS-CLIP, with and without motion.

Source: TDS-CLIP, arXiv 2408.10688, Fig. 5.
"""

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from ..apis.side_activations import side_activations, without_sme
from .canvas import FrameTable, names_as_written, stretched
from .videos import Look, add_video_arguments, look_at, write_numbers

SUMMARY = ('size of the tokens of a side network on the frames of a video, '
           'with and without the SME-Adapter')
EXAMPLE = ('python tools/visualize.py side configs/tds_clip/vitb_ssv2.py '
           'work_dirs/vitb_ssv2/epoch_30.pth demo.mp4 --out side')


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add what the picture is asked for with."""
    add_video_arguments(parser)
    parser.add_argument(
        '--layers', type=int, nargs='+', metavar='N', help='side blocks to '
        'draw below the entrance of the side network, counted from 0, or '
        'from the last one as -1; default: the middle and the last one')
    parser.add_argument(
        '--without', nargs=2, metavar=('CONFIG', 'CKPT'), help='a model that '
        'was trained without the SME-Adapter (window=1), to compare with; '
        'default: the same model with its motion path switched off')


def draw(args: argparse.Namespace) -> str:
    """Show a video to a model and draw its side tokens.

    Args:
        args (argparse.Namespace): With :func:`add_options`.

    Returns:
        str: What to tell the user.

    Raises:
        ValueError: If a model has no side network, there is nothing to
            compare, or an option does not fit.
    """
    look = look_at(args)
    with_sme = _activations(look, args.config)
    parts = _parts(with_sme, args.layers)
    rows, told = {}, []
    if look.backbone.window == 1:
        if args.without:
            raise ValueError(
                f'{args.config} has window=1, so no SME-Adapter to compare '
                'with: give the model that has one first, and this one to '
                '--without')
        told.append(f'{args.config} has window=1: there is no SME-Adapter')
        rows[''] = with_sme
    else:
        rows['with SME-Adapter'] = with_sme
        if args.without:
            other = look_at(argparse.Namespace(**{
                **vars(args), 'config': args.without[0],
                'checkpoint': args.without[1], 'cfg_options': None}))
            found = _activations(other, args.without[0])
            if other.backbone.window > 1:
                raise ValueError(
                    f'--without {args.without[0]} has window='
                    f'{other.backbone.window}, so an SME-Adapter: give a '
                    'config with window=1')
            shapes = [{part: values.shape for part, values in one.items()}
                      for one in (with_sme, found)]
            if shapes[0] != shapes[1]:
                raise ValueError(
                    f'--without {args.without[0]} has other layers, frames '
                    f'or patches than {args.config}: give a config that '
                    'differs in its window alone')
        else:
            with without_sme(look.backbone):
                found = _activations(look, args.config)
        rows['without'] = found
    norms = {
        f'{"entrance" if part == "stem" else part}\n{how}'.strip():
        found[part] for part in parts for how, found in rows.items()}
    numbers = dict(
        look.numbers, without=args.without, parts=[
            dict(part=part, with_sme=(how != 'without'
                                      and look.backbone.window > 1),
                 norms=found[part])
            for part in parts for how, found in rows.items()])
    told.append(write_numbers(
        args, 'side', numbers, lambda file: draw_activations(
            look.frames, norms, f'What is large in the side network on '
            f'{look.title}', file)))
    return '\n'.join(told)


def _activations(look: Look, config: str) -> dict[str, np.ndarray]:
    """Norms ``(T, rows, columns)`` by part."""
    try:
        found = side_activations(look.backbone, look.clip)
    except ValueError as error:
        raise ValueError(f'{config} cannot be drawn: {error}') from None
    return {part: norms[0].cpu().numpy() for part, norms in found.items()}


def _parts(found: Mapping[str, np.ndarray],
           layers: Sequence[int] | None) -> list[str]:
    """The entrance and the chosen blocks."""
    count = len(found) - 1
    if layers is None:
        layers = [count // 2, count - 1] if count > 1 else [0]
    wrong = [layer for layer in layers if not -count <= layer < count]
    if wrong:
        raise ValueError(f'--layers {wrong[0]} is not there, the side '
                         f'network has blocks 0 to {count - 1}: give one of '
                         'them')
    return ['stem', *(f'block {layer % count}' for layer in layers)]


@names_as_written
def draw_activations(frames: np.ndarray, norms: Mapping[str, np.ndarray],
                     title: str, path: Path) -> None:
    """Frames, and how large the tokens of models are on them.

    ::

        frames         | 1 | 2 | 3 | 4 |
        a model        | a | b | c | d |     colour: size of each token
        another model  | a | b | c | d |

    Each row has a scale of its own: 0 is its smallest token in the clip, 1
    its largest.

    Args:
        frames (np.ndarray): ``(T, H, W, 3)`` RGB, uint8.
        norms (Mapping[str, np.ndarray]): Name of the row -> norms of tokens,
            ``(T, rows, columns)``.
        title (str): Headline.
        path (Path): PNG file.
    """
    table = FrameTable(frames, len(norms), title)
    for row, values in norms.items():
        table.row(f'{row}\n({_plain(values.min())} to {_plain(values.max())})',
                  table.frames, values=stretched(values))
    table.save(path, 'size (L2 norm) of each token, 0 is the smallest of '
               'the row, 1 the largest')


def _plain(value: float) -> str:
    """Three digits, without a power of ten up to a million."""
    return f'{value:.0f}' if 100 <= value < 1e6 else f'{value:.3g}'
