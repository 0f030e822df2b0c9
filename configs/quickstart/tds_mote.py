# configs/mixed/vitb_k400_tds-mote.py at the quickstart's size: MoTE over the
# sum of CLIP's and the side features.
_base_ = 'tds_text.py'

model = dict(
    neck=dict(
        type='MoTE', embed_dims=64, num_layers=2, num_heads=4,
        num_experts=4),
    cls_head=dict(modulate=True))
custom_hooks = [*_base_.custom_hooks, dict(type='MergeExpertsHook')]
