# Side4Video on CLIP ViT-B/16, Something-Something V1, 8 frames (top-1 59.4 by
# its own report, 3 crops x 2 clips). As there, frames come without a window.
_base_ = 'vitb_ssv1_td.py'

model = dict(backbone=dict(preset='side4video'))
