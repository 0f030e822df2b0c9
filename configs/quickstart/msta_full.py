# Both towers trained whole. The small CLIP becomes a small ViCLIP: attention
# over the patches of all frames at once, one class token for a clip, and a
# temporal embedding, which is zero before training.
_base_ = 'mote_mean.py'

model = dict(
    type='VideoTextRecognizer',
    backbone=dict(encoder=dict(type='ViCLIPVisionEncoder')),
    text_encoder=dict(
        arch={{_base_.model.cls_head.text.arch}},
        act='quick_gelu',
        weights={{_base_.clip}}),
    cls_head=dict(text='recognizer', train_scale=False, modulate=False))

# The temporal embedding has everything to learn.
optim_wrapper = dict(
    paramwise_cfg=dict(
        custom_keys=dict(temporal_positional_embedding=dict(lr_mult=20.))))

# More and smaller steps: what tells motions apart is found late, by all three
# models.
train_dataloader = dict(batch_size=8)
max_epochs = 6
train_cfg = dict(max_epochs=max_epochs)
param_scheduler = [
    dict(
        type='LinearLR', start_factor=0.01, begin=0, end=1, by_epoch=True,
        convert_to_iter_based=True),
    dict(
        type='CosineAnnealingLR', T_max=max_epochs - 1, eta_min_ratio=0.01,
        begin=1, end=max_epochs, by_epoch=True, convert_to_iter_based=True)
]
