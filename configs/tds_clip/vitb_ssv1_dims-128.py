# 128 side channels (Table 3f: single view, top-1 57.4).
_base_ = 'vitb_ssv1.py'

model = dict(backbone=dict(side_dims=128), cls_head=dict(in_channels=128))
