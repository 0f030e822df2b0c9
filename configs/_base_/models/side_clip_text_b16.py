# TDS-CLIP's side network with texts: a linear map of the side features, which
# starts at zero, is added to the frame features of the frozen CLIP ViT-B/16.
_base_ = ['side_clip_vit_b16.py']

model = dict(
    backbone=dict(add_to_clip=True),
    cls_head=dict(
        _delete_=True,
        type='TextHead',
        in_channels=512,
        classes='k400',
        templates='mote',
        text=dict(arch='ViT-B-16', act='quick_gelu', weights='openai'),
        train_scale=False,
        modulate=False,
        average_clips='prob'))
