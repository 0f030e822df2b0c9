# ViCLIP-B-16, frozen: a video tower with joint attention over space and time,
# and classes as texts. As it is, it is tested without fine-tuning (zero
# shot); encoder.frozen=False trains the video tower, adapters train beside a
# frozen one. VICLIP in the environment names the file of the weights.
weights = '{{$VICLIP:checkpoints/ViCLIP-B-16.pth}}'
model = dict(
    type='Recognizer3D',
    backbone=dict(
        type='CLIPViT',
        encoder=dict(
            type='ViCLIPVisionEncoder',
            arch='ViCLIP-B-16',
            act='quick_gelu',
            weights=weights,
            project=True,
            frozen=True),
        num_frames=8),
    cls_head=dict(
        type='TextHead',
        in_channels=512,
        classes='k400',
        templates='video',
        text=dict(arch='ViCLIP-B-16', act='quick_gelu', weights=weights),
        scale=100.,
        train_scale=False,
        modulate=False,
        average_clips='prob'),
    data_preprocessor=dict(  # ImageNet's, not CLIP's
        type='ActionDataPreprocessor',
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        format_shape='NCTHW'))
