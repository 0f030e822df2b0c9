# A checkpoint of vitb_k400.py on UCF-101, without training on its classes:
# ViCLIP-B/16, 8 frames, a single view (Table 4: top-1 78.7 +- 0.9 over three
# splits).
_base_ = [
    '../_base_/models/msta_b16.py', '../_base_/datasets/ucf101_mote.py',
    '../_base_/datasets/msta_1x1.py', '../_base_/default_runtime.py'
]

model = dict(cls_head=dict(classes='ucf101'))
test_pipeline = _base_.single_view
test_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_cfg = dict(type='TestLoop')
