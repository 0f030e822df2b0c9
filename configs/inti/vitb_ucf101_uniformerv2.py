# UniFormerV2-B, UCF-101 (Table 7: 297 GFLOPs, top-1 96.4).
_base_ = 'vitb_ucf101_naive.py'

model = dict(
    backbone=dict(adapters=[
        dict(type='GlobalUniBlock', layers=[8, 9, 10, 11], dropout=0.5)
    ]),
    cls_head=dict(dropout=0.5))
