# InTI_5,7^temp, ablation (design D: depth-wise global branch).
_base_ = 'vitb_k400_uniformerv2.py'

model = dict(
    backbone=dict(adapters=[
        dict(
            type='InTI',
            layers=[5, 7],
            global_pointwise=0),
        dict(type='GlobalUniBlock', layers=[8, 9, 10, 11], dropout=0.5)
    ]))
