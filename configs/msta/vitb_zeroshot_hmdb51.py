# A checkpoint of vitb_k400.py on HMDB-51, without training on its classes:
# ViCLIP-B/16, 8 frames, a single view (Table 4: top-1 55.8 +- 0.8 over three
# splits).
_base_ = [
    '../_base_/models/msta_b16.py', '../_base_/datasets/hmdb51_mote.py',
    '../_base_/datasets/msta_1x1.py', '../_base_/default_runtime.py'
]

model = dict(cls_head=dict(classes='hmdb51'))
test_pipeline = _base_.single_view
test_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_cfg = dict(type='TestLoop')
