# A plain temporal transformer and no modulation (Table 1 "Baseline": top-1
# 86.7).
_base_ = 'vitl_k400.py'

model = dict(neck=dict(num_experts=0), cls_head=dict(modulate=False))
