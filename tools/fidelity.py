#!/usr/bin/env python
"""Write docs/fidelity.md: numbers of the papers against those of the configs.

``rows()`` is the one table of what the papers print; ours is computed from
the models and configs. A number that differs needs a reason, and one that
moves away from the paper further than its row allows is an error.
"""

import argparse
import copy
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import torch
from mmaction.registry import MODELS, TRANSFORMS
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmengine.registry import init_default_scope
from torch import nn

import mmvidadapt  # noqa: F401  (mends the stack before mmengine is used)
from mmvidadapt.apis.cli import run_tool
from mmvidadapt.apis.complexity import Complexity, Cost, count_complexity
from mmvidadapt.apis.pages import keep_page, page_parser, table
from mmvidadapt.datasets.class_lists import class_names

ROOT = Path(__file__).resolve().parents[1]

TEXT = '''\
<!-- Written by `python tools/fidelity.py`; change its rows. -->

# Fidelity

Every number of the four papers that can be checked without their data, against
the model or the config here: {number} numbers, of which {same} are the same in
all digits that the paper prints. The others have a footnote with the reason.
`python tools/fidelity.py --check` fails when a row moves, and a test runs it.

Ours are computed when the page is written: multiply-accumulates (MACs) and
parameters from the model that the config builds (`tools/get_flops.py` prints
them by part), recipes from the optimizer and the schedule that it gives. What
stands after a config are options that the row changes. "Off" is ours against
the paper's as printed. Views are frames x crops x clips of a test video; MACs
are those of one view and in the papers called FLOPs.

{tables}

## Reasons

{reasons}

## What is not here

- Accuracies: they need the data sets and the training; nothing was trained
  here.
- Times, latencies and throughputs (InTI's Table 4, MoTE's GPU-days in Table
  7d, MSTA's Table 8), which are those of the authors' machines.
  [benchmarks.md](benchmarks.md) has ours.
- Numbers of methods that are not part of this project, such as ToMe, AIM or
  X-CLIP.
- The 88 M parameters that MSTA gives MoTE (Sec. 4.3). No part of MoTE's own
  Table 4 has that size.
- "2-7 % of the trainable parameters" (MSTA, abstract), which does not say of
  what.
'''

#: Why numbers differ. Their order is that of the footnotes.
REASONS = {
    'temp': (
        'All rows of the paper with temporal modules lie about one matrix '
        'product of C x C for each pair of frames below any design that fits '
        'the rows without them: the four global blocks alone cost more than '
        'what the paper adds. See [inti.md](inti.md#the-arithmetic-counted).'),
    'plain': (
        'The text leaves the widths of InTI open; of 2,160 designs this one '
        'fits all rows best, not each of them to the last digit.'),
    'inti-large': (
        'No design whose size grows with the width gives the parameters of '
        'both ViT-B and ViT-L.'),
    'ssv2': (
        'The same design fits all rows of Kinetics-400. Parameters: the '
        "paper's base is larger by what UniFormerV2's patch embedding over "
        '3 frames has, whose stride in time would contradict the GFLOPs.'),
    'convpool': (
        'The paper does not give the kernel, and its GFLOPs and parameters '
        'ask for two different ones. Here it is (3, 1, 1).'),
    'linpool': (
        'A layer of two numbers costs nothing that could explain the figure '
        'of the paper.'),
    'large-tera': (
        'The paper does not say how it counts. With the two attention '
        'products all rows but those of ViT-L/14 are as printed; without them '
        '(the row below) ViT-L/14 is, and 16 frames are not.'),
    'batch': (
        "The paper's recipe is that of ViT-L/14. The released config of "
        'ViT-B/16 has 3 x 64 videos and 0.07 of the rate for CLIP, which is '
        'followed here.'),
    'text4vis': (
        'The paper gives Text4Vis 6 temporal layers (Sec. 4.2), which make up '
        "the number but for its last digit (row below). Here it has MoTE's 4 "
        'on ViT-B/16, so that the two differ in the experts alone.'),
    'text4vis-six': (
        'The number is that of another paper, and what is missing rounds to '
        'its last digit.'),
    'sixteen': (
        'Each frame is encoded alone, so that twice the frames cost twice as '
        "much; the paper's figure is more than twice its own for 8 frames."),
    'sentences': (
        "The authors' run logs, whose accuracies are those of Table 3, have 8 "
        'sentences on UCF-101 and SSv2.'),
    'few-shot': (
        'The text gives the size of the adapters from base to novel. Table 1 '
        'and the run logs have m=128 in blocks 8-12 for few shots.'),
    'k400-dims': (
        'Table 1 has m=128 for Kinetics-400, Table 5 the size of m=256 '
        '(`vitb_k400_dims-256`).'),
    'embedding': (
        'The paper leaves out the embedding of the text tokens, which trains '
        'too (row below).'),
    'k600': (
        'The three public lists of 160 classes each do not name more '
        'different ones between them.'),
}


# What is measured -----------------------------------------------------------


@dataclass
class Built:
    """What a config builds; parts are made when a row asks for them.

    Args:
        name (str): A config below ``configs/``, without ``.py``.
        options (tuple): Pairs of a dotted key and a value.
    """

    name: str
    options: tuple = ()

    @cached_property
    def cfg(self) -> Config:
        """The config with the options."""
        cfg = Config.fromfile(ROOT / f'configs/{self.name}.py')
        cfg.merge_from_dict(dict(self.options))
        # InTI's paper counts the cross-attention of these blocks in plain
        # form; ours computes the same with fewer operations.
        for adapter in cfg.model.backbone.get('adapters') or ():
            if adapter['type'] == 'GlobalUniBlock':
                adapter['attention'] = 'plain'
        return cfg

    @cached_property
    def model(self) -> nn.Module:
        """The model, on meta tensors."""
        model = copy.deepcopy(self.cfg.model)
        # Blending draws from distributions, which meta tensors do not have.
        model.pop('data_preprocessor', None)
        with torch.device('meta'):
            return MODELS.build(model)

    @cached_property
    def complexity(self) -> Complexity:
        """What the model costs for a view of its own number of frames."""
        backbone = self.model.backbone
        frames = backbone.num_frames * getattr(backbone, 'window', 1)
        side = backbone.encoder.arch.image_size
        return count_complexity(self.model, (1, 1, 3, frames, side, side))

    @property
    def total(self) -> Cost:
        """Cost of all parts."""
        return self.complexity.total

    @cached_property
    def groups(self) -> list[dict]:
        """Parameter groups of the optimizer."""
        wrapper = copy.deepcopy(self.cfg.optim_wrapper)
        wrapper.type = 'OptimWrapper'  # low precision is for GPUs
        for key in ('dtype', 'loss_scale'):
            wrapper.pop(key, None)
        logging.disable(logging.INFO)  # it tells of each parameter
        try:
            return build_optim_wrapper(
                self.model, wrapper).optimizer.param_groups
        finally:
            logging.disable(logging.NOTSET)

    def group(self, part: str) -> dict:
        """What the optimizer does with a part of the model.

        Args:
            part (str): Start of the names of its parameters.

        Returns:
            dict: The group of the first of them that trains.
        """
        param = next(p for name, p in self.model.named_parameters()
                     if name.startswith(part) and p.requires_grad)
        return next(group for group in self.groups
                    if any(p is param for p in group['params']))

    def step(self, kind: str) -> dict:
        """A step of the training pipeline.

        Args:
            kind (str): Its type.

        Returns:
            dict: Its config.
        """
        found, = (step for step in flat(self.cfg.train_pipeline)
                  if step['type'] == kind)
        return found


@lru_cache(maxsize=None)
def built(name: str, options: tuple) -> Built:
    """The one :class:`Built` of a config and options."""
    return Built(name, options)


def flat(steps: Sequence[dict]) -> Iterator[dict]:
    """Steps of a pipeline, and those inside of them."""
    for step in steps:
        yield step
        yield from flat(step.get('transforms', ()))
        if 'sampler' in step:
            yield step['sampler']


def views(one: Built) -> str:
    """Frames x crops x clips of a test video."""
    steps = [*flat(one.cfg.test_pipeline)]
    crops = dict(CenterCrop=1, ThreeCrop=3, WideThreeCrop=3)
    number, = (crops[s['type']] for s in steps if s['type'] in crops)
    clips, = (s.get('num_clips', 1) for s in steps
              if s['type'].endswith(('Sample', 'SampleFrames')))
    return f'{one.model.backbone.num_frames}x{number}x{clips}'


def span(places: Sequence[int]) -> str:
    """Blocks counted from 0 as the papers write them, as in ``'8-12'``."""
    if [*places] != [*range(places[0], places[-1] + 1)]:
        raise ValueError(f'blocks {[*places]} are not in a row: give the row '
                         'a measure of its own')
    return f'{places[0] + 1}-{places[-1] + 1}'


def merging(one: Built) -> int:
    """Frames that become one frame of the backbone's output."""
    shape = (1, 3, one.model.backbone.num_frames, 224, 224)
    backbone = copy.deepcopy(one.model.backbone).eval()
    out = backbone(torch.empty(shape, device='meta'))
    return shape[2] // out.shape[1]


def adapter(one: Built) -> nn.Module:
    """The first adapter of MSTA in the video tower."""
    first = one.cfg.model.adapter.layers[0]
    found, = one.model.adapter.visual.at(first)['beside_block']
    return found


def gates(one: Built) -> list[int]:
    """Blocks of a side network that have a TD-Adapter, from 0."""
    return [place for place, block in enumerate(one.model.backbone.blocks)
            if block.temporal.gate is not None]


def crop(one: Built) -> object:
    """The random crop of the training pipeline."""
    return TRANSFORMS.build(one.step('RandomResizedCrop'))


def new_weights(one: Built) -> float:
    """Standard deviation of the experts' matrices before training."""
    torch.manual_seed(0)
    neck = MODELS.build(one.cfg.model.neck)
    return round(torch.cat([
        value.flatten() for value in neck.resblocks[0].mlp.parameters()
        if value.dim() > 1]).std().item(), 4)


def without_token_embedding(one: Built) -> float:
    """Millions of trained parameters but those of the text tokens."""
    tokens = one.model.text_encoder.token_embedding.weight.numel()
    return (trained(one) * 1e6 - tokens) / 1e6


def trained(one: Built) -> float:
    """Millions of parameters that train."""
    return sum(p.numel() for p in one.model.parameters()
               if p.requires_grad) / 1e6


def size(part: str) -> Callable[[Built], float]:
    """Millions of parameters of a part of the model."""
    return lambda one: sum(
        p.numel() for p in one.model.get_submodule(part).parameters()) / 1e6


def sentences(one: Built) -> int:
    """Descriptions of a class and kind, from the name of their file."""
    number, = {int(Path(path).name.split('_')[0])
               for path in one.cfg.model.consistency.values()
               if isinstance(path, str)}
    return number


def zero_shot_classes(_: Built) -> int:
    """Classes of Kinetics-600 in any of the three lists."""
    return len({name for split in (1, 2, 3)
                for name in class_names(f'k600_zeroshot_{split}')})


MEASURES: dict[str, Callable[[Built], Any]] = {
    'GMACs': lambda one: one.total.all_macs / 1e9,
    'TMACs': lambda one: one.total.all_macs / 1e12,
    'TMACs without attention products': lambda one: one.total.macs / 1e12,
    'GMACs of the temporal module':
        lambda one: one.complexity.parts['neck'].all_macs / 1e9,
    'parameters, M': lambda one: one.total.params / 1e6,
    'parameters of the temporal module, M': size('neck'),
    "parameters of CLIP's image tower, M": size('backbone'),
    'trained parameters, M': trained,
    'trained parameters but the token embedding, M': without_token_embedding,
    'views': views,
    'frames': lambda one: one.model.backbone.num_frames,
    'frames merged into one': merging,
    'classes': lambda one: len(one.model.cls_head.class_names)
    if hasattr(one.model.cls_head, 'class_names')
    else one.model.cls_head.num_classes,
    'classes of the three lists': zero_shot_classes,
    'videos of a step': lambda one: (
        one.cfg.auto_scale_lr.base_batch_size
        * one.cfg.optim_wrapper.get('accumulative_counts', 1)),
    'epochs': lambda one: one.cfg.train_cfg.max_epochs,
    'warm-up, epochs': lambda one: one.cfg.param_scheduler[0].warmup,
    'learning rate': lambda one: one.group('')['lr'],
    'learning rate of the temporal module': lambda one: one.group('neck')[
        'lr'],
    'learning rate of CLIP': lambda one: one.group('backbone')['lr'],
    'weight decay': lambda one: one.group('')['weight_decay'],
    'betas': lambda one: '{}, {}'.format(*one.group('')['betas']),
    'flip': lambda one: one.step('Flip')['flip_ratio'],
    'grey': lambda one: one.step('ClipGrayscale')['prob'],
    'colour jitter': lambda one: one.step('ClipColorJitter')['prob'],
    'crop, areas': lambda one: ', '.join(
        f'{area:.2f}' for area in crop(one).area_range),
    'crop, aspect ratios': lambda one: ', '.join(
        str(Fraction(ratio).limit_denominator(9))
        for ratio in crop(one).aspect_ratio_range),
    'pixels of a side': lambda one: one.model.backbone.encoder.arch.image_size,
    # TDS-CLIP
    'frames of a window': lambda one: one.model.backbone.window,
    'alpha over beta': lambda one: (
        one.model.backbone.stem.alpha / one.model.backbone.stem.beta),
    'frames of the pool': lambda one: one.model.backbone.blocks[
        gates(one)[0]].temporal.gate.kernel_size,
    'side channels': lambda one: one.model.backbone.post_norm.num_features,
    'blocks with TD-Adapter': lambda one: span(gates(one)),
    # MoTE
    'temporal layers': lambda one: len(one.model.neck.resblocks),
    'experts': lambda one: one.model.neck.num_experts,
    'deviation of new experts': new_weights,
    'beta of the candidates': lambda one: one.model.neck.beta,
    'gamma': lambda one: one.model.cls_head.modulation_gamma,
    'K': lambda one: one.model.cls_head.modulation_k,
    'templates': lambda one: len(one.model.cls_head.templates),
    # MSTA
    'alpha': lambda one: one.model.consistency.weight,
    'lambda': lambda one: adapter(one).scale,
    'dims m': lambda one: adapter(one).down.out_features,
    'dropout': lambda one: adapter(one).dropout.p,
    'sentences N': sentences,
    'blocks': lambda one: span(one.cfg.model.adapter.layers),
}


# What the papers print ------------------------------------------------------


def signed(off: float, unit: str) -> str:
    """A difference with a sign, and without one where it rounds to zero."""
    tenths = round(off, 1)
    return f'{tenths:+.1f} {unit}' if tenths else f'0.0 {unit}'


@dataclass(frozen=True)
class Row:
    """A number of a paper.

    Args:
        where (str): Table or section.
        config (str): The config that it is about.
        what (str): A key of ``MEASURES``.
        paper (str): The number as it is printed.
        why (str): A key of ``REASONS`` where ours differs.
        tolerance (float): How far ours may be from it, relative to it.
        options (Mapping): What the row changes in the config, by dotted key.
        over (str): The config whose number is 100 %, for a change in percent.
    """

    where: str
    config: str
    what: str
    paper: str
    why: str = ''
    tolerance: float = 0.015
    options: Mapping[str, Any] = field(default_factory=dict)
    over: str = ''

    @property
    def title(self) -> str:
        """What is measured, for the page."""
        return f'{self.what}, change in %' if self.over else self.what

    def ours(self) -> Any:
        """The number of the config."""
        measure = MEASURES[self.what]
        found = measure(built(self.config, tuple(self.options.items())))
        if self.over:
            return 100 * (found / measure(built(self.over, ())) - 1)
        return found

    def same(self, ours: Any) -> bool:
        """Whether ours is the paper's in all digits that it prints."""
        if isinstance(ours, str):
            return ours == self.paper
        if 'e' in self.paper:
            return ours == float(self.paper)
        return round(ours, self.digits) == float(self.paper)

    @property
    def digits(self) -> int:
        """Digits of the paper behind the point."""
        return len(self.paper.partition('.')[2])

    @property
    def counted(self) -> bool:
        """Whether ours is a count that the paper rounds."""
        return bool(self.over) or self.title.endswith(', M') or (
            'MACs' in self.what)

    def show(self, ours: Any) -> tuple[str, str]:
        """Ours for the page, and how far it is off.

        Args:
            ours (Any): What :meth:`ours` gave.

        Returns:
            tuple[str, str]: Two cells.
        """
        if isinstance(ours, str):
            return ours, ''
        if self.over:
            return f'{ours:.2f}', signed(ours - float(self.paper), 'points')
        off = 100 * (ours / float(self.paper) - 1)
        text = f'{ours:.{self.digits + 2}f}' if self.counted else f'{ours:g}'
        return text, '' if ours == float(self.paper) else signed(off, '%')

    def check(self, ours: Any) -> None:
        """Raise if ours is not where the row says it is.

        Args:
            ours (Any): What :meth:`ours` gave.

        Raises:
            ValueError: If ours differs without a reason, is the paper's with
                one, or is further off than the tolerance.
        """
        name = (f'{self.what} of {self.config} is {self.show(ours)[0]}, '
                f'in the paper ({self.where}) {self.paper}')
        if self.same(ours):
            if self.why:
                raise ValueError(f'{name}: take the reason {self.why!r} off '
                                 'its row in tools/fidelity.py')
            return
        if not self.why:
            raise ValueError(f'{name}: mend it, or give its row in '
                             'tools/fidelity.py a reason')
        if isinstance(ours, str):
            return
        off = abs(ours / float(self.paper) - 1)
        if off > self.tolerance:
            raise ValueError(
                f'{name}, which is off by {100 * off:.1f} % of '
                f'{100 * self.tolerance:g} % allowed: mend it, or change its '
                'row in tools/fidelity.py')


def each(where: str, what: str, numbers: Mapping[str, str], folder: str,
         why: Mapping[str, str] | None = None, **more: Any) -> Iterator[Row]:
    """Rows of one table.

    Args:
        where (str): The table.
        what (str): A key of ``MEASURES``.
        numbers (Mapping[str, str]): The paper's number by config.
        folder (str): Folder of these configs.
        why (Mapping[str, str], optional): Reason by config, where it differs.
        **more (Any): As for :class:`Row`.

    Yields:
        Row: The rows.
    """
    for name, paper in numbers.items():
        yield Row(where, f'{folder}/{name}', what, paper,
                  (why or {}).get(name, ''), **more)


def inti_rows() -> Iterator[Row]:
    """Dynamic and Compressive Adaptation of Transformers (ECCV 2024)."""
    table_1 = {
        'vitb_k400_naive': ('281', ''), 'vitb_k400_3-5': ('147', '-48'),
        'vitb_k400': ('182', '-35'), 'vitb_k400_7-9': ('217', '-23'),
        'vitb_k400_temp_3-5': ('150', '-47'),
        'vitb_k400_temp': ('184', '-35'), 'vitb_k400_temp_7-9': ('220', '-22'),
        'vitl_k400_naive': ('1297', ''), 'vitl_k400_3-5': ('650', '-50'),
        'vitl_k400': ('811', '-37'), 'vitl_k400_7-9': ('973', '-25'),
        'vitl_k400_temp_3-5': ('656', '-49'),
        'vitl_k400_temp': ('817', '-37'), 'vitl_k400_temp_7-9': ('978', '-25'),
    }  # yapf: disable
    temp = {name: 'temp' for name in table_1 if 'temp' in name}
    yield from each('Table 1', 'GMACs',
                    {name: macs for name, (macs, _) in table_1.items()},
                    'inti', {**temp, 'vitl_k400_3-5': 'plain'})
    for name, (_, percent) in table_1.items():
        if percent:
            yield Row('Table 1', f'inti/{name}', 'GMACs', percent,
                      temp.get(name, '') if name in (
                          'vitb_k400_temp_3-5', 'vitb_k400_temp',
                          'vitb_k400_temp_7-9', 'vitl_k400_temp_7-9',
                      ) else '', tolerance=0.05,
                      over=f'inti/{name[:4]}_k400_naive')
    yield Row('Abstract', 'inti/vitl_k400', 'GMACs', '-37.5',
              over='inti/vitl_k400_naive')
    k400 = {'model.cls_head.num_classes': 400}
    yield from each('Table 2', 'GMACs', {
        'vitb_k400_uniformerv2': '297', 'vitl_k400_uniformerv2': '1332'},
        'inti')
    yield from each('Table 2', 'parameters, M', {
        'vitb_k400_uniformerv2': '115', 'vitl_k400_uniformerv2': '354',
        'vitb_k400_naive': '86', 'vitl_k400_naive': '304',
        'vitb_k400_temp': '126', 'vitl_k400_temp': '378'}, 'inti',
        {'vitl_k400_temp': 'inti-large'})
    for what, conv, linear in (('GMACs', '184', '179'),
                               ('parameters, M', '127', '115')):
        yield Row('Table 2', 'inti/vitb_ucf101_temp_convpool', what, conv,
                  'convpool', 0.08, k400)
        yield Row('Table 2', 'inti/vitb_ucf101_temp_linpool', what, linear,
                  'linpool' if what == 'GMACs' else '', 0.03, k400)
    yield Row('Table 2', 'inti/vitb_k400', 'views', '16x3x4')
    yield from each('Table 3', 'GMACs', {
        'vitb_ssv2_naive': '281', 'vitb_ssv2_uniformerv2': '371',
        'vitb_ssv2_temp_convpool': '234', 'vitb_ssv2_temp_linpool': '221',
        'vitb_ssv2_temp': '234'}, 'inti', {
            'vitb_ssv2_temp_convpool': 'convpool',
            'vitb_ssv2_temp_linpool': 'linpool', 'vitb_ssv2_temp': 'ssv2'},
        tolerance=0.06)
    yield from each('Table 3', 'parameters, M', {
        'vitb_ssv2_naive': '86', 'vitb_ssv2_uniformerv2': '163',
        'vitb_ssv2_temp_convpool': '175', 'vitb_ssv2_temp_linpool': '163',
        'vitb_ssv2_temp': '174'}, 'inti', {
            'vitb_ssv2_uniformerv2': 'ssv2',
            'vitb_ssv2_temp_convpool': 'convpool',
            'vitb_ssv2_temp_linpool': 'ssv2', 'vitb_ssv2_temp': 'ssv2'},
        tolerance=0.06)
    yield Row('Table 3', 'inti/vitb_ssv2_temp', 'views', '16x3x4')
    yield from each('Table 5a', 'parameters, M', {
        'vitb_k400_temp_ctx-none': '118', 'vitb_k400_temp_ctx-cube': '121',
        'vitb_k400_temp_ctx-frame': '121', 'vitb_k400_temp_ctx-global': '121',
        'vitb_k400_temp_ctx-cube-frame': '124',
        'vitb_k400_temp_ctx-frame-global': '123',
        'vitb_k400_temp': '126'}, 'inti',
        dict.fromkeys(('vitb_k400_temp_ctx-frame',
                       'vitb_k400_temp_ctx-cube-frame'), 'plain'))
    yield from each('Table 5b', 'parameters, M', {
        'vitb_k400_temp_fusion-add': '125', 'vitb_k400_temp_fusion-cat': '128',
        'vitb_k400_temp': '126', 'vitb_k400_temp_head-sigmoid': '126',
        'vitb_k400_temp_head-attention': '126'}, 'inti')
    yield from each('Table 7', 'GMACs', {
        'vitb_ucf101_uniformerv2': '297', 'vitb_ucf101_naive': '281',
        'vitb_ucf101_temp_convpool': '184', 'vitb_ucf101_temp_linpool': '179',
        'vitb_ucf101_temp': '184'}, 'inti', {
            'vitb_ucf101_temp_convpool': 'convpool',
            'vitb_ucf101_temp_linpool': 'linpool', 'vitb_ucf101_temp': 'temp'},
        tolerance=0.03)
    yield Row('Fig. 4', 'inti/vitb_k400', 'frames merged into one', '4')
    yield from each('Sec. 4.1', 'classes', {
        'vitb_k400': '400', 'vitb_ssv2_temp': '174'}, 'inti')
    yield Row('Appendix D', 'inti/vitb_ssv2_temp', 'videos of a step', '64')


def tds_clip_rows() -> Iterator[Row]:
    """TDS-CLIP, and Side4Video where its tables have it."""
    side = {'model.backbone.num_frames': 16}
    tables = {
        'Table 1': {
            'vitb_ssv1': ('0.2', '8x3x2'), 'vitb_ssv1_16f': ('0.4', '16x3x2'),
            'vitl_ssv1': ('0.8', '8x3x2'), 'vitb_ssv2': ('0.2', '8x3x2'),
            'vitb_ssv2_16f': ('0.4', '16x3x2'),
            'vitl_ssv2': ('0.8', '8x3x2')},
        'Table 2': {
            'vitb_k400': ('0.2', '8x3x4'), 'vitb_k400_32f': ('0.7', '32x3x4'),
            'vitl_k400': ('0.8', '8x3x4')},
    }
    for where, found in tables.items():
        for name, (tera, shape) in found.items():
            large = name.startswith('vitl')
            yield Row(where, f'tds_clip/{name}', 'views', shape)
            if 'ssv1' in name:  # the model of V2, as are its TFLOPs
                continue
            yield Row(where, f'tds_clip/{name}', 'TMACs', tera,
                      'large-tera' if large else '', 0.11)
            if large:
                yield Row(where, f'tds_clip/{name}',
                          'TMACs without attention products', tera)
    yield Row('Table 1', 'tds_clip/vitb_ssv2_side4video', 'TMACs', '0.4',
              options=side)
    yield Row('Table 2', 'tds_clip/vitb_k400_side4video', 'TMACs', '0.7',
              options={'model.backbone.num_frames': 32})
    yield from each('Table 3b', 'frames of a window', {
        'vitb_ssv1_td': '1', 'vitb_ssv1_window-3': '3', 'vitb_ssv1': '5'},
        'tds_clip')
    yield from each('Table 3c', 'alpha over beta', {
        'vitb_ssv1_alpha-0.5': '0.5', 'vitb_ssv1': '1.0',
        'vitb_ssv1_alpha-1.5': '1.5'}, 'tds_clip')
    yield from each('Table 3e', 'frames of the pool', {
        'vitb_ssv1': '3', 'vitb_ssv1_kernel-5': '5',
        'vitb_ssv1_kernel-7': '7'}, 'tds_clip')
    yield from each('Table 3f', 'side channels', {
        'vitb_ssv1_dims-128': '128', 'vitb_ssv1': '320',
        'vitb_ssv1_dims-512': '512'}, 'tds_clip')
    yield from each('Table 4', 'blocks with TD-Adapter', {
        'vitb_ssv1_td_1-6': '1-6', 'vitb_ssv1_td_7-12': '7-12',
        'vitb_ssv1': '1-12'}, 'tds_clip')


def mote_rows() -> Iterator[Row]:
    """MoTE, and Text4Vis where its tables have it."""
    merged = {'model.neck.num_experts': 0}
    size, module = 'parameters, M', 'parameters of the temporal module, M'
    yield from each('Table 4', 'GMACs', {
        'vitb_k400': '141', 'vitl_k400': '649', 'vitl_k400_16f': '1299'},
        'mote', {'vitl_k400_16f': 'sixteen'})
    yield from each('Table 4', size, {
        'vitb_k400': '98.8', 'vitl_k400': '346.6', 'vitl_k400_16f': '346.6'},
        'mote', options=merged)
    yield from each('Table 4', 'GMACs', {
        'vitb_k400_text4vis': '141', 'vitl_k400_text4vis': '649'}, 'mote')
    yield from each('Table 4', size, {
        'vitb_k400_text4vis': '105.2', 'vitl_k400_text4vis': '346.6'},
        'mote', {'vitb_k400_text4vis': 'text4vis'}, tolerance=0.07)
    yield Row('Table 4', 'mote/vitb_k400_text4vis', size, '105.2',
              'text4vis-six', 0.001, {'model.neck.num_layers': 6})
    yield from each('Table 4', "parameters of CLIP's image tower, M", {
        'vitb_k400': '86.2', 'vitl_k400': '304.0'}, 'mote')
    yield from each('Table 4', 'views', {
        'vitb_k400': '8x3x4', 'vitb_k400_1x1': '8x1x1', 'vitl_k400': '8x3x4',
        'vitl_k400_16f': '16x3x4'}, 'mote')
    yield Row('Table 2c', 'mote/vitl_k400', module, '127.6')
    yield Row('Table 2c', 'mote/vitl_k400', module, '42.6', options=merged)
    yield Row('Table 7d', 'mote/vitl_k400', 'GMACs of the temporal module',
              '0.34')
    yield from each('Sec. 4.1', 'temporal layers', {
        'vitb_k400': '4', 'vitl_k400': '6'}, 'mote')
    yield from each('Table 2b', 'experts', {
        'vitl_k400_experts-3': '3', 'vitl_k400': '4',
        'vitl_k400_experts-5': '5', 'vitl_k400_experts-6': '6'}, 'mote')
    yield from each('Table 2e', 'beta of the candidates', {
        'vitl_k400': '0.6', 'vitl_k400_beta-0.8': '0.8',
        'vitl_k400_beta-1.0': '1.0'}, 'mote')
    for what, paper in (('gamma', '0.05'), ('K', '5')):
        yield Row('Sec. 4.1', 'mote/vitl_k400', what, paper)
    yield Row('Table 8', 'mote/vitl_k400', 'templates', '28')
    yield Row('Appendix B', 'mote/vitb_k400', 'deviation of new experts',
              '0.02')
    for name, epochs in (('vitb_k400', '30'), ('vitl_k400', '20')):
        small = name.startswith('vitb')
        for what, paper in (
                ('videos of a step', '144'), ('weight decay', '0.2'),
                ('betas', '0.9, 0.999'),
                ('learning rate of the temporal module', '5e-5'),
                ('learning rate of CLIP', '3e-6'), ('epochs', epochs),
                ('warm-up, epochs', '5'), ('crop, areas', '0.08, 1.00'),
                ('crop, aspect ratios', '3/4, 4/3'),
                ('pixels of a side', '224'), ('flip', '0.5'),
                ('grey', '0.2')):
            differs = small and paper in ('144', '3e-6')
            yield Row('Table 6', f'mote/{name}', what, paper,
                      'batch' if differs else '', 0.34)
    yield from each('Sec. 4.1', 'views', {
        f'vitb_zeroshot_{data}': '8x1x3'
        for data in ('ucf101', 'hmdb51', 'k600')}, 'mote')
    yield from each('Sec. 4.1', 'views', {
        f'vitb_fewshot_{data}': '8x1x1'
        for data in ('ucf101', 'hmdb51', 'ssv2')}, 'mote')
    yield from each('Appendix B', 'epochs', {
        'vitb_fewshot_ssv2': '2', 'vitb_fewshot_ucf101': '10',
        'vitb_fewshot_hmdb51': '10'}, 'mote')
    yield Row('Sec. 4.1', 'mote/vitb_zeroshot_k600', 'classes', '160')


def msta_rows() -> Iterator[Row]:
    """Efficient Transfer Learning for Video-language Foundation Models."""
    base = ('32', '1e-03', '11', '0.005', '256', '1-12')
    few = ('32', '1e-03', '50', '0.005', '128', '8-12')
    whole = ('256', '8e-03', '100', '0.001', '128', '1-12')
    recipes = {
        **{f'vitb_base-novel_{data}': base
           for data in ('k400', 'ssv2', 'hmdb51', 'ucf101')},
        **{f'vitb_fewshot_{data}': few
           for data in ('ssv2', 'hmdb51', 'ucf101')},
        'vitb_k400': whole,
    }
    columns = ('videos of a step', 'learning rate', 'epochs', 'lambda',
               'dims m', 'blocks')
    for name, numbers in recipes.items():
        for what, paper in (*zip(columns, numbers, strict=True),
                            ('alpha', '1.0'), ('sentences N', '2'),
                            ('dropout', '0.1')):
            differs = what == 'sentences N' and name in (
                'vitb_fewshot_ssv2', 'vitb_fewshot_ucf101')
            yield Row('Table 1', f'msta/{name}', what, paper,
                      'sentences' if differs else '', 3.)
    yield from each('Table 5', 'trained parameters, M', {
        'vitb_k400_full': '124.3', 'vitb_k400_adaptformer': '7.9',
        'vitb_k400_lora': '9.4', 'vitb_k400_dims-256': '8.7',
        'vitb_k400': '8.7'}, 'msta', {
            'vitb_k400_full': 'embedding', 'vitb_k400': 'k400-dims'},
        tolerance=0.53)
    yield Row('Table 5', 'msta/vitb_k400_full',
              'trained parameters but the token embedding, M', '124.3')
    yield Row('Sec. 4.3', 'msta/vitb_fewshot_hmdb51', 'trained parameters, M',
              '8.7', 'few-shot', 0.81)
    yield Row('run logs', 'msta/vitb_fewshot_hmdb51', 'trained parameters, M',
              '1.744')
    for what, paper in (('weight decay', '0.001'), ('betas', '0.9, 0.98'),
                        ('warm-up, epochs', '5'), ('colour jitter', '0.8'),
                        ('grey', '0.2'), ('flip', '0.5')):
        yield Row('Sec. 4.2', 'msta/vitb_k400', what, paper)
    yield from each('Sec. 4.2', 'views', {
        'vitb_k400': '8x3x4',
        **{f'vitb_zeroshot_{data}': '8x1x1'
           for data in ('ucf101', 'hmdb51', 'k600')}}, 'msta')
    yield Row('Table 5', 'msta/vitb_k400_1x1', 'views', '8x1x1')
    varied = 'vitb_base-novel_ucf101'
    for where, what, word, values in (
            ('Table 6b', 'dims m', 'dims', '64 128 512'),
            ('Table 6c', 'lambda', 'scale', '0.001 0.01 0.05'),
            ('Table 6d', 'alpha', 'alpha', '0.1 5.0'),
            ('Table 6e', 'sentences N', 'sentences', '4 8'),
            ('Table 6f', 'blocks', 'blocks', '1-6 7-12 8-12 10-12')):
        yield from each(where, what, {
            f'{varied}_{word}-{paper}': paper
            for paper in values.split()}, 'msta')
    yield from each('Sec. 4.1', 'classes', {
        'vitb_k400': '400', 'vitb_zeroshot_ucf101': '101',
        'vitb_zeroshot_hmdb51': '51'}, 'msta')
    yield from each('Sec. 4.2', 'frames', {
        'vitb_k400': '8', 'vitb_zeroshot_ucf101': '8'}, 'msta')
    yield Row('Sec. 4.1', 'msta/vitb_zeroshot_k600',
              'classes of the three lists', '220', 'k600')


#: Rows of each method, by the title of their table.
METHODS: dict[str, Callable[[], Iterator[Row]]] = {
    'InTI': inti_rows, 'TDS-CLIP': tds_clip_rows, 'MoTE': mote_rows,
    'MSTA': msta_rows,
}


# The page -------------------------------------------------------------------


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    return page_parser('numbers of the papers against those of the configs.',
                       ROOT / 'docs/fidelity.md').parse_args()


def page(methods: Mapping[str, Callable[[], Iterator[Row]]]) -> str:
    """The whole page.

    Args:
        methods (Mapping): Rows of each method, by the title of their table.

    Returns:
        str: Markdown.
    """
    tables = []
    notes: list[str] = []
    number = same = 0
    for title, rows in methods.items():
        cells = []
        for row in rows():
            ours = row.ours()
            row.check(ours)
            number += 1
            same += not row.why
            if row.why and row.why not in notes:
                notes.append(row.why)
            changed = ''.join(
                f', `{key}={value}`' for key, value in row.options.items())
            cells.append((
                row.where, f'`{row.config.partition("/")[2]}`{changed}',
                row.title, row.paper, *row.show(ours),
                f'({notes.index(row.why) + 1})' if row.why else ''))
        tables.append(f'## {title}\n\n' + table(
            ['paper', 'config', 'what', 'printed', 'ours', 'off', 'why'],
            cells))
    unused = {*REASONS} - {*notes}
    if methods is METHODS and unused:
        raise ValueError(f'no row has the reason {min(unused)!r}: take it '
                         'out of tools/fidelity.py')
    return TEXT.format(
        number=number, same=same, tables='\n\n'.join(tables),
        reasons='\n'.join(f'{place}. {REASONS[why]}'
                          for place, why in enumerate(notes, 1)))


def main(args: argparse.Namespace) -> None:
    """Write the page, or compare it."""
    init_default_scope('mmaction')
    keep_page(args, page(METHODS), 'the configs give: run python '
              'tools/fidelity.py if its rows should move')


if __name__ == '__main__':
    arguments = parse_args()
    run_tool(main, arguments)
