# CLIP ViT-B/16 with frame-averaged features, UCF-101 (Table 7: 281 GFLOPs,
# top-1 92.3). The paper gives no settings for this table; these are those of
# Kinetics-400.
_base_ = [
    '../_base_/models/clip_vit_b16.py', '../_base_/datasets/ucf101_16f.py',
    '../_base_/schedules/vificlip_30e.py', '../_base_/default_runtime.py'
]

model = dict(
    data_preprocessor=dict(
        blending=dict(
            type='RandomBatchAugment',
            augments=[
                dict(type='MixupBlending', alpha=0.8, num_classes=101),
                dict(type='CutmixBlending', alpha=1.0, num_classes=101)
            ])),
    cls_head=dict(num_classes=101, label_smooth_eps=0.1))
