# MSTA on OpenAI's CLIP ViT-B/16 in place of ViCLIP: both towers frozen, the
# image tower sees each frame for itself, and only MSTA's convolution relates
# frames.
_base_ = ['msta_b16.py']

clip = dict(arch='ViT-B-16', act='quick_gelu', weights='openai', frozen=True)
model = dict(
    backbone=dict(encoder=dict(_delete_=True, project=True, **clip)),
    text_encoder=clip,
    data_preprocessor=dict(  # CLIP's own mean and deviation
        mean=[122.7709383, 116.7460125, 104.09373615],
        std=[68.5005327, 66.6321579, 70.3231630]))
