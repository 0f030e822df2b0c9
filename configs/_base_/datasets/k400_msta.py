# Kinetics-400 videos as MSTA trains and tests on them: one frame, drawn or
# central, from each of 8 equal segments, test views 4 clips x 3 crops. Colours
# are drawn for each frame, as by the program that MSTA descends from; the
# paper names RandomResizedCrop, that program has MultiScaleCrop. Test clips
# are evenly shifted; with test_mode=False in the test pipeline they are drawn,
# as in the authors' tests.
_base_ = ['k400_16f.py', 'msta_1x1.py']

train_pipeline = [
    dict(type='DecordInit'),
    dict(type='EqualSegmentSample', clip_len=8),
    dict(type='DecordDecode'),
    dict(type='Resize', scale=(-1, 256)),
    dict(
        type='MultiScaleCrop',
        input_size=224,
        scales=(1, 0.875, 0.75, 0.66),
        random_crop=False,
        max_wh_scale_gap=1),
    dict(type='Resize', scale=(224, 224), keep_ratio=False),
    dict(type='Flip', flip_ratio=0.5),
    dict(type='ClipColorJitter', prob=0.8, per_frame=True),
    dict(type='ClipGrayscale', prob=0.2),
    dict(type='FormatShape', input_format='NCTHW'),
    dict(type='PackActionInputs')
]
val_pipeline = _base_.single_view
test_pipeline = [  # 4 clips x 3 crops
    dict(type='DecordInit'),
    dict(type='EqualSegmentSample', clip_len=8, num_clips=4, test_mode=True),
    dict(type='DecordDecode'),
    dict(type='Resize', scale=(-1, 224)),
    dict(type='ThreeCrop', crop_size=224),
    dict(type='FormatShape', input_format='NCTHW'),
    dict(type='PackActionInputs')
]
descriptions = dict(
    spatial='data/descriptions/2_s_description_k400.json',
    temporal='data/descriptions/2_t_description_k400.json')

train_dataloader = dict(
    batch_size=32, dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=val_pipeline))
test_dataloader = dict(dataset=dict(pipeline=test_pipeline))
