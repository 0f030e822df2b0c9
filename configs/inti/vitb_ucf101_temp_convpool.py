# ConvPooling_5,7 with the temporal modules of UniFormerV2, UCF-101 (Table 7:
# 184 GFLOPs, top-1 95.2).
_base_ = 'vitb_ucf101_uniformerv2.py'

model = dict(
    backbone=dict(adapters=[
        dict(type='ConvPooling', layers=[5, 7]),
        dict(type='GlobalUniBlock', layers=[8, 9, 10, 11], dropout=0.5)
    ]))
