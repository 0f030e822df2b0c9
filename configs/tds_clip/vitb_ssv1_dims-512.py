# 512 side channels (Table 3f: single view, top-1 58.2).
_base_ = 'vitb_ssv1.py'

model = dict(backbone=dict(side_dims=512), cls_head=dict(in_channels=512))
