# MoTE on CLIP ViT-B/16, Kinetics-400, 8 frames (Table 4: 4 clips x 3 crops,
# top-1 83.0, top-5 96.3). The same checkpoint is tested on unseen classes by
# vitb_zeroshot_*.py.
_base_ = [
    '../_base_/models/mote_b16.py', '../_base_/datasets/k400_mote.py',
    '../_base_/schedules/mote.py', '../_base_/default_runtime.py'
]

optim_wrapper = dict(
    paramwise_cfg=dict(
        custom_keys={  # 3.5e-6
            'backbone': dict(lr_mult=0.07),
            'cls_head.logit_scale': dict(lr_mult=0.07)
        }))
custom_hooks = [*_base_.custom_hooks, dict(type='MergeExpertsHook')]
