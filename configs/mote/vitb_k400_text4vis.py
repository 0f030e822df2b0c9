# A plain temporal transformer and no modulation (Text4Vis), the baseline of
# the paper: ViT-B/16, Kinetics-400, 8 frames (Table 4: 4 clips x 3 crops,
# top-1 82.9).
_base_ = 'vitb_k400.py'

model = dict(neck=dict(num_experts=0), cls_head=dict(modulate=False))
