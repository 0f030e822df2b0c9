# TDS-CLIP with texts on CLIP ViT-B/16: training starts from CLIP's zero-shot
# scores. Not in a paper; the recipe is TDS-CLIP's.
_base_ = [
    '../_base_/models/side_clip_text_b16.py',
    '../_base_/datasets/k400_tds.py', '../_base_/schedules/tds_clip.py',
    '../_base_/default_runtime.py'
]

model = dict(cls_head=dict(label_smooth_eps=0.1))
