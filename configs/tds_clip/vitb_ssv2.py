# TDS-CLIP on CLIP ViT-B/16, Something-Something V2, 8 frames (Table 1: 0.2 T
# a view, 3 crops x 2 clips, top-1 71.8, top-5 93.0).
_base_ = [
    '../_base_/models/side_clip_vit_b16.py', '../_base_/datasets/ssv2_tds.py',
    '../_base_/schedules/tds_clip.py', '../_base_/default_runtime.py'
]

model = dict(cls_head=dict(num_classes=174))
