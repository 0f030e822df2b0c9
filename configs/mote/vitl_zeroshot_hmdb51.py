# A checkpoint of vitl_k400.py on HMDB-51, without training on its classes:
# ViT-L/14, 3 clips x 1 crop (Table 3: top-1 61.4 +- 1.3 over three splits).
_base_ = [
    '../_base_/models/mote_l14.py', '../_base_/datasets/hmdb51_mote.py',
    '../_base_/default_runtime.py'
]

model = dict(
    cls_head=dict(classes='hmdb51', average_clips='mote_zero_shot'))
test_cfg = dict(type='TestLoop')
