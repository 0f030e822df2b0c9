# CLIP ViT-B/16 with frame-averaged features, Something-Something V2 (Table 3:
# "Native", 281 GFLOPs, 86 M, top-1 43.6).
_base_ = [
    '../_base_/models/clip_vit_b16.py', '../_base_/datasets/ssv2_16f.py',
    '../_base_/schedules/uniformerv2_ssv2_22e.py',
    '../_base_/default_runtime.py'
]

model = dict(
    backbone=dict(encoder=dict(drop_path_rate=0.2)),
    cls_head=dict(num_classes=174, dropout=0.5),
    data_preprocessor=dict(
        mean=[114.75, 114.75, 114.75], std=[57.375, 57.375, 57.375]))
