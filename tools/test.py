#!/usr/bin/env python
"""Test a checkpoint with the evaluators of its config."""

import argparse

from mmengine.config import Config

import mmvidadapt  # noqa: F401  (mends the stack before mmengine is used)
from mmvidadapt.apis.cli import (
    add_run_options,
    build_runner,
    make_parser,
    prepare_run,
    run_tool,
)


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = make_parser(
        'Test a checkpoint.',
        'python tools/test.py configs/inti/vitb_k400.py '
        'work_dirs/vitb_k400/epoch_30.pth')
    parser.add_argument('config', help='path of the config')
    parser.add_argument('checkpoint', help='path of the checkpoint')
    add_run_options(parser)
    parser.add_argument('--dump', metavar='FILE.pkl',
                        help='write predictions for offline evaluation')
    parser.add_argument('--show-dir', metavar='FOLDER',
                        help='write pictures of the predictions')
    parser.add_argument('--show', action='store_true',
                        help='show pictures of the predictions')
    parser.add_argument('--interval', type=int, default=1,
                        help='show every n-th sample')
    parser.add_argument('--wait-time', type=float, default=2,
                        help='seconds that a picture is shown')
    return parser.parse_args()


def apply_options(cfg: Config, args: argparse.Namespace) -> None:
    """Apply the options of testing to a config, in place.

    Args:
        cfg (Config): The config.
        args (argparse.Namespace): Parsed options.

    Raises:
        ValueError: If an option does not fit the config.
    """
    if args.show or args.show_dir is not None:
        hook = cfg.default_hooks.get('visualization')
        if hook is None:
            raise ValueError('--show and --show-dir need default_hooks.'
                             'visualization in the config: add '
                             "dict(type='VisualizationHook')")
        hook.update(enable=True, show=args.show, out_dir=args.show_dir,
                    interval=args.interval, wait_time=args.wait_time)
    if args.dump is not None:
        if not args.dump.endswith(('.pkl', '.pickle')):
            raise ValueError(f'--dump {args.dump!r} is not a pickle file: '
                             'choose a name that ends in .pkl')
        evaluators = cfg.test_evaluator
        if not isinstance(evaluators, (list, tuple)):
            evaluators = [evaluators]
        cfg.test_evaluator = [
            *evaluators, dict(type='DumpResults', out_file_path=args.dump)]
    cfg.load_from = args.checkpoint


def main(args: argparse.Namespace) -> None:
    """Test."""
    cfg = prepare_run(args)
    apply_options(cfg, args)
    build_runner(cfg).test()


if __name__ == '__main__':
    arguments = parse_args()
    run_tool(main, arguments)
