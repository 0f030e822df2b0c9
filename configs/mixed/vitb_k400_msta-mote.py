# MSTA on frame-wise CLIP ViT-B/16, and MoTE over its frame features. Not in a
# paper: MSTA's recipe, with the neck at about the rate of MoTE's. Texts train,
# so temporal features are not modulated.
_base_ = [
    '../_base_/models/msta_clip_b16.py', '../_base_/datasets/k400_msta.py',
    '../_base_/schedules/msta.py', '../_base_/default_runtime.py'
]

model = dict(
    neck=dict(type='MoTE', embed_dims=512, num_layers=4, num_experts=4),
    consistency=_base_.descriptions)

optim_wrapper = dict(
    optimizer=dict(lr=8e-3),
    paramwise_cfg=dict(custom_keys=dict(neck=dict(lr_mult=0.01))))
auto_scale_lr = dict(base_batch_size=256)  # 8 x 32
custom_hooks = [*_base_.custom_hooks, dict(type='MergeExpertsHook')]
