# Kinetics-400 videos as TDS-CLIP trains and tests on them: 8 frames with a
# window of 5 around each, two augmented copies of each video, test views 4
# clips x 3 crops.
_base_ = ['k400_16f.py']

train_pipeline = [
    dict(type='VideoInit'),
    dict(
        type='LocalWindow',
        window=5,
        sampler=dict(type='KineticsSample', clip_len=8)),
    dict(type='VideoDecode'),
    dict(
        type='RepeatAugment',
        num_copies=2,
        transforms=[
            dict(type='Resize', scale=(-1, 256), interpolation='bicubic'),
            dict(type='RandomResizedCrop', area_range=(0.08, 1.0)),
            dict(type='Resize', scale=(224, 224), keep_ratio=False),
            dict(type='Flip', flip_ratio=0.5),
            dict(type='ClipGrayscale', prob=0.2),
            dict(type='FormatShape', input_format='NCTHW'),
            dict(type='PackActionInputs')
        ])
]
val_pipeline = [
    dict(type='VideoInit'),
    dict(
        type='LocalWindow',
        window=5,
        sampler=dict(type='KineticsSample', clip_len=8, test_mode=True)),
    dict(type='VideoDecode'),
    dict(type='Resize', scale=(-1, 256), interpolation='bicubic'),
    dict(type='CenterCrop', crop_size=224),
    dict(type='FormatShape', input_format='NCTHW'),
    dict(type='PackActionInputs')
]
test_pipeline = [  # 4 clips x 3 crops
    dict(type='VideoInit'),
    dict(
        type='LocalWindow',
        window=5,
        sampler=dict(
            type='KineticsSample', clip_len=8, num_clips=4, test_mode=True)),
    dict(type='VideoDecode'),
    dict(type='Resize', scale=(-1, 256), interpolation='bicubic'),
    dict(type='WideThreeCrop', crop_size=224),
    dict(type='FormatShape', input_format='NCTHW'),
    dict(type='PackActionInputs')
]

train_dataloader = dict(
    batch_size=16,  # videos; twice as many clips
    collate_fn=dict(type='repeat_pseudo_collate'),
    dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(batch_size=16, dataset=dict(pipeline=val_pipeline))
test_dataloader = dict(dataset=dict(pipeline=test_pipeline))
