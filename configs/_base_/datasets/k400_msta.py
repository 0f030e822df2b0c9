# Kinetics-400 videos as MSTA trains and tests on them: one frame, drawn or
# central, from each of 8 equal segments, test views 4 clips x 3 crops. The
# augmentation is that of k400_16f.py, with colours drawn for each frame, as by
# the program that MSTA descends from; the paper names RandomResizedCrop, that
# program has MultiScaleCrop. Test clips are evenly shifted; with test_mode=
# False in the test pipeline they are drawn, as in the authors' tests.
_base_ = ['k400_16f.py', 'msta_1x1.py']

train_pipeline = _base_.train_pipeline
train_pipeline[1] = dict(type='EqualSegmentSample', clip_len=8)
train_pipeline[7].per_frame = True
val_pipeline = _base_.single_view
test_pipeline = _base_.test_pipeline
test_pipeline[1] = dict(
    type='EqualSegmentSample', clip_len=8, num_clips=4, test_mode=True)
descriptions = dict(
    spatial='data/descriptions/2_s_description_k400.json',
    temporal='data/descriptions/2_t_description_k400.json')

train_dataloader = dict(
    batch_size=32, dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=val_pipeline))
test_dataloader = dict(dataset=dict(pipeline=test_pipeline))
