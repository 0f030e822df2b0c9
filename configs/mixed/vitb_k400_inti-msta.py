# InTI_5,7 and MSTA in a frozen CLIP ViT-B/16: 8 frames become 2, and MSTA's
# convolution sees those that are left. Not in a paper: MSTA's recipe, with
# InTI at a hundredth of its rate.
_base_ = [
    '../_base_/models/msta_clip_b16.py', '../_base_/datasets/k400_msta.py',
    '../_base_/schedules/msta.py', '../_base_/default_runtime.py'
]

model = dict(
    backbone=dict(adapters=[dict(type='InTI', layers=[5, 7])]),
    consistency=_base_.descriptions)

optim_wrapper = dict(
    optimizer=dict(lr=8e-3),
    paramwise_cfg=dict(
        custom_keys={'backbone.adapters': dict(lr_mult=0.01)}))
auto_scale_lr = dict(base_batch_size=256)  # 8 x 32
