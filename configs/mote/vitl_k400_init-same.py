# Experts that start from the same weights (Table 2a, routed data: top-1 86.3).
_base_ = 'vitl_k400.py'

model = dict(neck=dict(same_init=True))
