# MoTE on OpenAI's CLIP ViT-B/16, all of which trains: 4 temporal layers of 4
# experts. Blocks are recomputed in backward (with_cp), as published, so that
# 64 videos fit a GPU of 24 GB.
model = dict(
    type='Recognizer3D',
    backbone=dict(
        type='CLIPViT',
        encoder=dict(
            arch='ViT-B-16',
            act='quick_gelu',
            weights='openai',
            project=True,
            with_cp=True),
        num_frames=8),
    neck=dict(type='MoTE', embed_dims=512, num_layers=4, num_experts=4),
    cls_head=dict(
        type='TextHead',
        in_channels=512,
        classes='k400',
        templates='mote',
        text=dict(arch='ViT-B-16', act='quick_gelu', weights='openai'),
        average_clips='mote_closed_set'),
    data_preprocessor=dict(  # CLIP's own mean and deviation
        type='ActionDataPreprocessor',
        mean=[122.7709383, 116.7460125, 104.09373615],
        std=[68.5005327, 66.6321579, 70.3231630],
        format_shape='NCTHW'))
