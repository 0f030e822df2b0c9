# UniFormerV2 on CLIP ViT-B/16 without InTI: the temporal modules that
# InTI^temp starts from (global blocks after the last four blocks).
_base_ = 'vitb_k400_naive.py'

model = dict(
    backbone=dict(adapters=[
        dict(type='GlobalUniBlock', layers=[8, 9, 10, 11], dropout=0.5)
    ]),
    cls_head=dict(dropout=0.5))
