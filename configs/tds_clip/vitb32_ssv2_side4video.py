# Side4Video on CLIP ViT-B/32, Something-Something V2, 8 frames: 320 side
# channels, as its program has them, and the recipe of ViT-B/16.
_base_ = 'vitb_ssv2_side4video.py'

model = dict(backbone=dict(encoder=dict(arch='ViT-B-32')))
