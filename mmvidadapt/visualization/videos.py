"""What pictures of one video share: the video, as a trained model sees it."""

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from mmengine.dataset import pseudo_collate
from torch import Tensor, nn

from ..apis.cli import with_options
from ..apis.video_classifier import VideoClassifier
from ..datasets.video_files import find_videos
from ..files import whole_file
from .canvas import short
from .runs import add_model_arguments, out_folder


class Look(NamedTuple):
    """A trained model and the view of a video that it is shown.

    Args:
        model (nn.Module): The recognizer, in eval mode.
        frames (np.ndarray): ``(T, H, W, 3)`` RGB, uint8: the frames of the
            view, cropped as the model sees them; of windows, the middles.
        clip (Tensor): ``(1, 3, T*window, H, W)``, as the backbone reads it.
        title (str): Names the video and what the model says.
        numbers (dict[str, Any]): The same for a file of numbers.
    """

    model: nn.Module
    frames: np.ndarray
    clip: Tensor
    title: str
    numbers: dict[str, Any]

    @property
    def backbone(self) -> nn.Module:
        """The backbone of the model."""
        return self.model.backbone

    @property
    def grid(self) -> tuple[int, int]:
        """Patch rows and columns of a frame."""
        return self.backbone.encoder.arch.grid_size


def add_video_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what every picture of one video is asked for with."""
    add_model_arguments(parser)
    parser.add_argument('video', metavar='VIDEO', help='a video file, or a '
                        'folder of numbered frames')
    parser.add_argument(
        '--view', type=int, default=0, metavar='N', help='which of the views '
        'that the config tests with, counted from 0 (default: %(default)s)')
    parser.set_defaults(synthetic=None)


def look_at(args: argparse.Namespace) -> Look:
    """Give a video to a trained model, as the config's test does.

    Args:
        args (argparse.Namespace): With :func:`add_video_arguments`.

    Returns:
        Look: The model and one view of the video.

    Raises:
        BrokenVideoError: If the video cannot be read.
        FileNotFoundError: If config, checkpoint or video are not there.
        ValueError: If the path is a folder of videos, or has no such view.
    """
    cfg = with_options(args)
    if find_videos([args.video]) != [Path(args.video)]:
        raise ValueError(f'{args.video} is a folder of videos: give one of '
                         'them')
    classifier = VideoClassifier(cfg, args.checkpoint, device=args.device)
    sample = classifier.read(args.video)
    return look_at_view(classifier, sample, args.view, args.video, {
        'config': args.config, 'checkpoint': args.checkpoint})


def look_at_view(classifier: VideoClassifier, sample: dict, view: int,
                 video: str, numbers: dict[str, Any]) -> Look:
    """Give one view to a trained model.

    Args:
        classifier (VideoClassifier): The model.
        sample (dict): What it read of a video.
        view (int): Which view, counted from 0.
        video (str): The file, for the title.
        numbers (dict[str, Any]): What the numbers begin with.

    Returns:
        Look: The model and the view.

    Raises:
        ValueError: If there is no such view.
    """
    views = len(sample['inputs'])
    if not 0 <= view < views:
        raise ValueError(f'--view {view} is not there, the config tests with '
                         f'{views} views: give 0 to {views - 1}')
    model = classifier.model
    sample = dict(sample, inputs=sample['inputs'][view:view + 1])
    with torch.no_grad():
        data = model.data_preprocessor(pseudo_collate([sample]), False)
        scores = model(**data, mode='predict')[0].pred_score
    scores = scores.flatten().float().cpu()
    best = int(scores.argmax())
    window = getattr(model.backbone, 'window', 1)
    shown = sample['inputs'][0][:, window // 2::window]  # (3, T, H, W)
    name, score = classifier.labels[best], float(scores[best])
    which = f', --view {view} of {views}' if views > 1 else ''
    return Look(
        model, shown.permute(1, 2, 3, 0).clamp(0, 255).byte().numpy(),
        data['inputs'].flatten(0, 1),
        f'{short(Path(video).name)}{which}\n'
        f'(the model says: {short(name)}, {score:.2f})',
        dict(numbers, video=video, view=view, views=views, predicted=name,
             score=score))


def write_numbers(args: argparse.Namespace, picture: str,
                  numbers: dict[str, Any],
                  draw: Callable[[Path], None]) -> str:
    """Write the picture and the file of its numbers.

    Args:
        args (argparse.Namespace): With :func:`add_video_arguments`.
        picture (str): Name of the picture.
        numbers (dict[str, Any]): They may hold arrays.
        draw (Callable[[Path], None]): Writes the picture to a file.

    Returns:
        str: What to tell the user.
    """
    folder = out_folder(args, picture)
    draw(folder / f'{picture}.png')
    with whole_file(folder / f'{picture}.json') as partial:
        partial.write_text(json.dumps(numbers, default=_rounded, indent=1)
                           + '\n')
    return (f'the model says {numbers["predicted"]} ({numbers["score"]:.3f})\n'
            f'wrote {picture}.png, {picture}.json to {folder}')


def _rounded(values: np.ndarray) -> list:
    """An array as JSON takes it, with six digits."""
    return np.vectorize(lambda value: float(f'{value:.6g}'))(values).tolist()
