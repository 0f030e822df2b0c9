# TDS-CLIP on CLIP ViT-L/14, Something-Something V1, 8 frames (Table 1: 0.8 T
# a view, 3 crops x 2 clips, top-1 63.0, top-5 87.8).
_base_ = [
    '../_base_/models/side_clip_vit_l14.py', '../_base_/datasets/ssv1_tds.py',
    '../_base_/schedules/tds_clip.py', '../_base_/default_runtime.py'
]

model = dict(cls_head=dict(num_classes=174))
optim_wrapper = dict(optimizer=dict(lr=1e-4))
