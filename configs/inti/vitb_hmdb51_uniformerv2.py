# UniFormerV2-B, HMDB-51 (Table 7: 297 GFLOPs, top-1 74.1).
_base_ = 'vitb_hmdb51_naive.py'

model = dict(
    backbone=dict(adapters=[
        dict(type='GlobalUniBlock', layers=[8, 9, 10, 11], dropout=0.5)
    ]),
    cls_head=dict(dropout=0.5))
