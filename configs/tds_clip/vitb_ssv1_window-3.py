# Local windows of 3 frames (Table 3b: single view, top-1 58.5).
_base_ = 'vitb_ssv1.py'

model = dict(backbone=dict(window=3))

train_pipeline = _base_.train_pipeline
val_pipeline = _base_.val_pipeline
test_pipeline = _base_.test_pipeline
train_pipeline[0].window = 3
val_pipeline[0].window = 3
test_pipeline[0].window = 3
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=val_pipeline))
test_dataloader = dict(dataset=dict(pipeline=test_pipeline))
