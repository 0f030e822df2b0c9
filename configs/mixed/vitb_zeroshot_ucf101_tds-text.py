# CLIP itself, or a checkpoint of vitb_k400_tds-text.py, on UCF-101 without
# training on its classes: 3 clips x 1 crop. SPLIT=2 or SPLIT=3 in the
# environment chooses another of the three splits.
_base_ = [
    '../_base_/models/side_clip_text_b16.py',
    '../_base_/datasets/ucf101_mote.py', '../_base_/default_runtime.py'
]

model = dict(cls_head=dict(classes='ucf101'))
test_pipeline = _base_.test_pipeline
test_pipeline[1] = dict(
    type='LocalWindow', window=5, sampler=test_pipeline[1])
test_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_cfg = dict(type='TestLoop')
