# Temperatures from 1.0 on (Table 2e: top-1 86.7).
_base_ = 'vitl_k400.py'

model = dict(neck=dict(beta=1.0))
