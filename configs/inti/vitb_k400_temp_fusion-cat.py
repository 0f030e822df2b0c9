# InTI_5,7^temp, ablation (Table 5b: all concatenated; 128 M, top-1 84.7).
_base_ = 'vitb_k400_uniformerv2.py'

model = dict(
    backbone=dict(adapters=[
        dict(
            type='InTI',
            layers=[5, 7],
            fusion='cat'),
        dict(type='GlobalUniBlock', layers=[8, 9, 10, 11], dropout=0.5)
    ]))
