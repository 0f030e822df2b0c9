"""What a training step keeps in memory, counted on a net of two layers."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from mmvidadapt.apis import memory
from mmvidadapt.apis.memory import (
    ResidentGrowth,
    live_at_peak,
    saved_bytes,
)

HIDDEN = 100 * 32 * 4  # bytes of the one activation between the layers


@pytest.fixture
def net() -> nn.Module:
    return nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Linear(32, 4))


@pytest.fixture
def x() -> Tensor:
    return torch.randn(100, 8)


def test_shared_memory_is_saved_once_and_parameters_not_at_all(net, x):
    own = [*net.parameters(), x]
    # ReLU and the second layer keep the same tensor.
    assert saved_bytes(lambda: net(x), own) == HIDDEN
    assert saved_bytes(lambda: net(x), [*net.parameters()]) == (
        HIDDEN + 100 * 8 * 4)
    # The second layer's weight; none asks for the gradient of the input.
    assert saved_bytes(lambda: net(x), [x]) == HIDDEN + 4 * 32 * 4


def test_what_is_dropped_before_the_end_is_not_saved(net, x):
    net.append(nn.Sigmoid())  # keeps its own output
    assert saved_bytes(lambda: net(x)) > 0
    assert saved_bytes(lambda: [net(x), None][1]) == 0


def test_nothing_is_saved_where_nothing_trains(net, x):
    assert saved_bytes(lambda: net.requires_grad_(False)(x)) == 0


def test_backward_still_runs_through_a_counted_graph(net, x):
    wanted = torch.autograd.grad(net(x).sum(), net[0].weight)
    kept = []
    saved_bytes(lambda: kept.append(net(x).sum()))
    assert torch.equal(*torch.autograd.grad(kept[0], net[0].weight), *wanted)


def test_the_peak_of_a_step_is_told_apart_by_kind(net, x):
    optimizer = torch.optim.AdamW(net.parameters())

    def step() -> None:
        net(x).square().mean().backward()
        optimizer.step()
        optimizer.zero_grad()

    step()
    state = [v for values in optimizer.state.values()
             for v in values.values()]
    peak = live_at_peak(
        step, {'weights': net.parameters(), 'clips': [x], 'AdamW': state},
        net.parameters())
    weights = 4 * sum(p.numel() for p in net.parameters())
    # In backward, once the gradient of the hidden layer is there on both
    # sides of the ReLU: what the ReLU saved, and the second layer's gradients.
    assert peak.moment == 'aten.threshold_backward (100, 32)'
    assert peak.kinds.pop('working') == pytest.approx(2 * HIDDEN, abs=64)
    assert peak.kinds == {
        'weights': weights, 'clips': 100 * 8 * 4,
        'AdamW': 2 * weights + 4 * 4,  # two moments, and a count for each
        'saved for backward': HIDDEN,
        'gradients': 4 * (4 * 32 + 4)}
    assert [source for source, _ in peak.working[:2]] == [
        'aten.mm (100, 32)', 'aten.threshold_backward (100, 32)']
    assert peak.total == pytest.approx(
        weights * 3 + 100 * 8 * 4 + 3 * HIDDEN + 4 * (4 * 32 + 4), abs=96)


def test_no_hook_outlives_the_count(net, x):
    live_at_peak(lambda: net(x).sum().backward(), {}, net.parameters())
    assert not any(p._post_accumulate_grad_hooks for p in net.parameters())


def test_memory_of_the_process_is_its_highest_point_since():
    # In a process of its own: here, what earlier tests left may be freed at
    # any moment. The package would take seconds to import.
    program = """
import runpy, sys, torch
ResidentGrowth = runpy.run_path(sys.argv[1])['ResidentGrowth']
torch.ones(40 << 18).sum()  # 40 MiB, before
growth = ResidentGrowth()
print(growth.peak())
torch.ones(80 << 18).sum()
print(growth.peak())
"""
    done = subprocess.run(
        [sys.executable, '-W', 'ignore', '-c', program, memory.__file__],
        capture_output=True, text=True, check=True)
    before, after = map(int, done.stdout.split()[-2:])
    assert before < 20 << 20
    assert 78 << 20 < after < 100 << 20


def test_a_system_that_does_not_tell_is_an_error(tmp_path: Path, monkeypatch):
    status = tmp_path / 'status'
    status.write_text('Name:\tpython\n')
    monkeypatch.setattr(memory, '_STATUS', status)
    with pytest.raises(OSError, match='does not tell VmRSS'):
        ResidentGrowth()
