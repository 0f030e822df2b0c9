#!/usr/bin/env python
"""Turn a UniFormerV2 checkpoint of MMAction2 into one for our configs."""

import argparse
import os.path as osp

import torch

import mmvidadapt  # noqa: F401  (mends the stack before mmengine is used)
from mmvidadapt.apis.cli import load_config, make_parser, run_tool
from mmvidadapt.compat.checkpoints import read_checkpoint
from mmvidadapt.files import whole_file
from mmvidadapt.models.adapters.uniformerv2_weights import (
    convert_uniformerv2_checkpoint,
)


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = make_parser(
        "Rename and reshape the weights of MMAction2's UniFormerV2 for "
        'CLIPViT with\nLocalMHRA and GlobalUniBlock. Every weight is '
        'converted, or nothing is written.',
        'python tools/convert_uniformerv2.py uniformerv2.pth ours.pth '
        '--config configs/inti/vitb_k400_uniformerv2.py')
    parser.add_argument('checkpoint', help='checkpoint of MMAction2')
    parser.add_argument('out', help='file to write; must not exist')
    parser.add_argument(
        '--config', help='config that will load the file; its list of '
        'adapters gives each its number. Default: the local modules that the '
        'checkpoint has, then the global blocks')
    return parser.parse_args()


def main(args: argparse.Namespace) -> None:
    """Convert and write."""
    if osp.exists(args.out):
        raise FileExistsError(
            f'{args.out} exists: choose another name, or delete it first')
    checkpoint = read_checkpoint(args.checkpoint, map_location='cpu')
    adapters = None
    if args.config is not None:
        backbone = load_config(args.config).model.backbone
        adapters = [a['type'] for a in backbone.get('adapters', ())]
    converted = convert_uniformerv2_checkpoint(
        checkpoint.get('state_dict', checkpoint), adapters)
    with whole_file(args.out) as partial:
        torch.save(dict(state_dict=converted), partial)
    count = sum(value.numel() for value in converted.values())
    print(f'wrote {args.out}: {len(converted)} tensors, '
          f'{count / 1e6:.2f} M numbers')


if __name__ == '__main__':
    arguments = parse_args()
    run_tool(main, arguments)
