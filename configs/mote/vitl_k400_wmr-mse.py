# Features of the merged experts follow those of the drawn ones (Table 7c:
# top-1 86.3).
_base_ = 'vitl_k400.py'

model = dict(neck=dict(merged_branch='mse'))
