# Temporal experts alone (Table 1 "+ Temporal Experts": top-1 85.5). Experts
# that a step did not draw get no gradient.
_base_ = 'vitl_k400.py'

model = dict(
    neck=dict(merged_branch=None), cls_head=dict(modulate=False))
find_unused_parameters = True
