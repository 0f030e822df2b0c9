# Something-Something V2 videos as TDS-CLIP trains and tests on them:
# RandAugment and a flip that exchanges left and right; test views 2 clips x 3
# crops.
_base_ = ['k400_tds.py']

data_root = 'data/sthv2/videos'
data_root_val = data_root
ann_file_train = 'data/sthv2/sthv2_train_list_videos.txt'
ann_file_val = 'data/sthv2/sthv2_val_list_videos.txt'

train_pipeline = [
    dict(type='VideoInit'),
    dict(
        type='LocalWindow',
        window=5,
        sampler=dict(type='SomethingSample', clip_len=8)),
    dict(type='VideoDecode'),
    dict(
        type='RepeatAugment',
        num_copies=2,
        transforms=[
            dict(type='ClipRandAugment', config='rand-m7-n4-mstd0.5-inc1'),
            dict(
                type='Resize',
                scale=(320, 256),
                keep_ratio=False,
                interpolation='bicubic'),
            dict(type='RandomResizedCrop', area_range=(0.08, 1.0)),
            dict(type='Resize', scale=(224, 224), keep_ratio=False),
            dict(type='LabelAwareFlip', classes='sthv2', flip_ratio=0.5),
            dict(type='FormatShape', input_format='NCTHW'),
            dict(type='PackActionInputs')
        ])
]
val_pipeline = [
    dict(type='VideoInit'),
    dict(
        type='LocalWindow',
        window=5,
        sampler=dict(type='SomethingSample', clip_len=8, test_mode=True)),
    dict(type='VideoDecode'),
    dict(
        type='Resize',
        scale=(320, 256),
        keep_ratio=False,
        interpolation='bicubic'),
    dict(type='CenterCrop', crop_size=224),
    dict(type='FormatShape', input_format='NCTHW'),
    dict(type='PackActionInputs')
]
test_pipeline = [  # 2 clips x 3 crops
    dict(type='VideoInit'),
    dict(
        type='LocalWindow',
        window=5,
        sampler=dict(
            type='SomethingSample', clip_len=8, num_clips=2, test_mode=True)),
    dict(type='VideoDecode'),
    dict(
        type='Resize',
        scale=(320, 256),
        keep_ratio=False,
        interpolation='bicubic'),
    dict(type='WideThreeCrop', crop_size=224),
    dict(type='FormatShape', input_format='NCTHW'),
    dict(type='PackActionInputs')
]

train_dataloader = dict(
    dataset=dict(
        ann_file=ann_file_train,
        data_prefix=dict(video=data_root),
        pipeline=train_pipeline))
val_dataloader = dict(
    dataset=dict(
        ann_file=ann_file_val,
        data_prefix=dict(video=data_root_val),
        pipeline=val_pipeline))
test_dataloader = dict(
    dataset=dict(
        ann_file=ann_file_val,
        data_prefix=dict(video=data_root_val),
        pipeline=test_pipeline))
