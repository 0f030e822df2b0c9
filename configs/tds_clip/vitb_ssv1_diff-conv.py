# TD-Adapter with a temporal convolution in place of the pool (Table 3d: single
# view, top-1 59.3; 59.2 in the text).
_base_ = 'vitb_ssv1.py'

model = dict(backbone=dict(difference='conv'))
