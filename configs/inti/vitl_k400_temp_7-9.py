# InTI_7,9 with the temporal modules of UniFormerV2 on CLIP ViT-L/14,
# Kinetics-400 (Table 1: 978 GFLOPs, top-1 87.7).
_base_ = 'vitl_k400_uniformerv2.py'

model = dict(
    backbone=dict(adapters=[
        dict(type='InTI', layers=[14, 18]),
        dict(type='GlobalUniBlock', layers=[20, 21, 22, 23], dropout=0.5)
    ]))
