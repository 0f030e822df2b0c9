"""Two processes train, validate and gather results on the CPU."""

import sys
from pathlib import Path

import pytest
import torch
from mmengine.dist import utils as dist_utils
from mmengine.model import MMDistributedDataParallel
from torch.nn.parallel import DistributedDataParallel

from mmvidadapt.compat import cpu_distributed
from mmvidadapt.compat.checkpoints import read_checkpoint
from tests.processes import cpu_only, in_two_processes

_RUN = '''
import sys
import mmvidadapt
import torch
from mmengine.dist import (all_gather_object, all_reduce, collect_results,
                           get_rank, get_world_size)
from toy_recognizer import toy_runner

runner = toy_runner(sys.argv[1], launcher='pytorch', **{
    'train_cfg.max_epochs': 1, 'env_cfg': dict(dist_cfg=dict(backend='nccl'))})
assert torch.distributed.get_backend() == 'gloo'
assert get_world_size() == 2
runner.train()
parts = [get_rank(), get_rank() + 2]
for device in ('cpu', 'gpu'):  # `gpu` gathers by collectives
    whole = collect_results(list(parts), 4, device=device)
    assert get_rank() or whole == [0, 1, 2, 3], whole
total = torch.ones(1)
all_reduce(total)
assert total == 2
weight = next(runner.model.parameters())
weights = all_gather_object(weight)
assert torch.equal(weights[0], weights[1])
if get_rank() == 0:
    score = runner.message_hub.get_scalar('val/acc/top1').current()
    print('validated', score, type(runner.model).__name__)
'''


@cpu_only
def test_two_processes_train_and_validate_over_gloo(tmp_path: Path) -> None:
    printed = in_two_processes(_RUN, tmp_path, folder=tmp_path)
    assert 'validated' in printed
    assert 'MMDistributedDataParallel' in printed
    saved = read_checkpoint(tmp_path / 'epoch_1.pth')
    assert 'backbone.conv.weight' in saved['state_dict']
    assert saved['meta']['iter'] == 1  # 8 clips, 2 processes of 4


_END = '''
import atexit, contextlib, os
import mmvidadapt
from mmengine.dist import all_gather_object, get_rank, init_dist
import torch

before = os.listdir('/proc/self/task')
init_dist('pytorch', backend='gloo')
cpus = sorted(os.sched_getaffinity(0))
threads = [int(task) for task in os.listdir('/proc/self/task')
           if task not in before]


def schedule(policy):
    for thread in threads:
        os.sched_setscheduler(thread, policy, os.sched_param(0))


@atexit.register  # runs before what the mend registered
def as_usual():
    with contextlib.suppress(PermissionError):
        schedule(os.SCHED_OTHER)


for thread in (os.getpid(), *threads):
    os.sched_setaffinity(thread, {cpus[get_rank() % len(cpus)]})
schedule(os.SCHED_IDLE)
print('put back', len(threads))
all_gather_object(torch.ones(500))
'''


@cpu_only
@pytest.mark.skipif(sys.platform != 'linux', reason='looks into /proc')
def test_a_process_that_ends_after_a_collective_does_not_abort(
        tmp_path: Path) -> None:
    # Gloo's threads come last on their core until the program ends, so Python
    # closes before they have dropped the tensors, unless it waits for them.
    # Which wins is not sure: without the wait this fails in most runs.
    assert 'put back' in in_two_processes(_END, folder=tmp_path)


@pytest.mark.parametrize('backend, waits', [
    ('cpu:gloo,cuda:gloo', True), ('cpu:gloo,cuda:nccl', True),
    ('cuda:nccl', False), (None, False)])
def test_only_the_end_of_gloo_takes_a_moment(
        monkeypatch: pytest.MonkeyPatch, backend: str | None,
        waits: bool) -> None:
    slept = []
    monkeypatch.setattr(cpu_distributed.time, 'sleep', slept.append)
    monkeypatch.setattr(torch.distributed, 'is_initialized',
                        lambda: backend is not None)
    monkeypatch.setattr(torch.distributed, 'get_backend_config',
                        lambda: backend)
    with monkeypatch.context() as patch:
        ends = []
        patch.setattr(cpu_distributed.atexit, 'register', ends.append)
        cpu_distributed.exit_mend()
    for end in ends:
        end()
    assert bool(slept) == waits


@pytest.mark.parametrize('version, needed', [((3, 13), True),
                                             ((3, 14), False)])
def test_later_pythons_let_the_threads_of_gloo_wait(
        monkeypatch: pytest.MonkeyPatch, version: tuple, needed: bool) -> None:
    monkeypatch.setattr(sys, 'version_info', version)
    assert cpu_distributed.exit_needed() == needed


def test_other_ways_to_start_are_refused_with_the_remedy(
        monkeypatch: pytest.MonkeyPatch) -> None:
    cpu_distributed_init = _mended(monkeypatch)
    with pytest.raises(ValueError, match="'deepspeed' needs a GPU: set "
                       'env_cfg.dist_cfg.init_backend'):
        cpu_distributed_init('nccl', init_backend='deepspeed')


@pytest.mark.parametrize('asked, used', [('nccl', 'gloo'), ('gloo', 'gloo'),
                                         ('mpi', 'mpi')])
def test_only_nccl_is_replaced(monkeypatch: pytest.MonkeyPatch, asked: str,
                               used: str) -> None:
    heard = {}
    monkeypatch.setattr(torch.distributed, 'init_process_group',
                        lambda **kwargs: heard.update(kwargs))
    _mended(monkeypatch)(asked, timeout=5)
    assert heard == dict(backend=used, timeout=5)


def _mended(monkeypatch: pytest.MonkeyPatch) -> object:
    """Return the mended launcher, on a machine with a GPU too."""
    monkeypatch.setattr(dist_utils, '_init_dist_pytorch',
                        dist_utils._init_dist_pytorch)  # put back later
    cpu_distributed.launcher_mend()
    return dist_utils._init_dist_pytorch


@pytest.mark.parametrize('device, kept', [('cpu', None), ('meta', [0])])
def test_device_ids_are_dropped_for_cpu_modules_only(
        monkeypatch: pytest.MonkeyPatch, device: str, kept: object) -> None:
    heard = {}
    monkeypatch.setattr(MMDistributedDataParallel, '__init__',
                        lambda self, module, **kwargs: heard.update(kwargs))
    cpu_distributed.wrapper_mend()
    module = torch.nn.Linear(1, 1, device=device)
    MMDistributedDataParallel.__init__(object.__new__(
        DistributedDataParallel), module, device_ids=[0])
    assert heard['device_ids'] == kept


def test_launcher_mend_is_needed_only_where_the_fault_is(
        monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr('mmengine.device.utils.DEVICE', 'cuda')
    assert not cpu_distributed.cpu_only()
    assert not cpu_distributed.launcher_needed()
    monkeypatch.setattr('mmengine.device.utils.DEVICE', 'cpu')
    _mended(monkeypatch)
    assert cpu_distributed.cpu_only()
    assert not cpu_distributed.launcher_needed()

    def as_released(backend: str, init_backend: str) -> None:
        raise AssertionError('Torch not compiled with CUDA enabled')

    monkeypatch.setattr(dist_utils, '_init_dist_pytorch', as_released)
    assert cpu_distributed.launcher_needed()
