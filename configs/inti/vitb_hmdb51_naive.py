# CLIP ViT-B/16 with frame-averaged features, HMDB-51 (Table 7: 281 GFLOPs,
# top-1 65.4). The paper gives no settings for this table; these are those of
# Kinetics-400.
_base_ = [
    '../_base_/models/clip_vit_b16.py', '../_base_/datasets/hmdb51_16f.py',
    '../_base_/schedules/vificlip_30e.py', '../_base_/default_runtime.py'
]

model = dict(
    data_preprocessor=dict(
        blending=dict(
            type='RandomBatchAugment',
            augments=[
                dict(type='MixupBlending', alpha=0.8, num_classes=51),
                dict(type='CutmixBlending', alpha=1.0, num_classes=51)
            ])),
    cls_head=dict(num_classes=51, label_smooth_eps=0.1))
