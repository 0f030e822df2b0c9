# UniFormerV2 on CLIP ViT-L/14 without InTI: the temporal modules that
# InTI^temp starts from (global blocks after the last four blocks).
_base_ = 'vitl_k400_naive.py'

model = dict(
    backbone=dict(adapters=[
        dict(type='GlobalUniBlock', layers=[20, 21, 22, 23], dropout=0.5)
    ]),
    cls_head=dict(dropout=0.5))
