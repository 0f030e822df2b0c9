#!/usr/bin/env python
"""Turn a published checkpoint into one of ours, with a config to test it."""

import argparse
import os
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config, DictAction

import mmvidadapt  # noqa: F401  (mends the stack before mmengine is used)
from mmvidadapt.apis import METHODS, load_official
from mmvidadapt.apis.cli import (
    change_config,
    environment,
    make_parser,
    run_tool,
)
from mmvidadapt.datasets.class_lists import class_names
from mmvidadapt.files import whole_file

BASE = Path(__file__).resolve().parents[1] / 'configs' / '_base_'
_TDS = dict(ssv1='ssv1_tds.py', ssv2='ssv2_tds.py', k400='k400_tds.py')
_MOTE = dict(k400='k400_mote.py', ucf101='ucf101_mote.py',
             hmdb51='hmdb51_mote.py', k600='k600_mote.py',
             k400_zeroshot='k400_zeroshot_mote.py')
#: Test protocols of a method: by data set, one of configs/_base_/datasets.
PROTOCOLS = dict(
    tds_clip=_TDS, side4video=_TDS, mote=_MOTE, viclip=_MOTE)
#: Classes of the data sets on which a model with a text head is tested
#: without having been trained on them.
_ZERO_SHOT = dict(ucf101='ucf101', hmdb51='hmdb51', k400_zeroshot='k400',
                  k600='k600_zeroshot_{split}')
#: Stands in a config for the split that is chosen when it is read.
_SPLIT = 'SPLIT-OF-THE-ENVIRONMENT'
#: Classes by which a protocol is chosen. Both versions of Something-Something
#: have 174; frame folders are rarer than videos.
_CLASSES = {174: 'ssv2'}
_DEFAULT = 'k400'


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = make_parser(
        'Turn a published checkpoint into DST.pth, and write DST.py, a config '
        'that\ntests it as it was published. Every tensor is converted, or '
        'nothing is written.',
        'python tools/convert_checkpoint.py tds_clip ssv2_b16_f8.pt '
        'work_dirs/ssv2_b16_f8.pth --num-frames 8 --dataset ssv2')
    parser.add_argument('method', choices=sorted(METHODS),
                        help='method of the checkpoint')
    parser.add_argument('checkpoint', metavar='SRC',
                        help='checkpoint as its program saved it')
    parser.add_argument('out', metavar='DST.pth', type=Path,
                        help='file to write; neither it nor DST.py may exist')
    parser.add_argument('--num-frames', type=int,
                        help='frames of a clip, which no shape tells but '
                        "that of ViCLIP's temporal embedding")
    parser.add_argument(
        '--override', nargs='+', action=DictAction, default={},
        metavar='KEY=VALUE', help='what else no shape tells, for example '
        'side_heads=5, see load_official in docs/weights.md')
    parser.add_argument(
        '--dataset', choices=sorted({name for protocols in PROTOCOLS.values()
                                     for name in protocols}),
        help='data set whose test protocol DST.py follows; for models with a '
        'text head, ucf101, hmdb51, k600 and k400_zeroshot are tests on '
        'unseen classes, and SPLIT in the environment chooses the split as '
        'for our configs; default: ssv2 for 174 classes, else k400')
    parser.add_argument(
        '--cfg-options', nargs='+', action=DictAction, default={},
        metavar='KEY=VALUE', help='settings of DST.py, for example '
        'test_dataloader.dataset.ann_file=list.txt')
    return parser.parse_args()


def choose_protocol(method: str, num_classes: int,
                    dataset: str | None = None) -> tuple[str, str]:
    """The test protocol of a checkpoint.

    Args:
        method (str): Key of :data:`PROTOCOLS`.
        num_classes (int): Classes of its head.
        dataset (str | None): The data set; chosen by the classes if not
            given.

    Returns:
        tuple[str, str]: The data set, and a file name in
        ``configs/_base_/datasets``.

    Raises:
        ValueError: If the method is not published on the data set.
    """
    known = PROTOCOLS[method]
    name = dataset or _CLASSES.get(num_classes, _DEFAULT)
    if name not in known:
        raise ValueError(f'{method} was not published on {name}: give '
                         f'--dataset {" or ".join(known)}')
    return name, known[name]


def evaluation_config(model: dict[str, Any], protocol: str) -> Config:
    """A config that tests a model; it inherits nothing.

    Args:
        model (dict[str, Any]): Model config.
        protocol (str): File name in ``configs/_base_/datasets``.

    Returns:
        Config: The config.
    """
    cfg = Config.fromfile(BASE / 'default_runtime.py')
    with environment(dict(SPLIT=_SPLIT)):
        data = Config.fromfile(BASE / 'datasets' / protocol)
    loader = data.test_dataloader
    _fit_pipeline(loader.dataset, model['backbone'])
    cfg.merge_from_dict(dict(
        model=model, test_pipeline=loader.dataset.pipeline,
        test_dataloader=loader, test_evaluator=data.test_evaluator,
        test_cfg=dict(type='TestLoop')))
    return cfg


def _fit_pipeline(dataset: Config, backbone: dict[str, Any]) -> None:
    """Give a test pipeline the frames and the frame size of a model."""
    size = backbone['encoder']['arch']['image_size']
    steps = []
    for step in dataset.pipeline:
        if step.type == 'LocalWindow':
            step.sampler.clip_len = backbone['num_frames']
            step.window = backbone['window']
            # TDS-CLIP reads Kinetics by a decoder to which a frame before
            # the first is one before the last; published scores have that.
            if step.sampler.type == 'KineticsSample':
                step.ends = 'wrap'
            if step.window == 1:
                step = step.sampler
        elif step.type == 'KineticsSample':
            step.clip_len = backbone['num_frames']
        elif step.type == 'Resize':
            step.scale = tuple(side if side < 0 else round(side * size / 224)
                               for side in step.scale)
        elif 'crop_size' in step:
            step.crop_size = size
        steps.append(step)
    dataset.pipeline = steps


def zero_shot_options(method: str, dataset: str | None,
                      override: dict[str, Any]) -> dict[str, Any]:
    """Overrides of a test on classes that nobody trained on.

    Args:
        method (str): Method of the checkpoint.
        dataset (str | None): Data set of the test.
        override (dict[str, Any]): What was given.

    Returns:
        dict[str, Any]: The same, with the classes of the data set if the
        method reads class names and none were given.
    """
    if PROTOCOLS[method] is _MOTE and dataset in _ZERO_SHOT:
        return {'classes': _ZERO_SHOT[dataset].format(split=1), **override}
    return override


def write_pair(state_dict: dict, cfg: Config, out: Path,
               title: str) -> None:
    """Write the checkpoint and its config, each whole or not at all.

    Args:
        state_dict (dict): Tensors of the model.
        cfg (Config): The config.
        out (Path): Path of the checkpoint; the config lies beside it.
        title (str): First line of the config, a comment.
    """
    text = cfg.pretty_text.replace(_SPLIT, '{{$SPLIT:1}}')
    with whole_file(out.with_suffix('.py')) as config, \
            whole_file(out) as checkpoint:
        torch.save(dict(state_dict=state_dict, meta=dict(cfg=text)),
                   checkpoint)
        config.write_text(f'# {title}\n{text}', encoding='utf-8')


def check_out(out: Path) -> None:
    """Refuse a name that is taken or says nothing.

    Args:
        out (Path): Path of the checkpoint to write.

    Raises:
        ValueError: If it does not end in ``.pth``.
        FileExistsError: If it, or its config, exists.
    """
    if out.suffix != '.pth':
        raise ValueError(f'{out} does not end in .pth: name the checkpoint '
                         'so; its config is then named like it, in .py')
    for path in (out, out.with_suffix('.py')):
        if path.exists():
            raise FileExistsError(
                f'{path} exists: choose another name, or delete it first')


def main(args: argparse.Namespace) -> None:
    """Convert and write."""
    check_out(args.out)
    if 'num_frames' in args.override:
        raise ValueError('num_frames in --override is not looked for: give '
                         f'--num-frames {args.override["num_frames"]}')
    model, state_dict = load_official(
        args.method, args.checkpoint, num_frames=args.num_frames,
        **zero_shot_options(args.method, args.dataset, args.override))
    head = model['cls_head']
    num_classes = (head['num_classes'] if 'num_classes' in head
                   else len(class_names(head['classes'])))
    dataset, protocol = choose_protocol(
        args.method, num_classes, args.dataset)
    if args.method == 'mote' and dataset in _ZERO_SHOT:
        head['average_clips'] = 'mote_zero_shot'
    if dataset in _ZERO_SHOT and 'classes' not in args.override:
        head['classes'] = _ZERO_SHOT[dataset].format(split=_SPLIT)
    cfg = evaluation_config(model, protocol)
    change_config(cfg, args.cfg_options)
    config = args.out.with_suffix('.py')
    source = os.path.basename(args.checkpoint)
    write_pair(state_dict, cfg, args.out,
               f'Written by tools/convert_checkpoint.py: {args.method}, '
               f'{model["backbone"]["num_frames"]} frames, {dataset}, from '
               f'{source}.')
    count = sum(value.numel() for value in state_dict.values())
    print(f'wrote {args.out}: {len(state_dict)} tensors, {count / 1e6:.2f} M '
          f'numbers, {num_classes} classes\n'
          f'wrote {config}: test protocol of {dataset}'
          + (f', chosen by {num_classes} classes; --dataset names another'
             if args.dataset is None else '') + '\n'
          f'Now run: python tools/test.py {config} {args.out}')


if __name__ == '__main__':
    arguments = parse_args()
    run_tool(main, arguments)
