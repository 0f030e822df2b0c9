# 5 experts in each layer (Table 2b: top-1 86.7).
_base_ = 'vitl_k400.py'

model = dict(neck=dict(num_experts=5))
