"""Two processes train experts of which each step leaves some out."""

from pathlib import Path

import torch

from mmvidadapt.compat.checkpoints import read_checkpoint
from mmvidadapt.models.necks import merge_state_dict
from tests.processes import cpu_only, in_two_processes

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


@cpu_only
def test_experts_that_no_process_drew_do_not_move(tmp_path: Path) -> None:
    assert 'all checked' in in_two_processes(_RUN, tmp_path, folder=tmp_path)
    whole, merged = (read_checkpoint(tmp_path / name)['state_dict']
                     for name in ('epoch_1.pth', 'merged.pth'))
    expected = merge_state_dict(whole)
    assert merged.keys() == expected.keys()
    assert all(torch.equal(merged[name], expected[name]) for name in merged)
