#!/usr/bin/env python
"""Write the model of a checkpoint as safetensors."""

import argparse
import json
import os.path as osp
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

import mmvidadapt  # noqa: F401  (mends the stack before mmengine is used)
from mmvidadapt.apis.cli import make_parser, run_tool
from mmvidadapt.compat.checkpoints import read_checkpoint
from mmvidadapt.files import whole_file
from mmvidadapt.models.frozen_weights import fingerprints_in


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = make_parser(
        'Write the model of a checkpoint as safetensors, without optimizer '
        'and message hub.\ntools/test.py, init_recognizer and '
        'MMAction2Inferencer read the file as they read\nthe checkpoint; its '
        'metadata holds the config and what the frozen weights are.',
        'python tools/export_safetensors.py work_dirs/vitb_k400/epoch_30.pth '
        'vitb_k400.safetensors')
    parser.add_argument('checkpoint', help='checkpoint of a training')
    parser.add_argument('out', metavar='OUT.safetensors',
                        help='file to write; must not exist')
    return parser.parse_args()


def model_part(checkpoint: Any,
               source: str) -> tuple[dict[str, Tensor], dict[str, str]]:
    """What safetensors can hold of a checkpoint.

    Args:
        checkpoint (Any): What was read.
        source (str): The file, for messages.

    Returns:
        tuple[dict[str, Tensor], dict[str, str]]: The tensors and the
        metadata.

    Raises:
        ValueError: If there are no tensors, or other things among them.
    """
    if not isinstance(checkpoint, Mapping):
        checkpoint = {}
    state = checkpoint.get('state_dict', checkpoint)
    other = [key for key, value in state.items() if not torch.is_tensor(value)]
    if other or not state:
        raise ValueError(
            f'{source} has no state dict of tensors'
            + (f' ({other[0]!r} is none)' if other else '')
            + ': give a checkpoint of a training')
    # Each with memory of its own, as the format wants it.
    tensors = {key: value.detach().clone(
        memory_format=torch.contiguous_format)
        for key, value in state.items()}
    metadata = dict(format='pt')
    text = checkpoint.get('meta', {}).get('cfg')
    if isinstance(text, str):
        metadata['cfg'] = text
    frozen = {prefix.rstrip('.'): asdict(fingerprint)
              for prefix, fingerprint in fingerprints_in(state).items()}
    if frozen:
        metadata['fingerprints'] = json.dumps(frozen)
    return tensors, metadata


def main(args: argparse.Namespace) -> None:
    """Read and write."""
    if not args.out.endswith('.safetensors'):
        raise ValueError(f'{args.out} is not named as safetensors: choose a '
                         'name that ends in .safetensors')
    if osp.exists(args.out):
        raise FileExistsError(
            f'{args.out} exists: choose another name, or delete it first')
    checkpoint = read_checkpoint(args.checkpoint, map_location='cpu')
    tensors, metadata = model_part(checkpoint, args.checkpoint)
    with whole_file(args.out) as partial:
        save_file(tensors, partial, metadata)
    size = osp.getsize(args.out) / 1e6
    print(f'wrote {args.out}: {len(tensors)} tensors, {size:.2f} MB'
          + (f'; left to their source: {metadata["fingerprints"]}'
             if 'fingerprints' in metadata else ''))


if __name__ == '__main__':
    arguments = parse_args()
    run_tool(main, arguments)
