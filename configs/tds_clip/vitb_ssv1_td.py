# TD-Adapter without SME-Adapter (Table 3a "+ TD-Adapter" and Table 4: single
# view, top-1 59.1; Table 3b, window of 1, has 58.0 for the same).
_base_ = 'vitb_ssv1.py'

model = dict(backbone=dict(window=1))

train_pipeline = _base_.train_pipeline
val_pipeline = _base_.val_pipeline
test_pipeline = _base_.test_pipeline
train_pipeline[0].window = 1
val_pipeline[0].window = 1
test_pipeline[0].window = 1
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=val_pipeline))
test_dataloader = dict(dataset=dict(pipeline=test_pipeline))
