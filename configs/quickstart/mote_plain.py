# With a plain transformer over the frame features (Text4Vis), the baseline of
# the MoTE paper.
_base_ = 'mote_mean.py'

model = dict(
    neck=dict(type='MoTE', embed_dims=64, num_layers=2, num_heads=4,
              num_experts=0),
    cls_head=dict(modulate=False))
