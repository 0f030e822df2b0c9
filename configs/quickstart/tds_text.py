# configs/mixed/vitb_k400_tds-text.py at the quickstart's size: a linear map of
# TDS-CLIP's side features, zero before training, is added to the frame
# features of the frozen CLIP.
_base_ = 'mote_mean.py'

window = 5
model = dict(
    backbone=dict(
        _delete_=True,
        type='SideCLIPViT',
        encoder={{_base_.model.backbone.encoder}},
        num_frames={{_base_.num_frames}},
        side_dims=64,
        window=window,
        add_to_clip=True),
    cls_head=dict(train_scale=False, modulate=False))

# Each sampled frame with those around it.
train_pipeline = _base_.train_pipeline
train_pipeline[1] = dict(
    type='LocalWindow', window=window, sampler=train_pipeline[1])
test_pipeline = _base_.test_pipeline
test_pipeline[1] = dict(
    type='LocalWindow', window=window, sampler=test_pipeline[1])
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = dict(dataset=dict(pipeline=test_pipeline))

# Nothing that trains is pretrained.
optim_wrapper = dict(
    optimizer=dict(lr=2e-3),
    paramwise_cfg=dict(custom_keys=dict(_delete_=True)))
