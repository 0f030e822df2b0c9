"""Train in several processes on the CPU, over gloo.

MMEngine 0.10.7's ``pytorch`` launcher calls ``torch.cuda.set_device``
whatever there is, and its runner hands ``device_ids`` to a wrapper that
torch only lets have them for GPU modules. Torch 2.13 and others abort a
process now and then that ends right after a collective of gloo.
"""

import atexit
import os
import sys
import time
from functools import wraps
from typing import Any
from unittest import mock

import torch


def cpu_only() -> bool:
    """Return whether the CPU is all that MMEngine can use."""
    from mmengine.device import get_device
    return get_device() == 'cpu'


def launcher_needed() -> bool:
    """Return whether the launcher cannot start without a GPU."""
    from mmengine.dist import utils
    if not cpu_only():
        return False
    try:
        with mock.patch.dict(os.environ, RANK='0', LOCAL_RANK='0'):
            utils._init_dist_pytorch('gloo', init_backend='probe')
    except ValueError:  # came as far as the unknown init_backend
        return False
    except (AssertionError, AttributeError, RuntimeError):
        return True
    return False


def launcher_mend() -> None:
    """Start gloo instead of nccl."""
    from mmengine.dist import utils
    old_init = utils._init_dist_pytorch

    @wraps(old_init)
    def _init_dist_pytorch(backend: str, init_backend: str = 'torch',
                           **kwargs: Any) -> None:
        if init_backend != 'torch':
            raise ValueError(f'init_backend={init_backend!r} needs a GPU: '
                             "set env_cfg.dist_cfg.init_backend='torch'")
        # nccl needs GPUs; gloo and mpi are taken as given.
        torch.distributed.init_process_group(
            backend='gloo' if backend == 'nccl' else backend, **kwargs)

    utils._init_dist_pytorch = _init_dist_pytorch


def wrapper_mend() -> None:
    """Drop ``device_ids`` for modules on the CPU."""
    from mmengine.model.wrappers.distributed import MMDistributedDataParallel
    old_init = MMDistributedDataParallel.__init__

    @wraps(old_init)
    def __init__(self: Any, module: torch.nn.Module, *args: Any,
                 **kwargs: Any) -> None:
        if {parameter.device.type for parameter in module.parameters()} == {
                'cpu'}:
            kwargs.update(device_ids=None, output_device=None)
        old_init(self, module, *args, **kwargs)

    MMDistributedDataParallel.__init__ = __init__


def exit_needed() -> bool:
    """Return whether a thread that wants a closed interpreter is killed.

    Python 3.14 lets it wait for ever; older ones unwind it.
    """
    return sys.version_info < (3, 14)


def exit_mend() -> None:
    """Let the threads of gloo finish before the interpreter closes."""
    atexit.register(_wait_for_gloo)


def _wait_for_gloo() -> None:
    """Sleep while the threads of gloo let go of their last tensors.

    A thread that finished a collective drops the tensors afterwards, and
    needs the interpreter for it; if that is closing, the process aborts with
    ``terminate called without an active exception``. Destroying the group
    would join the threads, but ``DistributedDataParallel`` never lets go of
    its group, and a collective could wait for a process that is gone. What
    the threads lack is a moment in which Python runs nothing else.
    """
    distributed = torch.distributed
    if (distributed.is_available() and distributed.is_initialized()
            and 'gloo' in distributed.get_backend_config()):
        time.sleep(0.2)
