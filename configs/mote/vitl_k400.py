# MoTE on CLIP ViT-L/14, Kinetics-400, 8 frames (Table 4: 4 clips x 3 crops,
# top-1 86.8, top-5 97.5). The ablations start from here; the same checkpoint
# is tested on unseen classes by vitl_zeroshot_*.py.
_base_ = [
    '../_base_/models/mote_l14.py', '../_base_/datasets/k400_mote.py',
    '../_base_/schedules/mote.py', '../_base_/default_runtime.py'
]

optim_wrapper = dict(
    paramwise_cfg=dict(
        custom_keys={  # 3e-6
            'backbone': dict(lr_mult=0.06),
            'cls_head.logit_scale': dict(lr_mult=0.06)
        }))
param_scheduler = _base_.param_scheduler
param_scheduler[0].T_max = 20
train_cfg = dict(max_epochs=20)
train_dataloader = dict(batch_size=48)
auto_scale_lr = dict(base_batch_size=144)  # 3 x 48
custom_hooks = [*_base_.custom_hooks, dict(type='MergeExpertsHook')]
