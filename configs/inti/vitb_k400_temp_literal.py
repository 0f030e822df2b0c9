# InTI_5,7^temp, ablation (the literal text, see docs/inti.md).
_base_ = 'vitb_k400_uniformerv2.py'

model = dict(
    backbone=dict(adapters=[
        dict(
            type='InTI',
            layers=[5, 7],
            cube='dw',
            shared_token=True,
            global_pointwise=0),
        dict(type='GlobalUniBlock', layers=[8, 9, 10, 11], dropout=0.5)
    ]))
