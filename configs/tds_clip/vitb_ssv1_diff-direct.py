# TD-Adapter with the difference to the next frame (Table 3d: single view,
# top-1 57.3).
_base_ = 'vitb_ssv1.py'

model = dict(backbone=dict(difference='direct'))
