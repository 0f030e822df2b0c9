"""tools/benchmark.py, on two tiny models."""

import json
import runpy
import sys
from pathlib import Path

import pytest
import torch
from mmengine.registry import DefaultScope

from tests.conftest import ROOT
from tests.tiny import write_tiny_config

NAMES = ['vitb_k400_naive', 'vitb_k400']
PNG = b'\x89PNG\r\n\x1a\n'


@pytest.fixture
def configs(tmp_path: Path) -> list[str]:
    """The same encoder without and with merged frames."""
    return [write_tiny_config(f'inti/{name}.py', tmp_path) for name in NAMES]


def run(*args: str) -> int:
    """Run the tool in this process; its exit status."""
    script = str(ROOT / 'tools' / 'benchmark.py')
    argv, sys.argv = sys.argv, [script, *args]
    scope = DefaultScope.get_current_instance()
    try:
        runpy.run_path(script, run_name='__main__')
    except SystemExit as stop:
        return stop.code or 0
    finally:
        sys.argv = argv
        if scope is None:
            DefaultScope._instance_dict.clear()
    return 0


def test_it_measures_reports_writes_and_draws(
        configs: list[str], tmp_path: Path,
        capsys: pytest.CaptureFixture) -> None:
    out = tmp_path / 'new folder' / 'result'
    assert run(*configs, '--frames', '8', '--repeats', '3', '--warmup', '2',
               '--dtypes', 'fp32', '--device', 'cpu', '--out', str(out)) == 0
    said = capsys.readouterr().out

    content = json.loads(out.with_suffix('.json').read_text())
    assert content['batch'] == 1 and content['frames'] == 8
    where = content['environment']
    assert where['torch'] == torch.__version__
    assert where['threads'] == torch.get_num_threads()
    assert 'CPU' in where['device'] and where['date'] and where['python']
    rows = content['rows']
    assert [(r['mode'], r['dtype'], r['name']) for r in rows] == [
        (mode, 'fp32', name) for mode in ('forward', 'train')
        for name in NAMES]
    for base, inti in (rows[:2], rows[2:]):
        assert base['time_ratio'] == base['mac_ratio'] == 1
        assert inti['time_ratio'] == inti['seconds'] / base['seconds']
        assert inti['mac_ratio'] == inti['gmacs'] / base['gmacs']
        # Half the frames from block 5 of 12 on, a quarter from block 7 on.
        assert .45 < inti['mac_ratio'] < .75
        assert inti['seconds'] > 0 and inti['spread'] >= 0
        assert inti['peak_mib'] is None
        line, = [line for line in said.splitlines()
                 if f'{inti["seconds"] * 1e3:.1f} (' in line
                 and line.startswith('vitb_k400 ')]
        assert f' {inti["mac_ratio"]:.3f} ' in line
    assert said.count('x MACs') == 2

    assert out.with_suffix('.png').read_bytes().startswith(PNG)
    assert sorted(p.name for p in out.parent.iterdir()) == [
        'result.json', 'result.png']

    # What it is at, before the first measurement.
    assert 'building 2/2: vitb_k400\n' in said
    assert ('train, fp32, batch 1 on cpu: warm-up 2/2 of vitb_k400\n'
            in said)


def test_one_measurement_gives_no_median(
        configs: list[str], tmp_path: Path,
        capsys: pytest.CaptureFixture) -> None:
    out = tmp_path / 'result'
    assert run(*configs, '--repeats', '1', '--out', str(out)) == 1
    assert capsys.readouterr().err == (
        'error: --repeats 1 gives no median: use at least 2\n')
    assert not list(tmp_path.glob('result*'))
