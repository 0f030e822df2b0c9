# MoTE on OpenAI's CLIP ViT-L/14, all of which trains: 6 temporal layers of 4
# experts. Blocks are recomputed in backward (with_cp), as published, so that
# 48 videos fit a GPU of 24 GB.
model = dict(
    type='Recognizer3D',
    backbone=dict(
        type='CLIPViT',
        encoder=dict(
            arch='ViT-L-14',
            act='quick_gelu',
            weights='openai',
            project=True,
            with_cp=True),
        num_frames=8),
    neck=dict(type='MoTE', embed_dims=768, num_layers=6, num_experts=4),
    cls_head=dict(
        type='TextHead',
        in_channels=768,
        classes='k400',
        templates='mote',
        text=dict(arch='ViT-L-14', act='quick_gelu', weights='openai'),
        average_clips='mote_closed_set'),
    data_preprocessor=dict(  # CLIP's own mean and deviation
        type='ActionDataPreprocessor',
        mean=[122.7709383, 116.7460125, 104.09373615],
        std=[68.5005327, 66.6321579, 70.3231630],
        format_shape='NCTHW'))
