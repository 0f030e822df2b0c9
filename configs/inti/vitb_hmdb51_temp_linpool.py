# LinearPooling_5,7 with the temporal modules of UniFormerV2, HMDB-51 (Table 7:
# 179 GFLOPs, top-1 71.2).
_base_ = 'vitb_hmdb51_uniformerv2.py'

model = dict(
    backbone=dict(adapters=[
        dict(type='LinearPooling', layers=[5, 7]),
        dict(type='GlobalUniBlock', layers=[8, 9, 10, 11], dropout=0.5)
    ]))
