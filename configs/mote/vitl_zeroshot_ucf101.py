# A checkpoint of vitl_k400.py on UCF-101, without training on its classes:
# ViT-L/14, 3 clips x 1 crop (Table 3: top-1 88.7 +- 0.6 over three splits).
_base_ = [
    '../_base_/models/mote_l14.py', '../_base_/datasets/ucf101_mote.py',
    '../_base_/default_runtime.py'
]

model = dict(
    cls_head=dict(classes='ucf101', average_clips='mote_zero_shot'))
test_cfg = dict(type='TestLoop')
