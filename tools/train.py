#!/usr/bin/env python
"""Train a model from a config, with MMAction2's options."""

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
        'Train a model from a config.',
        'python tools/train.py configs/inti/vitb_k400.py --synthetic 8 '
        '--cfg-options train_cfg.max_epochs=1')
    parser.add_argument('config', help='path of the config')
    add_run_options(parser)
    parser.add_argument(
        '--resume', nargs='?', const='auto', metavar='CHECKPOINT',
        help='go on from this checkpoint, or from the newest of the work '
        'folder')
    parser.add_argument(
        '--amp', action='store_true',
        help='bfloat16 autocast with float32 weights')
    parser.add_argument('--no-validate', action='store_true',
                        help='do not validate during training')
    parser.add_argument(
        '--auto-scale-lr', action='store_true',
        help='scale the learning rate with the batch over all processes')
    parser.add_argument('--seed', type=int, help='random seed')
    parser.add_argument('--diff-rank-seed', action='store_true',
                        help='another seed on every process')
    parser.add_argument('--deterministic', action='store_true',
                        help='deterministic algorithms of cuDNN')
    return parser.parse_args()


def apply_options(cfg: Config, args: argparse.Namespace) -> None:
    """Apply the options of training to a config, in place.

    Args:
        cfg (Config): The config.
        args (argparse.Namespace): Parsed options.

    Raises:
        ValueError: If an option needs a setting that the config lacks, or
            a file that it was not given.
    """
    if args.no_validate:
        cfg.val_cfg = cfg.val_dataloader = cfg.val_evaluator = None
    if args.amp:
        wrapper = cfg.optim_wrapper.get('type', 'OptimWrapper')
        if wrapper not in ('OptimWrapper', 'AmpOptimWrapper'):
            raise ValueError(f'--amp cannot change the optimizer wrapper '
                             f'{wrapper}: set its precision in the config')
        cfg.optim_wrapper.type = 'AmpOptimWrapper'
        cfg.optim_wrapper.setdefault('dtype', 'bfloat16')
    if args.resume is not None:
        if args.resume.endswith('.safetensors'):
            raise ValueError(
                f'--resume {args.resume} has no optimizer and no epoch: give '
                'a checkpoint of the training, or start a new one with '
                '--cfg-options load_from=FILE')
        cfg.resume = True
        cfg.load_from = None if args.resume == 'auto' else args.resume
    if args.auto_scale_lr:
        if cfg.get('auto_scale_lr', {}).get('base_batch_size') is None:
            raise ValueError(
                '--auto-scale-lr needs auto_scale_lr.base_batch_size in the '
                'config: state the batch that its learning rate is for')
        cfg.auto_scale_lr.enable = True
    randomness = dict(cfg.get('randomness') or {})
    if args.seed is not None:
        randomness['seed'] = args.seed
    if args.diff_rank_seed:
        randomness['diff_rank_seed'] = True
    if args.deterministic:
        randomness['deterministic'] = True
    if randomness:
        cfg.randomness = randomness


def main(args: argparse.Namespace) -> None:
    """Train."""
    cfg = prepare_run(args)
    apply_options(cfg, args)
    build_runner(cfg).train()


if __name__ == '__main__':
    arguments = parse_args()
    run_tool(main, arguments)
