# A side network with plain temporal convolutions (Side4Video's) on the frozen
# small CLIP: the baseline of TDS-CLIP's Table 3a, at the quickstart's size.
_base_ = 'inti.py'

model = dict(
    backbone=dict(
        _delete_=True,
        type='SideCLIPViT',
        encoder={{_base_.model.backbone.encoder}},
        num_frames={{_base_.num_frames}},
        side_dims=64,
        window=1,
        td_layers=[]))

# Nothing that trains is pretrained.
optim_wrapper = dict(
    optimizer=dict(lr=2e-3),
    paramwise_cfg=dict(custom_keys=dict(_delete_=True)))
