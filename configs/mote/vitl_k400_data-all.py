# All experts see all data (Table 2a, different initialisation: top-1 86.8).
_base_ = 'vitl_k400.py'

model = dict(neck=dict(routing='all'))
