# vitb_k400_tds-text.py with MoTE over the sum of CLIP's and the side features,
# at the rate that MoTE has by itself.
_base_ = 'vitb_k400_tds-text.py'

model = dict(
    neck=dict(type='MoTE', embed_dims=512, num_layers=4, num_experts=4),
    cls_head=dict(modulate=True, average_clips='mote_closed_set'))

optim_wrapper = dict(
    paramwise_cfg=dict(custom_keys=dict(neck=dict(lr_mult=0.05))))
custom_hooks = [*_base_.custom_hooks, dict(type='MergeExpertsHook')]
