"""Two processes train experts of which each step leaves some out."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from mmvidadapt.compat.checkpoints import read_checkpoint
from mmvidadapt.models.necks import merge_state_dict

TESTS = Path(__file__).parents[2]

_RUN = '''
import sys
import mmvidadapt
import torch
from mmengine.dist import all_gather_object, get_rank
from toy_recognizer import toy_runner

runner = toy_runner(sys.argv[1], launcher='pytorch', **{
    'model.neck': dict(
        type='MoTE', embed_dims=4, num_layers=3, num_experts=8, num_heads=2,
        routing='random', merged_branch=None),
    'model.cls_head': dict(
        _delete_=True, type='LinearHead', num_classes=3, in_channels=4,
        topk=(1, ), average_clips='prob'),
    'optim_wrapper.optimizer': dict(_delete_=True, type='AdamW', lr=0.01),
    'train_dataloader.batch_size': 1,
    'train_cfg.max_epochs': 1, 'train_cfg.val_interval': 9,
    # What a config without the merged branch says.
    'find_unused_parameters': True,
    'custom_hooks': [dict(type='SampleGuardHook'),
                     dict(type='MergeExpertsHook')],
    'env_cfg': dict(dist_cfg=dict(backend='gloo'))})
neck = runner.model.module.neck
drawn, draw = [], neck.draw
neck.draw = lambda: drawn.append(draw()) or drawn[-1]
before = [p.detach().clone() for p in neck.parameters()]
runner.train()
assert len(drawn) == 4  # 8 clips, 1 for each of 2 processes

ours, theirs = all_gather_object(drawn)
assert ours != theirs, 'each process draws its own experts'
together = all_gather_object([p.detach() for p in neck.parameters()])
assert all(torch.equal(a, b) for a, b in zip(*together))

# What neither process drew did not move, weight decay included.
for i, block in enumerate(neck.resblocks):
    met = {step.experts[i][0] for steps in (ours, theirs) for step in steps}
    assert len(met) < 8
    for e, linear in enumerate(block.mlp.c_fc):
        at = [n for n, p in enumerate(neck.parameters())
              if p is linear.weight]
        moved = not torch.equal(linear.weight, before[at[0]])
        assert moved == (e in met), (i, e, met)

torch.manual_seed(get_rank())
own = all_gather_object([draw() for _ in range(9)])
neck.synced_routing = True
torch.manual_seed(get_rank())
same = all_gather_object([draw() for _ in range(9)])
assert own[0] != own[1] and same[0] == same[1] == own[0]
print('all checked')
'''


@pytest.mark.skipif(torch.cuda.is_available(), reason='a GPU would be used')
def test_experts_that_no_process_drew_do_not_move(tmp_path: Path) -> None:
    script = tmp_path / 'run.py'
    script.write_text(_RUN)
    run = subprocess.run(
        [sys.executable, '-m', 'torch.distributed.run', '--standalone',
         '--nproc_per_node=2', str(script), str(tmp_path)],
        capture_output=True, text=True, timeout=300,
        env=dict(os.environ, OMP_NUM_THREADS='1',
                 PYTHONPATH=f'{TESTS.parent}{os.pathsep}{TESTS}'))
    assert run.returncode == 0, run.stderr[-3000:]
    assert 'all checked' in run.stdout
    whole, merged = (read_checkpoint(tmp_path / name)['state_dict']
                     for name in ('epoch_1.pth', 'merged.pth'))
    expected = merge_state_dict(whole)
    assert merged.keys() == expected.keys()
    assert all(torch.equal(merged[name], expected[name]) for name in merged)
