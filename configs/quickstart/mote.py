# MoTE: the same transformer with four experts in the place of each feed-
# forward layer. They are merged for evaluation, and temporal features are
# modulated (TFM).
_base_ = 'mote_plain.py'

model = dict(neck=dict(num_experts=4), cls_head=dict(modulate=True))
custom_hooks = [*_base_.custom_hooks, dict(type='MergeExpertsHook')]
