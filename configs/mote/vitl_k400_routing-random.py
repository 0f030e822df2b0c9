# Experts are drawn with equal chances (Table 2d: top-1 86.8).
_base_ = 'vitl_k400.py'

model = dict(neck=dict(routing='random'))
