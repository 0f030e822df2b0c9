"""What InTI keeps of each frame of a video.

Source: *Dynamic and Compressive Adaptation of Transformers From Images to
Videos*, ECCV 2024, Fig. 4 and 5.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from ..apis.inti_weights import pair_weights, path_weights
from .canvas import FrameTable, names_as_written, numbered
from .videos import add_video_arguments, look_at, write_numbers

SUMMARY = 'weights of tokens over the frames of a video, of every InTI'
EXAMPLE = ('python tools/visualize.py inti configs/inti/vitb_k400.py '
           'work_dirs/vitb_k400/epoch_30.pth demo.mp4 --out inti_weights')


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add what the picture is asked for with."""
    add_video_arguments(parser)


def draw(args: argparse.Namespace) -> str:
    """Show a video to a model and draw the weights of its frames.

    Args:
        args (argparse.Namespace): With :func:`add_options`.

    Returns:
        str: What to tell the user.

    Raises:
        ValueError: If the model does not weigh frames, or an option does not
            fit.
    """
    look = look_at(args)
    try:
        pairs = pair_weights(look.backbone, look.clip)
    except ValueError as error:
        raise ValueError(f'{args.config} cannot be drawn: {error}') from None
    weights = [found[0].cpu().numpy() for found in pairs]
    path = path_weights(pairs)[0].cpu().numpy()
    numbers = dict(
        look.numbers,
        stages=[dict(frames=len(found), class_token=found[:, 0],
                     patches=found[:, 1:].mean(axis=1)) for found in weights],
        together=dict(class_token=path[:, 0],
                      patches=path[:, 1:].mean(axis=1),
                      each_patch=path[:, 1:].reshape(-1, *look.grid)))
    return write_numbers(
        args, 'inti', numbers,
        lambda file: draw_weights(look.frames, weights, look.grid,
                                  f'What InTI keeps of {look.title}', file))


@names_as_written
def draw_weights(frames: np.ndarray, weights: Sequence[np.ndarray],
                 grid: tuple[int, int], title: str, path: Path) -> None:
    """Frames, weights and aggregated frames of every InTI.

    ::

        frames            | 1 | 2 | 3 | 4 |     T columns
        weights in pairs  | a | b | a | b |     colour: share of the pair
        aggregated        |  1+2  |  3+4  |     pixels mixed by the weights
        weights in pairs  |   a   |   b   |     next InTI
        aggregated        |    1 to 4     |
        together          | a | b | c | d |     product along the way

    Args:
        frames (np.ndarray): ``(T, H, W, 3)`` RGB, uint8.
        weights (Sequence[np.ndarray]): For each InTI ``(T_in, 1+N)``, the
            class token first.
        grid (tuple[int, int]): Patch rows and columns.
        title (str): Headline.
        path (Path): PNG file.
    """
    size = frames.shape[1:3]
    several = len(weights) > 1
    table = FrameTable(frames, 2 * len(weights) + several, title)
    pictures = table.frames
    scale = ('weight of a frame in what it is merged to, 1 takes this frame '
             'alone, 0.5 is the plain mean of a pair')
    for stage, found in enumerate(weights):
        maps = found[:, 1:].reshape(-1, *grid)
        table.row(f'InTI {stage + 1}:\nweight of each\npatch in its pair',
                  pictures, [f'mean {one.mean():.2f}' for one in maps],
                  maps, 'RdBu_r')
        mixed = _enlarged(maps, size)[..., None] * pictures
        pictures = mixed[0::2].copy()
        pictures[:len(mixed) // 2] += mixed[1::2]
        spans = table.spans(len(pictures))
        table.row(f'aggregated:\n{numbered(len(pictures), "frame")}',
                  pictures.clip(0, 1),
                  [f'frames {first + 1} to {end}' if end - first > 1 else
                   f'frame {end}' for first, end in spans])
    if several:
        together, plain = (path_weights([
            torch.from_numpy(found)[None] for found in pairs])[0].numpy()
            for pairs in (weights, [_plain(len(one)) for one in weights]))
        maps = together[:, 1:].reshape(-1, *grid)
        table.row('together:\nweight of each\npatch in the end',
                  table.frames, [
                      f'mean {one.mean():.2f}\n(plain {share:.3g})'
                      for one, share in zip(maps, plain[:, 0], strict=True)],
                  _around(maps, plain[:, 0]), 'RdBu_r')
        scale += ('; of the last row 0.5 is the weight that plain means '
                  'would give, which stands in brackets')
    table.save(path, scale)


def _plain(number: int) -> np.ndarray:
    """Weights of plain means ``(T_in, 1)``; a last frame may be alone."""
    weights: np.ndarray = np.full((number, 1), .5, np.float32)
    weights[number - number % 2:] = 1
    return weights


def _around(maps: np.ndarray, middles: np.ndarray) -> np.ndarray:
    """Values from 0 to 1 with another middle for each map, moved to 0.5.

    Args:
        maps (np.ndarray): ``(T, h, w)``.
        middles (np.ndarray): ``(T)``; 1 leaves a map as it is.

    Returns:
        np.ndarray: ``(T, h, w)``, below and above the middle in proportion.
    """
    found = maps.copy()
    for one, middle in zip(found, middles, strict=True):
        if middle < 1:
            one[:] = np.interp(one, [0, middle, 1], [0, .5, 1])
    return found


def _enlarged(maps: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Values of patches ``(T, h, w)`` for every pixel ``(T, H, W)``."""
    rows = np.arange(size[0]) * maps.shape[1] // size[0]
    columns = np.arange(size[1]) * maps.shape[2] // size[1]
    return maps[:, rows][:, :, columns]
