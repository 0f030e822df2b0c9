# MSTA on ViCLIP-B-16, both of whose towers are frozen: adapters beside all
# blocks, which train. VICLIP in the environment names the file of ViCLIP's
# weights. A config names classes and descriptions; lambda (scale) and m
# (bottleneck_dims) are those of Table 1 on Kinetics-400.
_base_ = ['viclip_b16.py']

model = dict(
    type='VideoTextRecognizer',
    text_encoder=dict(
        arch='ViCLIP-B-16',
        act='quick_gelu',
        weights=_base_.weights,
        frozen=True),
    adapter=dict(
        type='MSTA',
        layers=[*range(12)],
        bottleneck_dims=128,
        scale=0.001,
        dropout=0.1),
    cls_head=dict(text='recognizer'))
