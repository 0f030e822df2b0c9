#!/usr/bin/env python
"""Count multiply-accumulates and parameters of the model of a config."""

import argparse
import json
from typing import List

from mmengine.registry import init_default_scope

import mmvidadapt  # noqa: F401  (mends the stack before mmengine is used)
from mmvidadapt.apis.cli import (
    add_config_options,
    change_config,
    load_config,
    make_parser,
    run_tool,
)
from mmvidadapt.apis.complexity import Complexity, Cost, config_complexity


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = make_parser(
        'Count multiply-accumulates (MACs) and parameters of a model, for '
        'one view.\nThe InTI and MoTE papers print MACs with the two '
        'attention products as GFLOPs,\nTDS-CLIP prints them without.',
        'python tools/get_flops.py configs/inti/vitb_k400.py')
    parser.add_argument('config', help='path of the config')
    add_config_options(parser)
    parser.add_argument(
        '--shape', nargs=3, type=int, metavar=('T', 'H', 'W'),
        help='frames, height and width; default: those of the test pipeline')
    parser.add_argument('--json', action='store_true',
                        help='print JSON instead of a table')
    return parser.parse_args()


def format_table(result: Complexity) -> str:
    """A table of the parts and their sum.

    Args:
        result (Complexity): The count.

    Returns:
        str: Lines of text.
    """
    rows: List[List[str]] = [[
        'part', 'GMACs', 'without attention', 'params (M)', 'trained (M)']]

    def add(name: str, cost: Cost) -> None:
        rows.append([
            name, f'{cost.all_macs / 1e9:.2f}', f'{cost.macs / 1e9:.2f}',
            f'{cost.params / 1e6:.3f}', f'{cost.trained_params / 1e6:.3f}'])

    for name, cost in result.parts.items():
        add(name, cost)
    add('total', result.total)
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = ['  '.join(cell.ljust(w) if i == 0 else cell.rjust(w)
                       for i, (cell, w) in enumerate(
                           zip(row, widths, strict=True)))
             for row in rows]
    rule = '-' * len(lines[0])
    frames, height, width = result.shape[-3:]
    return '\n'.join([
        f'one view of {frames} frames, {height} x {width} pixels', rule,
        lines[0], rule, *lines[1:-1], rule, lines[-1]])


def to_json(result: Complexity) -> str:
    """The count as JSON, in units of 1.

    Args:
        result (Complexity): The count.

    Returns:
        str: JSON with ``shape``, ``parts`` and ``total``.
    """
    def entry(cost: Cost) -> dict:
        return dict(macs=cost.all_macs, macs_without_attention=cost.macs,
                    params=cost.params, trained_params=cost.trained_params)

    return json.dumps(dict(
        shape=list(result.shape),
        parts={name: entry(cost) for name, cost in result.parts.items()},
        total=entry(result.total)), indent=2)


def main(args: argparse.Namespace) -> None:
    """Count and print."""
    cfg = load_config(args.config)
    change_config(cfg, args.cfg_options)
    init_default_scope(cfg.get('default_scope', 'mmaction'))
    shape = (1, 1, 3, *args.shape) if args.shape else ()
    result = config_complexity(cfg, shape)
    print(to_json(result) if args.json else format_table(result))


if __name__ == '__main__':
    arguments = parse_args()
    run_tool(main, arguments)
