# Temperatures from a uniform distribution (Table 7f: top-1 86.0).
_base_ = 'vitl_k400.py'

model = dict(neck=dict(temperature='uniform'))
