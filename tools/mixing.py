#!/usr/bin/env python
"""Write docs/mixing.md from the table that the tests run."""

import argparse
from functools import lru_cache
from itertools import product
from pathlib import Path

from mmengine.config import Config
from mmengine.registry import init_default_scope

import mmvidadapt  # noqa: F401  (mends the stack before mmengine is used)
from mmvidadapt.apis.cli import run_tool
from mmvidadapt.apis.complexity import config_complexity
from mmvidadapt.apis.pages import keep_page, page_parser, table
from mmvidadapt.mixing import (
    ADAPTERS,
    ENCODERS,
    HEADS,
    MODES,
    NECKS,
    Cell,
    cells,
    refusal,
)

ROOT = Path(__file__).resolve().parents[1]
#: Configs whose cost is told, and the config that it is compared with.
CONFIGS = {
    'vitb_k400_inti-mote': ('InTI + MoTE', 'mote/vitb_k400'),
    'vitb_k400_inti-msta': ('InTI + MSTA on CLIP', None),
    'vitb_k400_tds-text': ('TDS-CLIP + text head', 'tds_clip/vitb_k400'),
    'vitb_k400_tds-mote': ('TDS-CLIP + MoTE', 'tds_clip/vitb_k400'),
    'vitb_k400_msta-mote': ('MSTA on CLIP + MoTE', 'mote/vitb_k400'),
}

TEXT = '''\
<!-- Written by `python tools/mixing.py`; change mmvidadapt/mixing.py. -->

# Mixing

The methods meet in one sentence: a backbone returns frame features
`(B, T', D)`, a neck maps them to `(B, T', D)`, a head averages over `T'`. So
each part is chosen in a config without knowing the others.
[design.md](design.md) tells how; [extending.md](extending.md) adds a part of
your own.

`tests/test_mixing.py` builds every cell of the table below at a tiny size,
all {number} of them. The {works} that work are trained for two steps, saved,
loaded and tested; each of their parts must get a gradient and change the
scores. The others must end with the sentence given.

## What combines with what

{table}

{sentences}

## What each word is in a config

{words}

All rows but those with a text head hold for other image models, too:
[ViTs that are no CLIP](weights.md#vits-that-are-no-clip), such as MAE, DINO,
DeiT or BEiT. The test runs InTI and TDS-CLIP on a plain one and on a BEiT.

## Configs

In [configs/mixed](../configs/mixed/README.md), on CLIP ViT-B/16 and
Kinetics-400 with 8 frames. Costs are those of one view, with the attention
products, counted as by `tools/get_flops.py`. Nothing was trained here: no
accuracy is known, and the learning rates are those of the methods, not tuned
for the mix.

{configs}

`vitb_zeroshot_ucf101_inti-mote.py` and `vitb_zeroshot_ucf101_tds-text.py`
test a checkpoint of the first and of the third on the classes of UCF-101. The
third starts as CLIP: a linear map from the side features into the joint
space, which starts at zero, is added to CLIP's frame features
(`add_to_clip=True`).

## On other data

InTI and MoTE on all videos of UCF-101 ([its lists](data.md#ucf-101)), starting
from CLIP:

<!-- file: data/mine/ucf101.py -->
```python
_base_ = '../../configs/mixed/vitb_k400_inti-mote.py'

videos = dict(video='data/ucf101/videos')
lists = 'data/ucf101/ucf101_{{}}_split_1_videos.txt'
val = dict(ann_file=lists.format('val'), data_prefix=videos)

model = dict(cls_head=dict(classes='ucf101'))
train_dataloader = dict(
    dataset=dict(ann_file=lists.format('train'), data_prefix=videos))
val_dataloader = dict(dataset=val)
test_dataloader = dict(dataset=val)
```

Where MoTE has a config for the data, as for 16 videos of each class, only InTI
and its rate are to add:

<!-- file: data/mine/few_shot.py -->
```python
_base_ = '../../configs/mote/vitb_fewshot_ucf101.py'

model = dict(backbone=dict(adapters=[dict(type='InTI', layers=[5, 7])]))
optim_wrapper = dict(
    paramwise_cfg=dict(
        custom_keys={{'backbone.adapters': dict(lr_mult=1.)}}))
```

What to watch in a mix of your own:

- **Rates.** MoTE's recipe gives `backbone` 0.07 of the rate; what is new in it
  takes the whole rate by `custom_keys`, as above. InTI's recipe has one rate
  for all, that of CLIP.
- **Frames.** Each InTI halves what the neck sees: 8 become 2.
- **Lists replace lists.** Write `adapters` whole: what the base config has
  there is gone. Several adapters may share blocks; at one place they run in
  the order of the list.
- **Videos of your own.** `tools/data/make_lists.py my_videos data/mine --base
  configs/mixed/vitb_k400_inti-mote.py` writes lists and config
  ([own_data.md](own_data.md)).

## Try it

`bash tools/quickstart.sh --method mixed` trains the five at the size of the
quickstart (`configs/quickstart`), on videos of 16 combinations of a shape and
a motion (base), and tests on these and on 8 other combinations (novel), as in
[text.md](text.md#try-it). Chance is 6.2 and 12.5 %; who does not see the order
of frames is right in half of the clips at best. Seed 0, 8 epochs, 400 clips of
each kind; HM is the harmonic mean of base and novel:

| mix | base | novel | HM | trained parameters | MMACs a clip |
| --- | --- | --- | --- | --- | --- |
| the small CLIP, not trained | 27.5 | 52.5 | 36.1 | 0 | 68.2 |
| InTI + MoTE | 80.0 | 61.3 | 69.4 | 609,287 | 44.5 |
| InTI + MSTA | 87.8 | 73.8 | 80.1 | 117,254 | 47.4 |
| TDS-CLIP + text head | 95.5 | 75.2 | 84.2 | 445,792 | 199.7 |
| TDS-CLIP + MoTE | 95.0 | 69.2 | 80.1 | 749,216 | 200.5 |
| MSTA + MoTE | 89.8 | 76.8 | 82.7 | 333,824 | 75.3 |

All five learn the order of frames, at the first choice of their learning
rates. InTI + MoTE costs 0.65 x [MoTE alone](mote.md#try-it) here too, which
reaches 92.8 and 50.7 (79.8 without temporal feature modulation). Mixes with
MSTA take twice as many steps of half the batch. One seed, and videos that
were made for this: a check that the parts work together, no comparison of
methods. It took 62 minutes on two CPU cores that were busy with other work.
'''


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    return page_parser('what combines with what, and what the mixed configs '
                       'cost.', ROOT / 'docs/mixing.md').parse_args()


def alike(columns: dict[str, tuple]) -> dict[tuple, list[str]]:
    """Titles of columns by what they hold.

    Args:
        columns (dict[str, tuple]): Cells by title.

    Returns:
        dict[tuple, list[str]]: Titles of the columns that are the same.
    """
    titles: dict[tuple, list[str]] = {}
    for title, found in columns.items():
        titles.setdefault(found, []).append(title)
    return titles


def choices() -> tuple[str, list[str]]:
    """The table of all cells.

    Returns:
        tuple[str, list[str]]: The table, whose numbers are those of the
        sentences, counted from 1. Sentences that differ in their first word,
        the name of an adapter, are one.
    """
    sentences: dict[str, list[str]] = {}

    def mark(cell: Cell) -> str:
        sentence = refusal(cell)
        if sentence is None:
            return 'yes'
        name, _, rest = sentence.partition(' ')
        names = sentences.setdefault(rest, [])
        if name not in names:
            names.append(name)
        return f'no ({[*sentences].index(rest) + 1})'

    rows = [*product(ADAPTERS, NECKS, HEADS)]
    towers = alike({
        encoder: tuple(tuple(mark(Cell(encoder, *row, mode)) for row in rows)
                       for mode in MODES) for encoder in ENCODERS})
    columns = {
        f'{", ".join(encoders)}: {", ".join(modes)}': column
        for found, encoders in towers.items()
        for column, modes in alike(dict(zip(
            MODES, found, strict=True))).items()}
    lines: list[list[str]] = []
    for i, (adapter, neck, head) in enumerate(rows):
        line = [adapter, neck, head, *(col[i] for col in columns.values())]
        # Heads that make no difference share a line.
        if lines and lines[-1][:2] + lines[-1][3:] == line[:2] + line[3:]:
            lines[-1][2] += f', {head}'
        else:
            lines.append(line)
    return table(['adapter', 'neck', 'head', *columns], lines), [
        f'{", ".join(names)} {rest}.' for rest, names in sentences.items()]


def costs() -> str:
    """What the mixed configs cost.

    Returns:
        str: A table.
    """
    @lru_cache
    def cost(name: str) -> tuple[float, float, float]:
        total = config_complexity(
            Config.fromfile(ROOT / f'configs/{name}.py')).total
        return (total.all_macs / 1e9, total.params / 1e6,
                total.trained_params / 1e6)

    rows = []
    for name, (title, alone) in CONFIGS.items():
        macs, params, trained = cost(f'mixed/{name}')
        ratio = '' if alone is None else (
            f'{macs / cost(alone)[0]:.2f} x `{alone}.py`')
        rows.append([title, f'`{name}.py`', f'{macs:.1f}', f'{params:.1f}',
                     f'{trained:.1f}', ratio])
    return table(['mix', 'config', 'GMACs', 'parameters (M)',
                 'trained (M)', 'cost'], rows)


def page() -> str:
    """The whole page.

    Returns:
        str: Markdown.
    """
    combinations, sentences = choices()
    every = [*cells()]
    return TEXT.format(
        number=len(every),
        works=sum(refusal(cell) is None for cell in every),
        table=combinations,
        sentences='\n'.join(
            f'{place}. {sentence}' for place, sentence
            in enumerate(sentences, 1)),
        words=table(['word', 'config'], [
            [word, config] for words in (ADAPTERS, NECKS, HEADS, MODES)
            for word, config in words.items()]),
        configs=costs())


def main(args: argparse.Namespace) -> None:
    """Write the page, or compare it."""
    init_default_scope('mmaction')
    keep_page(args, page(),
              'mmvidadapt/mixing.py says: run python tools/mixing.py')


if __name__ == '__main__':
    arguments = parse_args()
    run_tool(main, arguments)
