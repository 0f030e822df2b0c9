"""What combines with what: one table for the test and for the docs.

A :class:`Cell` is one choice of encoder, adapter, neck, head and of what
trains. :func:`tiny_model` writes it as a config of a few thousand
parameters, :func:`refusal` is the sentence that a cell ends with which
cannot work, and :func:`parts` names the modules of one that does.
``tests/test_mixing.py`` runs every cell; ``tools/mixing.py`` writes
``docs/mixing.md`` from it.
"""

from collections.abc import Iterator
from itertools import product
from typing import NamedTuple

#: Frames, classes and widths of the tiny models.
FRAMES, CLASSES, JOINT, SIDE = 4, 6, 24, 32

#: Tiny sizes that keep what tells the towers apart: patches of 32, 16 and
#: 14 pixels (a grid of 2 x 2), L twice as deep and wider. A video tower is a
#: B/16 that attends over all frames.
ENCODERS = {
    'CLIP B/32': dict(embed_dims=32, num_layers=2, num_heads=2,
                      patch_size=32, image_size=64, output_dims=JOINT),
    'CLIP B/16': dict(embed_dims=32, num_layers=2, num_heads=2,
                      patch_size=16, image_size=32, output_dims=JOINT),
    'CLIP L/14': dict(embed_dims=48, num_layers=4, num_heads=3,
                      patch_size=14, image_size=28, output_dims=JOINT),
    'ViCLIP': dict(embed_dims=32, num_layers=2, num_heads=2, patch_size=16,
                   image_size=32, output_dims=JOINT),
}
#: Each value of the other axes, and what it is in a config.
ADAPTERS = {
    'none': '`adapters=[]`',
    'InTI': "`adapters=[dict(type='InTI', layers=[5, 7])]`",
    'InTI^temp': '`InTI`, `LocalMHRAPreBlock`, `LocalMHRA` and '
                 '`GlobalUniBlock` in `adapters`, as in '
                 '`configs/inti/vitb_ssv2_temp.py`',
    'MSTA': "before a text head `VideoTextRecognizer(adapter=dict(type="
            "'MSTA', ...))`, in both towers; before a linear head, which has "
            'no text tower, its image half, `MSTAVideo` in `adapters`',
    'AdaptFormer': "`adapters=[dict(type='AdaptFormer', ...)]`",
    'LoRA': "`adapters=[dict(type='LoRA', ...)]`",
}
NECKS = {
    'no neck': 'no `neck`',
    'MoTE': "`neck=dict(type='MoTE', ...)`",
    'temporal transformer': "`neck=dict(type='MoTE', num_experts=0, ...)`",
}
HEADS = {
    'linear head': "`cls_head=dict(type='LinearHead', ...)`",
    'text head': "`cls_head=dict(type='TextHead', ...)` on projected features "
                 '(`project=True` in `encoder`); after `GlobalUniBlock`, '
                 'which reads out the clip in its own width, with '
                 '`projection=True` in the head',
}
MODES = {
    'full': '`CLIPViT`, everything trains',
    'frozen': '`CLIPViT` with `frozen=True` in `encoder`; what is beside it '
              'trains',
    'side network': '`SideCLIPViT`; under a text head with '
                    '`add_to_clip=True`, so that training starts from '
                    "CLIP's zero-shot scores",
}


class Cell(NamedTuple):
    """One choice on every axis, each a key of its table."""

    encoder: str
    adapter: str
    neck: str
    head: str
    mode: str

    @property
    def video_tower(self) -> bool:
        """Whether attention joins all frames."""
        return self.encoder == 'ViCLIP'

    @property
    def side(self) -> bool:
        """Whether a side network reads the encoder."""
        return self.mode == 'side network'

    @property
    def both_towers(self) -> bool:
        """Whether adapters sit in the text tower too."""
        return self.adapter == 'MSTA' and self.head == 'text head'

    @property
    def reads_out(self) -> bool:
        """Whether a reader makes one vector of the clip."""
        return self.adapter == 'InTI^temp'


def cells() -> Iterator[Cell]:
    """Every cell, the last axis fastest.

    Yields:
        Cell: The next one.
    """
    for choice in product(ENCODERS, ADAPTERS, NECKS, HEADS, MODES):
        yield Cell(*choice)


def refusal(cell: Cell) -> str | None:
    """The error of a cell that cannot work.

    Args:
        cell (Cell): The cell.

    Returns:
        str | None: One sentence; ``None`` if the cell works.
    """
    if cell.side and cell.adapter != 'none' and not cell.both_towers:
        return (
            f'{_adapters(cell)[0]["type"]} cannot sit inside the CLIP that a '
            'side network reads: it would train, which sends gradients '
            'through the frozen encoder, and one that merges frames leaves '
            'fewer of them than the side tokens have: put a neck such as '
            'MoTE behind SideCLIPViT, or use the adapter in CLIPViT')
    if cell.side and cell.video_tower:
        return (
            'SideCLIPViT reads the tokens of each frame, and '
            'ViCLIPVisionEncoder has none: use a CLIPVisionEncoder (no type '
            'needed), or CLIPViT with frozen=True and adapters in '
            'ViCLIPVisionEncoder')
    if cell.side and cell.both_towers:
        return (
            'VideoTextRecognizer adapts the blocks of its backbone, and a '
            'SideCLIPViT has none that may be adapted: give a CLIPViT as '
            'backbone, or use a Recognizer3D whose TextHead has text=dict('
            '...)')
    if cell.video_tower and cell.adapter in ('InTI', 'InTI^temp'):
        return (
            'InTI works on framewise tokens, not on a joint encoder: use '
            'AdaptFormer or LoRA or MSTAVideo, or another encoder')
    if cell.neck != 'no neck' and (cell.video_tower or cell.reads_out):
        return (
            'MoTE relates the frames of a clip, and the backbone gives one '
            'vector for each clip: use an encoder that returns a feature for '
            'each frame, without a reader that reads out the clip')
    return None


def parts(cell: Cell) -> tuple[list[str], list[str]]:
    """What a cell is made of.

    Args:
        cell (Cell): One that works.

    Returns:
        tuple[list[str], list[str]]: Names of the modules and parameters that
        train, and of frozen ones.
    """
    encoders = ['backbone.encoder']
    trained = []
    if cell.side:
        trained += [f'backbone.{name}' for name in (
            'stem', 'position_embedding', 'taps', 'blocks', 'post_norm')]
        trained += ['backbone.to_clip'] * (cell.head == 'text head')
    elif cell.both_towers:
        encoders += ['text_encoder']
        trained += ['adapter.visual', 'adapter.text', 'adapter.shared']
    else:
        trained += [f'backbone.adapters.{i}'
                    for i in range(len(_adapters(cell)))]
    trained += ['neck'] * (cell.neck != 'no neck') + ['cls_head']
    if cell.mode == 'full':
        return encoders + trained, []
    return trained, encoders


def tiny_model(cell: Cell) -> dict:
    """The recognizer of a cell at a tiny size.

    Args:
        cell (Cell): Any cell.

    Returns:
        dict: Config of the model.
    """
    text = cell.head == 'text head'
    width = _width(cell)
    model = dict(
        type='Recognizer3D',
        backbone=_backbone(cell),
        cls_head=_text_head(cell, width) if text else dict(
            type='LinearHead', in_channels=width, num_classes=CLASSES,
            average_clips='score'),
        data_preprocessor=dict(
            type='ActionDataPreprocessor', mean=[128.] * 3, std=[64.] * 3,
            format_shape='NCTHW'))
    if cell.neck != 'no neck':
        model['neck'] = dict(
            type='MoTE', embed_dims=width, num_layers=2, num_heads=2,
            num_experts=3 if cell.neck == 'MoTE' else 0)
    if cell.both_towers:
        layers = 2  # those of L/14 too: its image tower is twice as deep
        model.update(
            type='VideoTextRecognizer',
            text_encoder=dict(
                arch=dict(embed_dims=16, num_layers=layers, num_heads=2,
                          output_dims=JOINT),
                act='quick_gelu', frozen=cell.mode == 'frozen'),
            adapter=_msta('MSTA', range(ENCODERS[cell.encoder]['num_layers'])))
    return model


def _width(cell: Cell) -> int:
    """Channels of the features that the backbone returns."""
    if cell.head == 'text head' and not cell.reads_out:
        return JOINT
    return SIDE if cell.side else ENCODERS[cell.encoder]['embed_dims']


def _backbone(cell: Cell) -> dict:
    encoder = dict(arch=ENCODERS[cell.encoder], act='quick_gelu')
    if cell.video_tower:
        encoder['type'] = 'ViCLIPVisionEncoder'
    text = cell.head == 'text head'
    adapters = [] if cell.both_towers else _adapters(cell)
    if cell.side:
        return dict(
            type='SideCLIPViT', num_frames=FRAMES, side_dims=SIDE,
            num_heads=2, encoder=encoder, add_to_clip=text,
            adapters=adapters)
    return dict(
        type='CLIPViT', num_frames=FRAMES, adapters=adapters,
        encoder=dict(encoder, frozen=cell.mode == 'frozen',
                     project=text and not cell.reads_out))


def _adapters(cell: Cell) -> list[dict]:
    depth = ENCODERS[cell.encoder]['num_layers']
    every, upper = list(range(depth)), list(range(depth // 2, depth))
    inti = dict(type='InTI', layers=[depth // 2])
    choices: dict[str, list[dict]] = {
        'none': [],
        'InTI': [inti],
        'InTI^temp': [
            inti,
            dict(type='LocalMHRAPreBlock', layers=every, dw_reduction=1.5),
            dict(type='LocalMHRA', layers=every, dw_reduction=1.5),
            dict(type='GlobalUniBlock', layers=upper)],
        'MSTA': [_msta('MSTAVideo', every)],
        'AdaptFormer': [
            dict(type='AdaptFormer', layers=every, bottleneck_dims=8)],
        'LoRA': [dict(type='LoRA', layers=every, rank=4)],
    }
    return choices[cell.adapter]


def _msta(name: str, layers: object) -> dict:
    # A scale at which two steps can be seen.
    return dict(type=name, layers=layers, bottleneck_dims=8, scale=0.5)


def _text_head(cell: Cell, width: int) -> dict:
    head = dict(
        type='TextHead', in_channels=width, average_clips='score',
        classes=[f'class {i}' for i in range(CLASSES)],
        projection=width != JOINT)
    if cell.both_towers:
        return dict(head, templates='video', text='recognizer',
                    modulate=False)
    # Orthogonal features in the place of a text tower.
    return dict(head, features=[
        [float(i == j) for j in range(JOINT)] for i in range(CLASSES)])
