# A checkpoint of vitb_k400.py on HMDB-51, without training on its classes:
# ViT-B/16, 3 clips x 1 crop (Table 3: top-1 55.8 +- 0.9 over three splits).
_base_ = [
    '../_base_/models/mote_b16.py', '../_base_/datasets/hmdb51_mote.py',
    '../_base_/default_runtime.py'
]

model = dict(
    cls_head=dict(classes='hmdb51', average_clips='mote_zero_shot'))
test_cfg = dict(type='TestLoop')
