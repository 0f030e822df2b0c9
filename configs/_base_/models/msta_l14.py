# MSTA on ViCLIP-L-14, as msta_b16.py. The paper never used it: the video tower
# has 24 blocks and the text tower 12, so that every second video block, from
# the first, shares its layer with a text block, and the others have one for
# themselves.
_base_ = ['viclip_l14.py']

model = dict(
    type='VideoTextRecognizer',
    text_encoder=dict(
        arch='ViCLIP-L-14',
        act='quick_gelu',
        weights=_base_.weights,
        frozen=True),
    adapter=dict(
        type='MSTA',
        layers=[*range(24)],
        bottleneck_dims=128,
        scale=0.001,
        dropout=0.1),
    cls_head=dict(text='recognizer'))
