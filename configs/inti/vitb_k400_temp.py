# InTI_5,7 with the temporal modules of UniFormerV2 on CLIP ViT-B/16,
# Kinetics-400 (Table 1: 184 GFLOPs, top-1 84.9).
_base_ = 'vitb_k400_uniformerv2.py'

model = dict(
    backbone=dict(adapters=[
        dict(type='InTI', layers=[5, 7]),
        dict(type='GlobalUniBlock', layers=[8, 9, 10, 11], dropout=0.5)
    ]))
