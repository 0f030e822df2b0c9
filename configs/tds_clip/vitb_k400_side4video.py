# Side4Video on CLIP ViT-B/16, Kinetics-400, 8 frames (top-1 83.6 by its own
# report, 3 crops x 4 clips). Its recipe here: 32 videos on each of 8 GPUs and
# one copy of each. It read folders of frames; these are videos.
_base_ = 'vitb_k400.py'

model = dict(backbone=dict(preset='side4video'))

train_pipeline = _base_.train_pipeline
val_pipeline = _base_.val_pipeline
test_pipeline = _base_.test_pipeline
train_pipeline[1].window = 1
val_pipeline[1].window = 1
test_pipeline[1].window = 1
train_pipeline[3].num_copies = 1
train_dataloader = dict(
    batch_size=32, dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=val_pipeline))
test_dataloader = dict(dataset=dict(pipeline=test_pipeline))
auto_scale_lr = dict(base_batch_size=256)
