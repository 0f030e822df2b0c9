"""The published arithmetic of TDS-CLIP and Side4Video, on meta tensors.

The papers print multiply-accumulates in T, for one view. Counted on the
released program: 839 G (L/14, 8 frames) without the two attention products
and 878 G with them, 181 / 361 / 722 G (B/16, 8 / 16 / 32 frames) with them;
LayerNorm counts nothing there.
"""

import json
from functools import lru_cache
from pathlib import Path

import pytest
import torch
from mmaction.registry import MODELS
from mmengine.config import Config
from mmengine.registry import init_default_scope

from mmvidadapt.apis import complexity
from mmvidadapt.apis.complexity import Complexity, count_complexity
from mmvidadapt.models.backbones import SideCLIPViT
from tests.scripts import tool

WIDTH = {'ViT-B-16': 320, 'ViT-L-14': 512}


def recognizer(arch: dict | str, side_dims: int, frames: int,
               preset: str) -> dict:
    return dict(
        type='Recognizer3D',
        backbone=dict(type='SideCLIPViT', num_frames=frames, preset=preset,
                      encoder=dict(arch=arch, act='quick_gelu'),
                      side_dims=side_dims),
        cls_head=dict(type='LinearHead', num_classes=174,
                      in_channels=side_dims))


@lru_cache(maxsize=None)
def count(arch: str, frames: int, preset: str = 'published',
          layer_norm_ops: int = 5) -> Complexity:
    init_default_scope('mmaction')
    with torch.device('meta'):
        model = MODELS.build(recognizer(arch, WIDTH[arch], frames, preset))
    length = frames * model.backbone.window
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(complexity, 'LAYER_NORM_OPS', layer_norm_ops)
        return count_complexity(model, (1, 1, 3, length, 224, 224))


@pytest.mark.parametrize('arch, preset, millions', [
    ('ViT-B-16', 'published', 24.17), ('ViT-L-14', 'published', 106.4),
    ('ViT-B-16', 'side4video', 21.06), ('ViT-L-14', 'side4video', 102.0)])
def test_side_parameters_are_the_published_ones(
        arch: str, preset: str, millions: float) -> None:
    side = count(arch, 8, preset).parts['side network']
    digits = len(str(millions).partition('.')[2])
    assert round(side.params / 1e6, digits) == millions
    assert side.trained_params == side.params


def test_the_paper_s_preset_costs_what_the_published_one_does() -> None:
    assert count('ViT-B-16', 8, 'paper').parts == count(
        'ViT-B-16', 8).parts


@pytest.mark.parametrize('arch, frames, giga', [
    ('ViT-B-16', 8, 181), ('ViT-B-16', 16, 361), ('ViT-B-16', 32, 722),
    ('ViT-L-14', 8, 878)])
def test_macs_with_attention_products_are_those_of_the_program(
        arch: str, frames: int, giga: int) -> None:
    total = count(arch, frames, layer_norm_ops=0).total
    assert round(total.all_macs / 1e9) == giga


def test_macs_without_attention_products_are_those_of_the_program() -> None:
    total = count('ViT-L-14', 8, layer_norm_ops=0).total
    assert round(total.macs / 1e9) == 839


@pytest.mark.parametrize('arch, frames, tera', [
    ('ViT-B-16', 8, 0.2), ('ViT-B-16', 32, 0.7), ('ViT-L-14', 8, 0.8)])
def test_macs_round_to_tables_1_and_2(arch: str, frames: int,
                                      tera: float) -> None:
    assert round(count(arch, frames).total.macs / 1e12, 1) == tera


def test_sixteen_frames_fit_table_1_with_attention_products_only() -> None:
    # The one row where both ways of counting round to different digits: 0.4
    # in the table, and the L/14 row fits without the products only.
    total = count('ViT-B-16', 16).total
    assert total.macs / 1e12 == pytest.approx(0.345, abs=5e-4)
    assert round(total.all_macs / 1e12, 1) == 0.4
    assert round(count('ViT-L-14', 8).total.all_macs / 1e12, 1) == 0.9


def test_the_parts_are_the_encoder_the_side_network_and_the_head() -> None:
    parts = count('ViT-B-16', 8).parts
    assert set(parts) == {'encoder', 'side network', 'cls_head'}
    encoder = parts['encoder']
    assert encoder.trained_params == 0
    # CLIP ViT-B/16 without ln_post and proj
    assert encoder.params == 85_797_888
    # 12 layers x 8 frames x 2 products x 197^2 x 768, and those of patches
    # with patches and class token in 320 channels
    assert encoder.attention_macs == 12 * 8 * 2 * 197**2 * 768
    assert parts['side network'].attention_macs == (
        12 * 8 * 2 * 196 * 197 * 320)
    assert parts['cls_head'].params == 174 * 321


def test_the_tap_s_norm_is_counted_inside_the_pass_of_the_encoder() -> None:
    plain, norms = (count('ViT-B-16', 8, layer_norm_ops=ops).parts
                    for ops in (0, 5))
    # 25 norms of the encoder, 12 of the taps; 12 of side blocks
    assert norms['encoder'].macs - plain['encoder'].macs == (
        37 * 8 * 197 * 768 * 5)
    assert norms['side network'].macs - plain['side network'].macs == (
        12 * 8 * 197 * 320 * 5)


def test_a_backbone_alone_has_the_same_parts() -> None:
    arch = dict(embed_dims=32, num_layers=2, num_heads=2, patch_size=16,
                image_size=32, output_dims=24)
    side = SideCLIPViT(dict(arch=arch, act='quick_gelu'), num_frames=2,
                       side_dims=32, num_heads=2)
    parts = count_complexity(side, (1, 3, 10, 32, 32)).parts
    assert set(parts) == {'encoder', 'side network'}
    assert sum(part.params for part in parts.values()) == sum(
        p.numel() for p in side.parameters())
    assert all(p.device.type == 'cpu' for p in side.parameters())


def test_the_tool_prints_a_row_for_each_part(tmp_path: Path) -> None:
    arch = dict(embed_dims=32, num_layers=2, num_heads=2, patch_size=16,
                image_size=32, output_dims=24)
    config = tmp_path / 'config.py'
    config.write_text(
        f'model = {recognizer(arch, 64, 2, "paper")!r}\n')
    assert Config.fromfile(config).model.type == 'Recognizer3D'
    args = (str(config), '--shape', '10', '32', '32')
    done = tool('get_flops.py', *args, '--json')
    assert done.returncode == 0, done.stderr
    assert set(json.loads(done.stdout)['parts']) == {
        'encoder', 'side network', 'cls_head'}
    done = tool('get_flops.py', *args)
    rows = [line.partition('  ')[0] for line in done.stdout.splitlines()]
    assert {'encoder', 'side network', 'cls_head', 'total'} <= set(rows)
