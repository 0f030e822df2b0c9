"""A program in two processes that work together, as torchrun starts them."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.conftest import ROOT

cpu_only = pytest.mark.skipif(torch.cuda.is_available(),
                              reason='a GPU would be used')


def in_two_processes(program: str, *args: object, folder: Path) -> str:
    """Run a program until both processes end well; return what they printed.

    The program stands in ``folder``, and imports helpers of the tests by
    their bare names.
    """
    script = folder / 'run.py'
    script.write_text(program)
    run = subprocess.run(
        [sys.executable, '-m', 'torch.distributed.run', '--standalone',
         '--nproc_per_node=2', str(script), *map(str, args)],
        capture_output=True, text=True, timeout=300,
        env=dict(os.environ, OMP_NUM_THREADS='1',
                 PYTHONPATH=f'{ROOT}{os.pathsep}{ROOT / "tests"}'))
    assert run.returncode == 0, run.stderr[-3000:]
    return run.stdout
