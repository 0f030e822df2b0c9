# The second projection is routed, the first shared (Table 7a: top-1 86.3).
_base_ = 'vitl_k400.py'

model = dict(neck=dict(design='down'))
