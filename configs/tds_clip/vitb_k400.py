# TDS-CLIP on CLIP ViT-B/16, Kinetics-400, 8 frames (Table 2: 0.2 T a view,
# 3 crops x 4 clips, top-1 83.9, top-5 96.1).
_base_ = [
    '../_base_/models/side_clip_vit_b16.py', '../_base_/datasets/k400_tds.py',
    '../_base_/schedules/tds_clip.py', '../_base_/default_runtime.py'
]
