# MoTE on CLIP ViT-B/16, Kinetics-400, 16 frames (not in the paper).
_base_ = 'vitb_k400.py'

model = dict(backbone=dict(num_frames=16))

train_pipeline = _base_.train_pipeline
val_pipeline = _base_.val_pipeline
test_pipeline = _base_.test_pipeline
train_pipeline[1].clip_len = 16
val_pipeline[1].clip_len = 16
test_pipeline[1].clip_len = 16
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=val_pipeline))
test_dataloader = dict(dataset=dict(pipeline=test_pipeline))
