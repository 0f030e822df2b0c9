# Temperatures from a normal distribution (Table 7f: top-1 86.5).
_base_ = 'vitl_k400.py'

model = dict(neck=dict(temperature='normal'))
