# MSTA in the frozen towers, without descriptions. The text tower has half as
# many blocks: every other block of the video tower has a partner.
_base_ = 'msta_full.py'

model = dict(
    backbone=dict(encoder=dict(frozen=True)),
    text_encoder=dict(frozen=True),
    adapter=dict(
        type='MSTA', layers=[*range(4)], bottleneck_dims=32, scale=0.2))
optim_wrapper = dict(
    constructor='TrainableParamsConstructor', optimizer=dict(lr=1e-2))
