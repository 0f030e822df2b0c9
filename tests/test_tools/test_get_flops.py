"""The published arithmetic of InTI, counted on the real configs.

GFLOPs in the InTI paper are multiply-accumulates with the attention products
(the uncompressed rows then match to the last digit), for one view of 16
frames. UniFormerV2 was counted with its cross-attention in plain form, so
rows with temporal modules are compared in that form here; the default of
``GlobalUniBlock`` computes the same with fewer operations. All other rows of
the papers are in ``tools/fidelity.py``, see ``tests/test_fidelity.py``.
"""

import json
from functools import lru_cache
from pathlib import Path

import pytest
from mmengine.config import Config
from mmengine.registry import init_default_scope

from mmvidadapt.apis.complexity import config_complexity
from tests.conftest import ROOT
from tests.scripts import tool
from tests.tiny import write_tiny_config


@lru_cache(maxsize=None)
def count(name: str, plain: bool = True) -> tuple:
    """GMACs, GMACs without attention products, M parameters of a config."""
    init_default_scope('mmaction')
    cfg = Config.fromfile(ROOT / 'configs' / 'inti' / f'{name}.py')
    for adapter in cfg.model.backbone.get('adapters', ()):
        if plain and adapter['type'] == 'GlobalUniBlock':
            adapter['attention'] = 'plain'
    total = config_complexity(cfg, (1, 1, 3, 16, 224, 224)).total
    return total.all_macs / 1e9, total.macs / 1e9, total.params / 1e6


@pytest.mark.parametrize('name, gmacs, plain', [
    ('vitb_k400_naive', 281.31, True),
    ('vitl_k400_naive', 1297.22, True),
    ('vitb_k400_uniformerv2', 296.54, True),
    ('vitl_k400_uniformerv2', 1332.33, True),
    ('vitb_ssv2_uniformerv2', 371.07, True),
])
def test_uncompressed_rows_match_to_the_last_digit(
        name: str, gmacs: float, plain: bool) -> None:
    assert count(name, plain)[0] == pytest.approx(gmacs, abs=0.01)


def test_attention_products_are_counted_apart() -> None:
    # 12 layers x 16 frames x 2 products x 197^2 x 768
    with_attention, without, _ = count('vitb_k400_naive')
    products = 12 * 16 * 2 * 197**2 * 768
    assert (with_attention - without) * 1e9 == pytest.approx(products)


def test_folded_attention_of_the_global_blocks_costs_less() -> None:
    assert count('vitb_k400_temp', plain=False)[0] < 182.5
    assert count('vitb_k400_temp', plain=False)[2] == count(
        'vitb_k400_temp')[2]


def test_tool_counts_by_part_and_follows_the_width(tmp_path: Path) -> None:
    results = []
    for width in (32, 64):
        config = write_tiny_config('inti/vitb_k400.py', tmp_path)
        done = tool('get_flops.py', config, '--json', '--cfg-options',
                    f'model.backbone.encoder.arch.embed_dims={width}',
                    f'model.cls_head.in_channels={width}')
        assert done.returncode == 0, done.stderr
        results.append(json.loads(done.stdout))
    small, large = results
    assert set(small['parts']) == {'backbone', 'InTI', 'cls_head'}
    assert small['shape'] == [1, 1, 3, 16, 32, 32]
    for part in small['parts']:
        assert small['parts'][part]['macs'] < large['parts'][part]['macs']
        assert small['parts'][part]['params'] < large['parts'][part]['params']
    assert small['total']['params'] == sum(
        part['params'] for part in small['parts'].values())


def test_tool_names_a_missing_config() -> None:
    done = tool('get_flops.py', 'configs/inti/no_such.py')
    assert done.error.startswith(
        "config 'configs/inti/no_such.py' does not exist: give the path")
