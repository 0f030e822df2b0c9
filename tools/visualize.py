#!/usr/bin/env python
"""Draw the pictures of the papers, of a trained model."""

import argparse

import mmvidadapt  # noqa: F401  (mends the stack before mmaction is used)
from mmvidadapt.apis.cli import make_parser, run_tool
from mmvidadapt.visualization import PICTURES


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = make_parser(
        'Draw the pictures of the papers, of a trained model, as PNG.',
        '\n  '.join(module.EXAMPLE for module in PICTURES.values()))
    names = parser.add_subparsers(required=True, metavar='PICTURE')
    for name, module in PICTURES.items():
        one = names.add_parser(name, help=module.SUMMARY,
                               description=f'Draw: {module.SUMMARY}.',
                               epilog=f'example:\n  {module.EXAMPLE}',
                               formatter_class=parser.formatter_class)
        module.add_options(one)
        one.set_defaults(draw=module.draw)
    return parser.parse_args()


def main(args: argparse.Namespace) -> None:
    """Draw, and say what was written."""
    print(args.draw(args))


if __name__ == '__main__':
    arguments = parse_args()
    run_tool(main, arguments)
