#!/usr/bin/env python
"""Write one HTML page of a run."""

import argparse
from pathlib import Path

import mmvidadapt  # noqa: F401  (mends the stack before mmaction is used)
from mmvidadapt.apis.cli import (
    add_config_options,
    change_config,
    make_parser,
    run_tool,
)
from mmvidadapt.apis.dumped import read_scores
from mmvidadapt.apis.run_logs import read_run
from mmvidadapt.files import whole_file
from mmvidadapt.visualization.report import Report, make_page


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = make_parser(
        'Write one HTML page of a run: curves, confusion matrix, best and '
        'worst classes, sample\nclips, configuration and environment. It '
        'needs no network, and nothing beside it.',
        'python tools/report.py work_dirs/vitb_k400 '
        '--predictions work_dirs/vitb_k400/predictions.pkl')
    parser.add_argument('work_dir', metavar='WORK_DIR', type=Path,
                        help='work folder of tools/train.py')
    parser.add_argument(
        '--predictions', type=Path, metavar='FILE.pkl', help='what '
        'tools/test.py --dump wrote, for confusion matrix, classes and clips')
    parser.add_argument(
        '--out', type=Path, metavar='FILE.html',
        help='file to write (default: WORK_DIR/report.html)')
    parser.add_argument(
        '--clips', type=int, default=6, metavar='N', help='sample clips that '
        'the model gets wrong, and as many that it gets right (default: '
        '%(default)s); 0 for none')
    add_config_options(parser)
    return parser.parse_args()


def main(args: argparse.Namespace) -> None:
    """Write the page, and say where it is.

    Args:
        args (argparse.Namespace): Parsed options.

    Raises:
        ValueError: If an option makes no sense.
    """
    if args.clips < 0:
        raise ValueError(f'--clips {args.clips} makes no sense: give 0 or '
                         'more')
    run = read_run(args.work_dir)
    scores = None if args.predictions is None else (
        read_scores(args.predictions))
    if args.cfg_options is not None:
        if run.config is None:
            raise ValueError(f'{args.work_dir} holds no config that '
                             '--cfg-options could change: leave them out')
        change_config(run.config, args.cfg_options)
    page = make_page(Report(
        args.work_dir.resolve().name, str(args.work_dir), run, run.config,
        scores, args.clips))
    out = args.out or args.work_dir / 'report.html'
    with whole_file(out) as partial:
        partial.write_text(page, encoding='utf-8')
    print(f'wrote {out} ({len(page) / 1e6:.1f} MB)')


if __name__ == '__main__':
    arguments = parse_args()
    run_tool(main, arguments)
