"""The lean backward hands freed memory back to the system."""

import ctypes
import subprocess
import sys

import pytest

from mmvidadapt.models import freed_memory

#: Free 64 blocks of 8 MB between 64 that stay, and print what stays
#: resident, in blocks. A freed block of 30 MB comes first: it teaches glibc
#: to take blocks of that size from its heap.
_PROGRAM = '''
import runpy, sys, torch
module, mode = sys.argv[1:]
if mode == 'return':
    assert runpy.run_path(module)['return_freed_memory']()
def resident():
    with open('/proc/self/statm') as file:
        return int(file.read().split()[1]) * 4096
torch.ones(30 << 18)
before = resident()
blocks = [torch.ones(2 << 20 if i % 2 else 1 << 12) for i in range(128)]
blocks = blocks[::2]
print((resident() - before) / (8 << 20))
'''


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), 'mallopt'),
                    reason='the C library is not glibc')
def test_freed_blocks_between_kept_ones_leave_the_process() -> None:
    stay = {}
    for mode in ('keep', 'return'):
        # The module alone: the package would take seconds to import.
        done = subprocess.run(
            [sys.executable, '-c', _PROGRAM, freed_memory.__file__, mode],
            capture_output=True, text=True, check=True)
        stay[mode] = float(done.stdout)
    assert stay['keep'] > 32
    assert stay['return'] < 4


def test_other_c_libraries_are_left_alone(monkeypatch) -> None:
    monkeypatch.setattr(freed_memory.sys, 'platform', 'darwin')
    assert freed_memory.return_freed_memory() is False
    monkeypatch.setattr(freed_memory.sys, 'platform', 'linux')
    monkeypatch.setattr(freed_memory.ctypes, 'CDLL', lambda _: object())
    assert freed_memory.return_freed_memory() is False
