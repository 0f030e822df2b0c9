# Both projections are routed, each on its own (Table 7a: top-1 86.7).
_base_ = 'vitl_k400.py'

model = dict(neck=dict(design='both'))
