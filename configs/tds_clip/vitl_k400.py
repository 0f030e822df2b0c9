# TDS-CLIP on CLIP ViT-L/14, Kinetics-400, 8 frames (Table 2: 0.8 T a view,
# 3 crops x 4 clips, top-1 86.7, top-5 97.5).
_base_ = [
    '../_base_/models/side_clip_vit_l14.py', '../_base_/datasets/k400_tds.py',
    '../_base_/schedules/tds_clip.py', '../_base_/default_runtime.py'
]

optim_wrapper = dict(optimizer=dict(lr=1e-4))
