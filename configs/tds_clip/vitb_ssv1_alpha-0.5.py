# Fusion ratio 0.5 of the frame differences (Table 3c: single view, top-1
# 58.4).
_base_ = 'vitb_ssv1.py'

model = dict(backbone=dict(alpha=0.5))
