# The first projection is routed, the second shared (Table 7a: top-1 86.1).
_base_ = 'vitl_k400.py'

model = dict(neck=dict(design='up'))
