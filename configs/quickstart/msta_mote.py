# configs/mixed/vitb_k400_msta-mote.py at the quickstart's size: MSTA in a
# frozen CLIP that sees each frame for itself, MoTE over its frame features.
_base_ = 'msta.py'

model = dict(
    backbone=dict(encoder=dict(type='CLIPVisionEncoder')),
    neck=dict(
        type='MoTE', embed_dims=64, num_layers=2, num_heads=4,
        num_experts=4))
optim_wrapper = dict(
    paramwise_cfg=dict(
        custom_keys=dict(_delete_=True, neck=dict(lr_mult=0.2))))
custom_hooks = [*_base_.custom_hooks, dict(type='MergeExpertsHook')]
