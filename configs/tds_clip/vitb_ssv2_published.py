# What the released program trains and its checkpoints hold: frame differences
# count half (alpha 0.5), where the paper's Table 3c prefers 1.
_base_ = 'vitb_ssv2.py'

model = dict(backbone=dict(preset='published'))
