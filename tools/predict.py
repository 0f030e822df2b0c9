#!/usr/bin/env python
"""Say what videos show: labels and scores, as text, JSON and pictures."""

import argparse
import json
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from mmengine.utils import ProgressBar

import mmvidadapt  # noqa: F401  (mends the stack before mmaction is used)
from mmvidadapt.apis import Prediction, Timeline, VideoClassifier
from mmvidadapt.apis.cli import (
    add_config_options,
    change_config,
    load_config,
    make_parser,
    run_tool,
)
from mmvidadapt.datasets.broken_video import BrokenVideoError
from mmvidadapt.datasets.video_files import VIDEO_SUFFIXES, find_videos
from mmvidadapt.files import check_folder, whole_file
from mmvidadapt.visualization.predictions import (
    draw_sheet,
    draw_timeline,
    write_labelled,
)

#: Seconds after which the JSON file is written again.
SAVE_EVERY = 10.


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = make_parser(
        'Say what videos show. A broken video is left out and named at the '
        'end; the exit\nstatus is 1 then.',
        'python tools/predict.py configs/inti/vitb_k400.py epoch_30.pth '
        'my_videos --out result.json --show sheet.png\n'
        '  python tools/predict.py configs/mote/vitb_k400.py mote.pth '
        'long.mp4 --classes "running,jumping" --window 2 --stride 1 '
        '--show long.png')
    parser.add_argument('config', metavar='CONFIG',
                        help='path of the config; its test says how a video '
                        'is read')
    parser.add_argument('checkpoint', metavar='CKPT', help='its checkpoint')
    parser.add_argument('videos', metavar='VIDEO', nargs='+',
                        help='video files, folders of frames, and folders of '
                        'such, searched to their depth')
    parser.add_argument('--classes', metavar='"A,B,C"',
                        help='choose from these names instead (zero-shot): '
                        'names with commas between them, a shipped list such '
                        'as k600, or a file')
    parser.add_argument('--labels', metavar='NAMES', help='names of the '
                        'classes that the model was trained on: as for '
                        '--classes; default: what the config says')
    parser.add_argument('--topk', type=int, default=5,
                        help='classes told of each video (default 5)')
    parser.add_argument('--out', type=Path, metavar='FILE.json',
                        help='write labels and scores; on an error what is '
                        'known by then is written')
    parser.add_argument('--show', type=Path, metavar='PATH',
                        help='FILE.mp4: the video with its labels; FILE.png: '
                        'a contact sheet, with --window the scores over '
                        'time; a folder: an .mp4 for each video, with '
                        '--window a .png too')
    parser.add_argument('--window', type=float, metavar='SECONDS',
                        help='slide a window of this length over each video')
    parser.add_argument('--stride', type=float, metavar='SECONDS',
                        help='between the starts of two windows; default: '
                        'half of --window')
    parser.add_argument('--fps', type=float, help='with --window: frames per '
                        'second; default: what the video says')
    parser.add_argument('--batch-size', type=int, default=1,
                        help='videos, or windows, that the model looks at at '
                        'once (default 1)')
    parser.add_argument('--workers', type=int, default=0,
                        help='processes that read videos ahead (default 0)')
    parser.add_argument('--device', help='where the model runs; default: a '
                        'GPU if there is one')
    parser.add_argument('--bf16', action='store_true',
                        help='compute in bfloat16')
    add_config_options(parser)
    return parser.parse_args()


def names_of(text: str | None) -> str | list[str] | None:
    """Names of classes as an option gives them.

    Args:
        text (str | None): Names with commas between them, or the name of a
            list or file.

    Returns:
        str | list[str] | None: As ``class_names`` takes it.
    """
    if text is None or ',' not in text:
        return text
    return [name.strip() for name in text.split(',')]


def check(args: argparse.Namespace, videos: Sequence[Path]) -> None:
    """Refuse what cannot be done, before anything is computed.

    Args:
        args (argparse.Namespace): The command line.
        videos (Sequence[Path]): The videos that it names.

    Raises:
        ValueError: If options do not fit each other or the videos.
        PermissionError: If a folder cannot be written to.
    """
    if args.window is None:
        for name in ('stride', 'fps'):
            if getattr(args, name) is not None:
                raise ValueError(f'--{name} is for sliding windows: add '
                                 '--window')
    if args.out is not None and args.out.suffix != '.json':
        raise ValueError(f'--out {args.out} is not a JSON file: choose a '
                         'name that ends in .json')
    if args.show is not None:
        kind = args.show.suffix
        if kind not in ('', '.mp4', '.png'):
            raise ValueError(f'--show {args.show} is neither .mp4 nor .png '
                             'nor a folder: choose one of them')
        one = kind == '.mp4' or (kind == '.png' and args.window is not None)
        if one and len(videos) > 1:
            raise ValueError(
                f'--show {args.show} holds one video and there are '
                f'{len(videos)}: give a folder')
    for path in (args.out, args.show):
        if path is not None:
            check_target(path, videos)


def check_target(path: Path, videos: Sequence[Path]) -> None:
    """Refuse what cannot be written, or would change what is looked at.

    Args:
        path (Path): A file, or a folder if it has no suffix.
        videos (Sequence[Path]): What is looked at.

    Raises:
        ValueError: If it is of the other kind, or would change a video.
        PermissionError: If the folder cannot be written to.
    """
    folder = path.parent if path.suffix else path
    if path.exists() and path.is_dir() == bool(path.suffix):
        kind = 'folder' if path.suffix else 'file'
        raise ValueError(f'{path} is a {kind}: choose another name')
    check_folder(folder)
    looked_at = {video.resolve() for video in videos}
    if not path.suffix:
        # Those of a link, and of what it leads to.
        looked_at |= {place.parent.resolve()
                      for place in (*looked_at, *videos)}
    frames = {video.resolve() for video in videos if video.is_dir()}
    if path.resolve() in looked_at or folder.resolve() in frames:
        raise ValueError(f'{path} would change the videos that are looked '
                         'at: choose another folder')


class Answers:
    """What is known so far, in memory and in a file.

    Args:
        path (Path | None): JSON file.
        about (dict): What the file says beside the answers.
        topk (int): Classes told of each window.
    """

    def __init__(self, path: Path | None, about: dict, topk: int) -> None:
        self.path = path
        self.about = about
        self.topk = topk
        self.found: list[Prediction | Timeline] = []
        self._saved = time.monotonic()

    def add(self, answer: Prediction | Timeline) -> None:
        """Take an answer; now and then write them all."""
        self.found.append(answer)
        if time.monotonic() - self._saved >= SAVE_EVERY:
            self.save()

    def save(self) -> None:
        """Write the file, if one was asked for."""
        if self.path is None:
            return
        answers = [one.as_dict() if isinstance(one, Prediction) else
                   one.as_dict(self.topk) for one in self.found]
        with whole_file(self.path) as part:
            part.write_text(json.dumps(
                dict(self.about, predictions=answers), indent=2) + '\n')
        self._saved = time.monotonic()


def predict(args: argparse.Namespace, classifier: VideoClassifier,
            videos: Sequence[Path], answers: Answers) -> None:
    """Look at all videos, with a progress bar over them, or over windows.

    Args:
        args (argparse.Namespace): The command line.
        classifier (VideoClassifier): The model.
        videos (Sequence[Path]): What to look at.
        answers (Answers): Takes what is found.
    """
    classes = names_of(args.classes)
    classifier.choices(classes)  # errors of these come before the bar
    try:
        if args.window is None:
            bar = ProgressBar(len(videos), file=sys.stderr)
            for one in classifier.stream(videos, classes, args.topk,
                                         args.batch_size, args.workers):
                answers.add(one)
                bar.update()
            return
        for place, video in enumerate(videos, 1):
            sys.stderr.write(f'{video} ({place} of {len(videos)})\n')
            try:
                answers.add(classifier.over_time(
                    video, args.window, args.stride, classes,
                    args.batch_size, args.fps, window_bar()))
            except BrokenVideoError as error:
                answers.add(Prediction(str(video), error=str(error)))
            sys.stderr.write('\n')
    finally:
        sys.stderr.write('\n')
        answers.save()


def window_bar() -> Callable[[int, int], None]:
    """A progress bar over the windows of one video.

    Returns:
        Callable[[int, int], None]: Takes how many are done, and of how many.
    """
    bars: list[ProgressBar] = []

    def tell(done: int, total: int) -> None:
        if not bars:
            bars.append(ProgressBar(total, file=sys.stderr))
        bars[0].update(done - bars[0].completed)

    return tell


def show(path: Path, found: Sequence[Prediction | Timeline],
         topk: int) -> list[Path]:
    """Write what ``--show`` asks for.

    Args:
        path (Path): File or folder.
        found (Sequence[Prediction | Timeline]): What is known.
        topk (int): Classes to draw.

    Returns:
        list[Path]: What was written.
    """
    sound = [one for one in found if isinstance(one, Timeline)
             or one.error is None]
    if path.suffix == '.png' and not any(
            isinstance(one, Timeline) for one in sound):
        return draw_sheet([one for one in sound
                           if isinstance(one, Prediction)], path)
    written = []
    if not path.suffix:
        path.mkdir(parents=True, exist_ok=True)
    for one in sound:
        target = path if path.suffix else free_name(
            path, Path(one.video).name, written)
        if isinstance(one, Timeline) and target.suffix == '.png':
            draw_timeline(one, target, topk)
        else:
            write_labelled(one, target, min(topk, 3))
        written.append(target)
        if isinstance(one, Timeline) and not path.suffix:
            written.append(target.with_suffix('.png'))
            draw_timeline(one, written[-1], topk)
    return written


def free_name(folder: Path, name: str, taken: Sequence[Path]) -> Path:
    """A name in a folder that no other video of this run has.

    Args:
        folder (Path): The folder.
        name (str): Name of the video.
        taken (Sequence[Path]): What was written.

    Returns:
        Path: ``NAME.mp4``, or ``NAME-2.mp4``, ...
    """
    stem, number = name, 1
    if Path(name).suffix.lower() in VIDEO_SUFFIXES:  # of folders, dots stay
        stem = Path(name).stem
    target = folder / f'{stem}.mp4'
    while target in taken:
        number += 1
        target = folder / f'{stem}-{number}.mp4'
    return target


def main(args: argparse.Namespace) -> int:
    """Look, print and write.

    Args:
        args (argparse.Namespace): The command line.

    Returns:
        int: 1 if a video could not be read, 130 if it was interrupted,
        else 0.
    """
    videos = find_videos(args.videos)
    check(args, videos)
    cfg = load_config(args.config)
    if args.cfg_options is not None:
        if cfg.get('test_dataloader') and any(
                key.startswith('test_pipeline') for key in args.cfg_options):
            raise ValueError(
                'test_pipeline of --cfg-options changes nothing, because '
                'test_dataloader has the pipeline: change '
                'test_dataloader.dataset.pipeline')
        change_config(cfg, args.cfg_options)
    classifier = VideoClassifier(
        cfg, args.checkpoint, device=args.device, bf16=args.bf16,
        labels=names_of(args.labels))
    answers = Answers(args.out, dict(
        config=args.config, checkpoint=args.checkpoint), args.topk)
    stopped = False
    try:
        predict(args, classifier, videos, answers)
    except KeyboardInterrupt:
        stopped = True
    finally:  # what is known is told, whatever happened
        broken = [one for one in answers.found
                  if isinstance(one, Prediction) and one.error is not None]
        for one in answers.found:
            if one not in broken:
                print(one)
    if stopped:
        where = 'above' if args.out is None else f'in {args.out}'
        sys.stderr.write(f'stopped: the answers of {len(answers.found)} of '
                         f'{len(videos)} videos are {where}\n')
        return 130
    written = [] if args.out is None else [args.out]
    if args.show is not None and len(broken) < len(answers.found):
        written += show(args.show, answers.found, args.topk)
    if written:
        print('wrote ' + ', '.join(map(str, written)))
    for one in broken:
        print(one)
    return 1 if broken else 0


if __name__ == '__main__':
    arguments = parse_args()
    run_tool(main, arguments)
