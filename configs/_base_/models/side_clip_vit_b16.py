# TDS-CLIP's side network on OpenAI's frozen CLIP ViT-B/16, 320 channels.
model = dict(
    type='Recognizer3D',
    backbone=dict(
        type='SideCLIPViT',
        encoder=dict(arch='ViT-B-16', act='quick_gelu', weights='openai'),
        num_frames=8,
        preset='paper',
        side_dims=320),
    cls_head=dict(
        type='LinearHead',
        num_classes=400,
        in_channels=320,
        label_smooth_eps=0.1,
        average_clips='prob'),
    data_preprocessor=dict(  # CLIP's own mean and deviation
        type='ActionDataPreprocessor',
        mean=[122.7709383, 116.7460125, 104.09373615],
        std=[68.5005327, 66.6321579, 70.3231630],
        format_shape='NCTHW'))
