# CLIP ViT-L/14 with frame-averaged features ("Naive", Table 1: 1297 GFLOPs,
# top-1 86.7).
_base_ = [
    '../_base_/models/clip_vit_l14.py', '../_base_/datasets/k400_16f.py',
    '../_base_/schedules/vificlip_30e.py', '../_base_/default_runtime.py'
]

model = dict(
    data_preprocessor=dict(
        blending=dict(
            type='RandomBatchAugment',
            augments=[
                dict(type='MixupBlending', alpha=0.8, num_classes=400),
                dict(type='CutmixBlending', alpha=1.0, num_classes=400)
            ])),
    cls_head=dict(label_smooth_eps=0.1))
