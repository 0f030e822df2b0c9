# TDS-CLIP on CLIP ViT-B/16, Something-Something V1, 16 frames (Table 1: 0.4 T
# a view, 3 crops x 2 clips, top-1 61.0, top-5 86.3). Neither the paper nor the
# program has a recipe for 16 frames; this is that of 8.
_base_ = 'vitb_ssv1.py'

model = dict(backbone=dict(num_frames=16))

train_pipeline = _base_.train_pipeline
val_pipeline = _base_.val_pipeline
test_pipeline = _base_.test_pipeline
train_pipeline[0].sampler.clip_len = 16
val_pipeline[0].sampler.clip_len = 16
test_pipeline[0].sampler.clip_len = 16
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=val_pipeline))
test_dataloader = dict(dataset=dict(pipeline=test_pipeline))
