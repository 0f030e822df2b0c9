# Experts that start from the same weights and all see all data (Table 2a:
# top-1 86.7); they stay the same.
_base_ = 'vitl_k400.py'

model = dict(neck=dict(same_init=True, routing='all'))
