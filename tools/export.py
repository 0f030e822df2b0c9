#!/usr/bin/env python
"""Write a trained model as ONNX or as a program of torch.export."""

import argparse
import json
from pathlib import Path

import mmvidadapt  # noqa: F401  (mends the stack before mmaction is used)
from mmvidadapt.apis import VideoClassifier
from mmvidadapt.apis.cli import (
    add_config_options,
    change_config,
    load_config,
    make_parser,
    run_tool,
)
from mmvidadapt.apis.complexity import input_shape
from mmvidadapt.apis.exporting import FORMATS, Exporter, require
from mmvidadapt.files import check_folder, whole_file


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = make_parser(
        'Write a model that runs without this package: clips (B, 3, T, H, W) '
        'in, normalised,\nscores (B, K) of each clip out, for any B. Experts '
        'are merged, features of classes\nand everything that folds exactly '
        'are in the weights. OUT.json says what goes in and\nout. Nothing is '
        'written unless the scores are those of PyTorch.',
        'python tools/export.py configs/inti/vitb_k400.py epoch_30.pth '
        'vitb_k400.onnx')
    parser.add_argument('config', metavar='CONFIG', help='path of the config')
    parser.add_argument('checkpoint', metavar='CKPT', help='its checkpoint')
    parser.add_argument('out', metavar='OUT', type=Path,
                        help='file to write, .onnx or .pt2; must not exist')
    parser.add_argument('--format', choices=list(FORMATS), default='onnx',
                        help="onnx (default; needs pip install '.[export]') "
                        'or torch_export')
    parser.add_argument('--labels', metavar='NAMES', help='names of the '
                        'classes, a shipped list such as k400 or a file; '
                        'default: what the config says')
    add_config_options(parser)
    return parser.parse_args()


def check(args: argparse.Namespace) -> Path:
    """Refuse what cannot be done, before anything is computed.

    Args:
        args (argparse.Namespace): The command line.

    Returns:
        Path: Of the JSON file.

    Raises:
        ValueError: If the name does not fit the format.
        FileExistsError: If a file does.
        PermissionError: If the folder cannot be written to.
    """
    require(args.format)
    suffix = FORMATS[args.format]
    if args.out.suffix != suffix:
        raise ValueError(f'{args.out} does not end in {suffix}: name the file '
                         'so, or choose another --format')
    about = args.out.with_suffix('.json')
    for path in (args.out, about):
        if path.exists():
            raise FileExistsError(f'{path} exists: choose another name, or '
                                  'delete it first')
    check_folder(args.out.parent)
    return about


def main(args: argparse.Namespace) -> None:
    """Read, fold, write and compare."""
    about = check(args)
    cfg = load_config(args.config)
    change_config(cfg, args.cfg_options)
    classifier = VideoClassifier(
        cfg, args.checkpoint, device='cpu', labels=args.labels)
    shape = input_shape(cfg)[2:]
    if len(shape) != 4:
        raise ValueError(f'the test pipeline makes views of shape {shape}: '
                         "give FormatShape input_format='NCTHW'")
    model = classifier.model
    norm = cfg.model.data_preprocessor
    exporter = Exporter(model, shape)
    with whole_file(args.out) as partial:
        worst = exporter.write(partial, args.format)
        with whole_file(about) as part:
            part.write_text(json.dumps(dict(
                format=args.format, config=args.config,
                checkpoint=args.checkpoint,
                input=dict(name='clips', dtype='float32',
                           shape=['batch', *shape], layout='BCTHW'),
                output=dict(name='scores', dtype='float32',
                            shape=['batch', len(classifier.labels)]),
                mean=list(norm.mean), std=list(norm.std),
                normalisation='(RGB from 0 to 255 - mean) / std',
                average_clips=model.cls_head.average_clips,
                labels=classifier.labels, folded=exporter.folded,
                largest_difference=worst), indent=2) + '\n')
    told = ', '.join(f'{number} {what}'
                     for what, number in exporter.folded.items())
    print(f'wrote {args.out} and {about.name}: clips of {tuple(shape)}, '
          f'{len(classifier.labels)} classes; scores differ by at most '
          f'{worst:.1e} from those of PyTorch; folded: {told or "nothing"}')


if __name__ == '__main__':
    arguments = parse_args()
    run_tool(main, arguments)
