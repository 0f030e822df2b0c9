# OpenAI's CLIP ViT-L/14, all parameters trained, frame features averaged
# ("naive" in the InTI paper).
model = dict(
    type='Recognizer3D',
    backbone=dict(
        type='CLIPViT',
        encoder=dict(arch='ViT-L-14', act='quick_gelu', weights='openai'),
        num_frames=16),
    cls_head=dict(
        type='LinearHead',
        num_classes=400,
        in_channels=1024,
        average_clips='prob'),
    data_preprocessor=dict(
        type='ActionDataPreprocessor',
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        format_shape='NCTHW'))
