# Side4Video on CLIP ViT-B/16, Something-Something V2, 8 frames (top-1 70.6 by
# its own report, 3 crops x 2 clips).
_base_ = 'vitb_ssv2.py'

model = dict(backbone=dict(preset='side4video'))

train_pipeline = _base_.train_pipeline
val_pipeline = _base_.val_pipeline
test_pipeline = _base_.test_pipeline
train_pipeline[1].window = 1
val_pipeline[1].window = 1
test_pipeline[1].window = 1
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=val_pipeline))
test_dataloader = dict(dataset=dict(pipeline=test_pipeline))
