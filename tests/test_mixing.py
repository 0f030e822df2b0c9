"""Methods mix by config: every cell of the table trains, saves and tests.

The table is ``mmvidadapt/mixing.py``, which ``docs/mixing.md`` is written
from. Below are rows of our own beside it, for options that the table does
not vary. Each row is a model, the parts that train and those that do not.
"""

import copy
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from mmaction.registry import MODELS
from mmaction.structures import ActionDataSample
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmengine.registry import init_default_scope
from mmengine.runner import load_checkpoint
from mmengine.runner.checkpoint import save_checkpoint
from torch import Tensor, nn

from mmvidadapt.mixing import (
    CLASSES,
    FRAMES,
    SIDE,
    Cell,
    cells,
    parts,
    refusal,
    tiny_model,
)
from mmvidadapt.models.backbones import SideCLIPViT
from mmvidadapt.models.necks import MoTE
from tests.tiny_clip import randomize


@dataclass
class Mix:
    """One row.

    Args:
        model (dict): Config of the recognizer.
        trained (list[str]): Modules and parameters that it is made of and
            that train, whole.
        frozen (list[str]): Those that do not.
    """

    model: dict
    trained: list[str]
    frozen: list[str]

    @classmethod
    def of(cls, cell: Cell, **changes: Any) -> 'Mix':
        """A cell, with settings by dotted key with ``__`` for the dot."""
        cfg = Config(dict(model=tiny_model(cell)))
        cfg.merge_from_dict({'model.' + key.replace('__', '.'): value
                             for key, value in changes.items()})
        return cls(cfg.model.to_dict(), *parts(cell))

    def config(self) -> dict:
        """A new config of the recognizer."""
        return copy.deepcopy(self.model)

    @property
    def losses(self) -> set[str]:
        """Names of the losses of a step."""
        experts = self.model.get('neck', {}).get('num_experts')
        return {'loss_cls', 'loss_cls_merged', 'loss_mse'} if experts else {
            'loss_cls'}


CELLS = [*cells()]
WORKING = {' + '.join(cell): Mix.of(cell)
           for cell in CELLS if refusal(cell) is None}
B16 = dict(encoder='CLIP B/16', adapter='none', neck='MoTE',
           head='text head', mode='full')
INTI = Cell(**{**B16, 'adapter': 'InTI'})
TDS = Cell(**{**B16, 'mode': 'side network'})
LINEAR = dict(neck='no neck', head='linear head')
#: An image model that is no CLIP: MAE, DINO, DeiT, ...
PLAIN = dict(backbone__encoder__act='gelu',
             backbone__encoder__arch__pre_norm=False,
             backbone__encoder__arch__norm_eps=1e-6)
BEIT = dict(PLAIN, backbone__encoder__arch__abs_pos_emb=False,
            backbone__encoder__arch__rel_pos_bias=True)
MEANS = dict(BEIT, backbone__encoder__out_type='avg_featmap')
MORE = {
    'InTI twice': Mix.of(INTI, backbone__adapters=[
        dict(type='InTI', layers=[0, 1])], backbone__num_frames=2 * FRAMES),
    'TDS-CLIP with the lean backward': Mix.of(TDS, backbone__with_cp=True),
    'Side4Video': Mix.of(TDS, backbone__preset='side4video'),
    'TDS-CLIP alone, projected by the text head': Mix.of(
        TDS, backbone__add_to_clip=False, neck__embed_dims=SIDE,
        cls_head__in_channels=SIDE, cls_head__projection=True),
}
PLAIN_VITS = {
    'InTI in a ViT that is no CLIP': Mix.of(INTI._replace(**LINEAR), **PLAIN),
    'InTI in a frozen ViT that is no CLIP': Mix.of(
        INTI._replace(mode='frozen', **LINEAR), **PLAIN),
    'TDS-CLIP on a ViT that is no CLIP': Mix.of(
        TDS._replace(**LINEAR), **PLAIN),
    'InTI in a BEiT': Mix.of(INTI._replace(**LINEAR), **MEANS),
    'InTI in a frozen BEiT': Mix.of(
        INTI._replace(mode='frozen', **LINEAR), **MEANS),
    'TDS-CLIP on a BEiT': Mix.of(TDS._replace(**LINEAR), **BEIT),
}
MORE['TDS-CLIP alone, projected by the text head'].trained.remove(
    'backbone.to_clip')
#: One of each kind of row with experts, and the frames that reach them.
EXPERTS = {**{name: (mix, FRAMES) for name, mix in MORE.items()},
           **{cell.adapter: (Mix.of(cell), FRAMES // 2 if
                             cell.adapter == 'InTI' else FRAMES)
              for cell in CELLS if refusal(cell) is None
              and cell._replace(adapter='none') == Cell(**B16)}}
EXPERTS['InTI twice'] = (MORE['InTI twice'], FRAMES // 2)


@pytest.fixture(autouse=True, scope='module')
def _scope() -> None:
    """Types without a prefix are MMAction2's."""
    init_default_scope('mmaction')


def build(mix: Mix) -> nn.Module:
    """The model of a row with values that no default has."""
    torch.manual_seed(0)
    return randomize(MODELS.build(mix.config()))


def clips(model: nn.Module, number: int = 2, views: int = 1) -> dict:
    """A batch as a data loader gives it."""
    backbone = model.backbone
    frames = backbone.num_frames * getattr(backbone, 'window', 1)
    draw = torch.Generator().manual_seed(1)
    shape = (views, 3, frames, *[backbone.encoder.arch.image_size] * 2)
    return dict(
        inputs=[torch.randint(0, 256, shape, generator=draw).byte()
                for _ in range(number)],
        data_samples=[ActionDataSample().set_gt_label(i % CLASSES)
                      for i in range(number)])


def losses_of(model: nn.Module) -> dict[str, Tensor]:
    data = model.data_preprocessor(clips(model), training=True)
    losses = model.train()(**data, mode='loss')
    return {name: value for name, value in losses.items() if 'loss' in name}


@torch.no_grad()
def scores(model: nn.Module) -> Tensor:
    data = model.data_preprocessor(clips(model, 2, 2), training=False)
    found = model.eval()(**data, mode='predict')
    return torch.stack([sample.pred_score for sample in found])


def trained(model: nn.Module, mix: Mix) -> nn.Module:
    """Train two steps, as a runner does, and look at the first's gradients."""
    wrapper = build_optim_wrapper(model, dict(
        constructor='TrainableParamsConstructor',
        optimizer=dict(type='AdamW', lr=1e-3)))
    for step in range(2):
        losses = losses_of(model)
        assert {*losses} == mix.losses
        assert all(value.isfinite() for value in losses.values())
        loss = wrapper.scale_loss(sum(losses.values()))
        wrapper.backward(loss)
        if not step:
            check_gradients(model, mix)
        wrapper.step()
        wrapper.zero_grad()
    return model


#: Parameters that cannot have a gradient: a shift that the gate of the
#: TD-Adapter takes off again, and in the last block what MSTA adds to patches
#: alone, when only class tokens are read after it.
NO_GRADIENT = re.compile(r'blocks\.\d+\.temporal\.gate\.norm1\.bias'
                         r'|(adapters\.0|adapter\.visual\.0)\.(\d+)'
                         r'\.temporal_up\.(weight|bias)')


def parameters_of(model: nn.Module, part: str) -> dict[str, nn.Parameter]:
    """Parameters of a part by their names, those of others' in it too."""
    return {name: value for name, value in model.named_parameters(
        remove_duplicate=False) if f'{name}.'.startswith(f'{part}.')}


def check_gradients(model: nn.Module, mix: Mix) -> None:
    """Every parameter of every part gets a gradient, a frozen one none."""
    last = len(model.backbone.encoder.transformer.resblocks) - 1
    claimed = set()
    for part in mix.trained:
        own = parameters_of(model, part)
        claimed.update(map(id, own.values()))
        assert own, part
        assert not [name for name, value in own.items()
                    if not value.requires_grad]
        # None at all would stop DDP.
        assert not [name for name, value in own.items()
                    if value.grad is None]
        idle = {name for name, value in own.items() if not value.grad.any()}
        assert all((found := NO_GRADIENT.search(name))
                   and found[2] in (None, str(last)) for name in idle), idle
    for part in mix.frozen:
        own = parameters_of(model, part)
        assert own, part
        assert not [name for name, value in own.items()
                    if value.requires_grad or value.grad is not None]
    assert not [name for name, value in model.named_parameters()
                if value.requires_grad and id(value) not in claimed]


@torch.no_grad()
def check_alive(model: nn.Module, mix: Mix, found: Tensor) -> None:
    """Every part changes the scores."""
    for part in mix.trained + mix.frozen:
        values = [*parameters_of(model, part).values()]
        kept = [value.clone() for value in values]
        for value in values:
            value.add_(torch.randn_like(value), alpha=0.3)
        assert (scores(model) - found).abs().max() > 1e-4, part
        for value, old in zip(values, kept):
            value.copy_(old)


@pytest.mark.parametrize('name', [*WORKING, *MORE, *PLAIN_VITS])
def test_a_cell_trains_is_saved_and_has_no_idle_part(
        name: str, tmp_path: Path) -> None:
    mix = {**WORKING, **MORE, **PLAIN_VITS}[name]
    model = build(mix)
    before = {key: value.clone() for key, value in model.named_parameters()}
    started = scores(model)
    trained(model, mix)
    assert {key for key, value in model.named_parameters()
            if torch.equal(value, before[key])} == {
        key for key, value in model.named_parameters()
        if not value.requires_grad}
    found = scores(model)
    assert found.shape == (2, CLASSES)
    assert (found - started).abs().max() > 1e-5
    check_alive(model, mix, found)

    path = tmp_path / 'mix.pth'
    save_checkpoint(dict(state_dict=model.state_dict()), str(path))
    again = MODELS.build(mix.config())
    load_checkpoint(again, str(path), strict=True)
    path.unlink()
    torch.testing.assert_close(scores(again), found)


@pytest.mark.parametrize('name', EXPERTS)
def test_positions_are_those_of_the_frames_that_are_left(name: str) -> None:
    mix, frames = EXPERTS[name]
    model = build(mix)
    seen = []
    model.neck.register_forward_pre_hook(
        lambda neck, args: seen.append(args[0].shape[1]))
    sum(losses_of(model).values()).backward()
    assert seen == [frames]
    used = model.neck.positional_embedding.grad.abs().sum(dim=1) > 0
    assert used.nonzero().flatten().tolist() == [*range(frames)]


@pytest.mark.parametrize('name', EXPERTS)
def test_merged_experts_give_the_same_scores(name: str) -> None:
    model = build(EXPERTS[name][0])
    found = scores(model)
    assert isinstance(model.neck, MoTE)
    model.neck.merge()
    torch.testing.assert_close(scores(model), found)
    model.neck.merge([1, 0, 0])
    assert not torch.allclose(scores(model), found, atol=1e-5)


# -- what does not mix -----------------------------------------------------


@pytest.mark.parametrize('cell', [
    cell for cell in CELLS if refusal(cell) is not None], ids=' + '.join)
def test_a_cell_that_cannot_work_is_one_sentence(cell: Cell) -> None:
    with pytest.raises(ValueError) as error:
        losses_of(MODELS.build(tiny_model(cell)))
    assert str(error.value) == refusal(cell)


def test_the_table_is_whole() -> None:
    assert len(CELLS) == len(set(CELLS)) == 4 * 6 * 3 * 2 * 3
    assert len(WORKING) == 226


#: What else cannot be mixed, and what the error says.
REFUSED = {
    'TDS-CLIP + text head of another width': (
        Mix.of(TDS, backbone__add_to_clip=False, cls_head__in_channels=SIDE),
        'the features of frames have 32 channels and those of texts 24: '
        '.* set projection=True'),
    'InTI down to one frame + MoTE': (
        Mix.of(INTI, backbone__adapters=[dict(type='InTI', layers=[0, 1])]),
        'MoTE relates the frames of a clip, and the backbone gives one '
        'vector for each clip'),
    'MoTE of another width': (
        Mix.of(INTI, neck__embed_dims=SIDE),
        'MoTE reads frame features .* set embed_dims to the width of the '
        'backbone, or project=True in its encoder'),
    'MSTA in both towers + linear head': (
        Mix.of(Cell(**{**B16, 'adapter': 'MSTA'}), cls_head=dict(
            _delete_=True, type='LinearHead', in_channels=24, num_classes=6)),
        'VideoTextRecognizer computes the features of classes itself: give '
        "dict\\(type='TextHead', text='recognizer'"),
    'MSTA + temporal feature modulation': (
        Mix.of(Cell(**{**B16, 'adapter': 'MSTA'}), cls_head__modulate=True),
        'temporal feature modulation compares fixed text features, and '
        "text='recognizer' trains them: set modulate=False"),
}


@pytest.mark.parametrize('name', REFUSED)
def test_what_does_not_mix_is_one_sentence(name: str) -> None:
    mix, message = REFUSED[name]
    with pytest.raises(ValueError, match=message) as error:
        losses_of(build(mix))
    assert '\n' not in str(error.value)


def test_a_side_network_added_to_clip_starts_from_its_zero_shot_scores(
) -> None:
    torch.manual_seed(0)
    model = MODELS.build(tiny_model(TDS._replace(neck='no neck')))
    plain = MODELS.build(tiny_model(Cell(**{**B16, 'neck': 'no neck'})))
    plain.backbone.encoder.load_state_dict(
        model.backbone.encoder.state_dict())
    assert isinstance(model.backbone, SideCLIPViT)
    centre = model.backbone.window // 2
    window = slice(centre, None, model.backbone.window)
    for head in (model.cls_head, plain.cls_head):
        assert head.logit_scale.exp().item() == pytest.approx(100)
    data = model.data_preprocessor(clips(model), training=False)
    frames = dict(data, inputs=data['inputs'][:, :, :, window])
    found, wanted = (
        [sample.pred_score for sample in one.eval()(**batch, mode='predict')]
        for one, batch in ((model, data), (plain, frames)))
    assert torch.equal(torch.stack(found), torch.stack(wanted))
