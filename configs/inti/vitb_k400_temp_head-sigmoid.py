# InTI_5,7^temp, ablation (Table 5b: two sigmoids; 126 M, top-1 84.5).
_base_ = 'vitb_k400_uniformerv2.py'

model = dict(
    backbone=dict(adapters=[
        dict(
            type='InTI',
            layers=[5, 7],
            head='sigmoid'),
        dict(type='GlobalUniBlock', layers=[8, 9, 10, 11], dropout=0.5)
    ]))
