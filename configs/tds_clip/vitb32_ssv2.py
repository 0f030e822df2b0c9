# TDS-CLIP on CLIP ViT-B/32, Something-Something V2, 8 frames. Not in the
# paper; 320 side channels and the recipe of ViT-B/16.
_base_ = 'vitb_ssv2.py'

model = dict(backbone=dict(encoder=dict(arch='ViT-B-32')))
