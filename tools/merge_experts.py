#!/usr/bin/env python
"""Merge weights: experts of MoTE, checkpoints, fine-tuned and original."""

import argparse
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import mmvidadapt  # noqa: F401  (mends the stack before mmengine is used)
from mmvidadapt.apis.cli import load_config, make_parser, run_tool
from mmvidadapt.compat.checkpoints import read_checkpoint
from mmvidadapt.files import whole_file
from mmvidadapt.models.clip import CLIPVisionEncoder
from mmvidadapt.models.frozen_weights import fingerprints_in
from mmvidadapt.models.necks import merge_state_dict, without_experts
from mmvidadapt.models.necks.experts import (
    check_sum,
    has_experts,
    merge_tensors,
)

ENCODER = 'backbone.encoder.'
LOGIT_SCALE = 'cls_head.logit_scale'
#: The scale of OpenAI's released models, to which their training clamps it.
CLIP_SCALE = math.log(100)
#: Counters, which say nothing of the weights.
_COUNTER = 'num_batches_tracked'
#: Of the classes of a text head: no weight, and no other class is between.
_FINETUNE_FEATURES = 'finetune_features'
_SHOWN = 3


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = make_parser(
        'Average weights, in this order: those of several checkpoints '
        '(a model soup), those\nof fine-tuned and original CLIP '
        '(--clip-ratio), those of the experts of MoTE.\nWhat comes out '
        'loads with num_experts=0. Nothing is written if anything does not\n'
        'fit.',
        'python tools/merge_experts.py work_dirs/vitb_k400/epoch_30.pth '
        'merged.pth')
    parser.add_argument('checkpoints', metavar='CKPT', nargs='+',
                        help='checkpoint of a training; several are averaged')
    parser.add_argument('out', metavar='OUT.pth', type=Path,
                        help='file to write; must not exist')
    how = parser.add_mutually_exclusive_group()
    how.add_argument(
        '--weights', nargs='+', type=float, metavar='W',
        help='a weight for each expert, such as 0 0 1 0 for the third alone; '
        'default: equal weights')
    how.add_argument(
        '--temperature', type=float, metavar='TAU',
        help='weights of the experts softmax((1..E) / TAU), Eq. 7')
    how.add_argument(
        '--keep-experts', action='store_true',
        help='average experts of several checkpoints, or with CLIP, and not '
        'with each other')
    parser.add_argument(
        '--soup', nargs='+', type=float, metavar='W',
        help='a weight for each checkpoint; default: equal weights')
    parser.add_argument(
        '--clip-ratio', type=float, metavar='R',
        help='image tower: R x fine-tuned + (1 - R) x original weights; '
        "MoTE's authors test with 0.99")
    parser.add_argument(
        '--config', help='config of the training; its backbone.encoder names '
        'the original weights of --clip-ratio')
    return parser.parse_args()


def read_state(path: str) -> tuple[dict[str, Tensor], dict]:
    """The tensors and the metadata of a checkpoint.

    Args:
        path (str): Checkpoint of a training.

    Returns:
        tuple[dict[str, Tensor], dict]: State dict and ``meta``.

    Raises:
        ValueError: If it holds no state dict of tensors.
    """
    content: Any = read_checkpoint(path, map_location='cpu')
    if isinstance(content, Mapping) and 'fusion_model_state_dict' in content:
        raise ValueError(
            f'{path} is a checkpoint as its authors saved it: convert it by '
            'tools/convert_checkpoint.py first')
    meta = content.get('meta', {}) if isinstance(content, Mapping) else {}
    state = content.get('state_dict', content) if isinstance(
        content, Mapping) else {}
    if not state or not all(map(torch.is_tensor, state.values())):
        raise ValueError(f'{path} has no state dict of tensors: give a '
                         'checkpoint of a training')
    return dict(state), dict(meta)


def average(states: Sequence[Mapping[str, Tensor]],
            weights: Sequence[float], names: Sequence[str]
            ) -> dict[str, Tensor]:
    """Average state dicts of one model.

    Args:
        states (Sequence[Mapping[str, Tensor]]): With the same tensors.
        weights (Sequence[float]): One for each, with a sum of 1.
        names (Sequence[str]): Their files, for messages.

    Returns:
        dict[str, Tensor]: Averages in the precision of the first; counters
        of the first.

    Raises:
        ValueError: If names, shapes or integers differ, or weights do not
            fit.
    """
    if len(weights) != len(states):
        raise ValueError(f'{len(weights)} weights do not fit {len(states)} '
                         'checkpoints: give one for each')
    check_sum(weights)
    first = states[0]
    for state, name in zip(states[1:], names[1:], strict=True):
        check_same(first, state, names[0], name)
    return {key: _average(key, [state[key] for state in states], weights)
            for key in first}


def check_same(first: Mapping[str, Tensor], second: Mapping[str, Tensor],
               name: str, other: str) -> None:
    """Refuse state dicts of different models.

    Args:
        first (Mapping[str, Tensor]): A state dict.
        second (Mapping[str, Tensor]): Another.
        name (str): Where the first is from.
        other (str): Where the second is from.

    Raises:
        ValueError: Listing what only one of them has, or in other shapes.
    """
    faults = {
        f'only in {name}': [key for key in first if key not in second],
        f'only in {other}': [key for key in second if key not in first],
        'of another shape': [
            f'{key} {tuple(value.shape)} and {tuple(second[key].shape)}'
            for key, value in first.items()
            if key in second and second[key].shape != value.shape]}
    told = [f'{len(keys)} {kind} ({", ".join(keys[:_SHOWN])}'
            + (', ...)' if len(keys) > _SHOWN else ')')
            for kind, keys in faults.items() if keys]
    if told:
        raise ValueError(f'{name} and {other} do not hold the same model, '
                         f'{"; ".join(told)}: give checkpoints of one config')


def _average(key: str, tensors: list[Tensor],
             weights: Sequence[float]) -> Tensor:
    name = key.rpartition('.')[2]
    if tensors[0].is_floating_point() and name != _FINETUNE_FEATURES:
        return merge_tensors([tensor.float() for tensor in tensors],
                             weights).to(tensors[0].dtype)
    if name != _COUNTER and not all(
            torch.allclose(tensor, tensors[0], rtol=0, atol=1e-4)
            for tensor in tensors[1:]):
        raise ValueError(
            f'{key} differs between the checkpoints and has no average: give '
            'checkpoints that were trained on the same classes and the same '
            'frozen weights')
    return tensors[0]


def original_weights(config: str) -> dict[str, Tensor]:
    """What the image tower of a config starts from.

    Args:
        config (str): Config with ``model.backbone.encoder``.

    Returns:
        dict[str, Tensor]: Tensors of the encoder.

    Raises:
        ValueError: If the config names no weights.
    """
    backbone = load_config(config).model.get('backbone', {})
    options = dict(backbone.get('encoder', {}))
    if not options.get('weights'):
        raise ValueError(
            f'{config} names no weights of backbone.encoder: give a config '
            "of a training that starts from CLIP, as in weights='openai'")
    options.pop('type', None)
    encoder = CLIPVisionEncoder(**{**options, 'save_frozen': True})
    encoder.init_weights()
    return encoder.state_dict()


def mix_with_clip(state: Mapping[str, Tensor],
                  original: Mapping[str, Tensor],
                  ratio: float) -> dict[str, Tensor]:
    """Interpolate the image tower, and the scale of a text head, with CLIP.

    Args:
        state (Mapping[str, Tensor]): Of a fine-tuned model.
        original (Mapping[str, Tensor]): Of CLIP's image tower.
        ratio (float): Share of the fine-tuned weights.

    Returns:
        dict[str, Tensor]: The state dict; other tensors are as they were.

    Raises:
        ValueError: If the share is none, the tower was not trained, or is
            another.
    """
    if not 0 <= ratio <= 1:
        raise ValueError(f'--clip-ratio {ratio:g} is no share: give a number '
                         'from 0 to 1, such as 0.99')
    if ENCODER in fingerprints_in(state):
        raise ValueError('the image tower of the checkpoint is frozen, what '
                         'it leaves out is original: leave out --clip-ratio')
    tower = {key.removeprefix(ENCODER): value for key, value in state.items()
             if key.startswith(ENCODER)}
    check_same(tower, original, 'the image tower of the checkpoint',
               'that of the config')
    theirs = {ENCODER + key: value for key, value in original.items()}
    if LOGIT_SCALE in state:
        theirs[LOGIT_SCALE] = torch.tensor(CLIP_SCALE)
    return {key: _average(key, [value, theirs[key]], [ratio, 1 - ratio])
            if key in theirs else value for key, value in state.items()}


def write(state: Mapping[str, Tensor], meta: dict, out: Path) -> None:
    """Write a checkpoint, whole or not at all.

    Args:
        state (Mapping[str, Tensor]): Its tensors.
        meta (dict): Its metadata.
        out (Path): The file.
    """
    with whole_file(out) as partial:
        torch.save(dict(state_dict=dict(state), meta=meta), partial)


def check_args(args: argparse.Namespace) -> None:
    """Refuse options that make no sense, before anything is read.

    Args:
        args (argparse.Namespace): The options.

    Raises:
        ValueError: If the output is not named as a checkpoint, or options
            do not fit each other.
        FileExistsError: If the output exists.
    """
    if args.out.suffix != '.pth':
        raise ValueError(f'{args.out} does not end in .pth: name the '
                         'checkpoint so')
    if args.out.exists():
        raise FileExistsError(f'{args.out} exists: choose another name, or '
                              'delete it first')
    if (args.clip_ratio is None) != (args.config is None):
        raise ValueError('--clip-ratio and --config belong together: the '
                         'config names the original weights')
    if args.keep_experts and args.clip_ratio is None and (
            len(args.checkpoints) == 1):
        raise ValueError('--keep-experts leaves nothing to average in one '
                         'checkpoint: give several, or --clip-ratio')


def main(args: argparse.Namespace) -> None:
    """Read, average and write."""
    check_args(args)
    parts = [read_state(path) for path in args.checkpoints]
    state, meta = parts[0]
    told = []
    if len(parts) > 1 or args.soup is not None:
        weights = args.soup or [1 / len(parts)] * len(parts)
        state = average([part for part, _ in parts], weights,
                        args.checkpoints)
        told.append(f'{len(parts)} checkpoints averaged with weights '
                    + ' '.join(f'{weight:g}' for weight in weights))
    if args.clip_ratio is not None:
        state = mix_with_clip(state, original_weights(args.config),
                              args.clip_ratio)
        told.append(f'image tower {args.clip_ratio:g} x fine-tuned + '
                    f'{1 - args.clip_ratio:g} x original')
    merges = must_merge(args, state)
    if merges:
        before = _count(state)
        state = merge_state_dict(
            state, args.temperature if args.weights is None else args.weights)
        told.append(f'experts merged, {before / 1e6:.2f} M to '
                    f'{_count(state) / 1e6:.2f} M numbers')
        if 'cfg' in meta:
            meta['cfg'] = without_experts(meta['cfg'])
    write(state, meta, args.out)
    print(f'wrote {args.out}: {len(state)} tensors; {"; ".join(told)}')
    if merges:
        print('Now run: python tools/test.py CONFIG '
              f'{args.out} --cfg-options model.neck.num_experts=0')


def must_merge(args: argparse.Namespace,
               state: Mapping[str, Tensor]) -> bool:
    """Whether there are experts to merge, or should be.

    Args:
        args (argparse.Namespace): The options.
        state (Mapping[str, Tensor]): A state dict.

    Returns:
        bool: False if they are kept, or if none are there and something else
        was to be averaged.
    """
    if args.keep_experts:
        return False
    return (has_experts(state) or args.weights is not None
            or args.temperature is not None
            or (len(args.checkpoints) == 1 and args.clip_ratio is None))


def _count(state: Mapping[str, Tensor]) -> int:
    return sum(value.numel() for value in state.values())


if __name__ == '__main__':
    arguments = parse_args()
    run_tool(main, arguments)
