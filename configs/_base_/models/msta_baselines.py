# What the paper compares MSTA with on the same ViCLIP. A config takes one of
# these as its model, as in `model = _base_.adaptformer`. The paper gives
# parameters alone (Table 5), and no other setting of them. None of them has
# the consistency loss.
adaptformer = dict(  # 7,885,824 parameters (7.9 M)
    adapter=None,
    consistency=None,
    backbone=dict(adapters=[
        dict(type='AdaptFormer', layers=[*range(12)], bottleneck_dims=256)
    ]),
    text_adapters=[
        dict(type='AdaptFormer', layers=[*range(12)], bottleneck_dims=256)
    ])
# 9,400,320 parameters (9.4 M). Of equal ranks in both towers only 153 on two
# projections, or 102 on three, gives that. Rank 128 on all four of the video
# tower alone would be 9,437,184.
lora = dict(
    adapter=None,
    consistency=None,
    backbone=dict(adapters=[
        dict(type='LoRA', layers=[*range(12)], rank=153, targets=('q', 'v'))
    ]),
    text_adapters=[
        dict(type='LoRA', layers=[*range(12)], rank=153, targets=('q', 'v'))
    ])
# 149,603,840 parameters; the 124.3 M of Table 5 are those without the
# embedding of the text tokens.
full = dict(
    adapter=None,
    consistency=None,
    backbone=dict(encoder=dict(frozen=False)),
    text_encoder=dict(frozen=False))
