# Something-Something V1, folders of frames, as TDS-CLIP trains and tests on
# them: 8 frames with a window of 5 around each, two augmented copies of each
# video, test views 2 clips x 3 crops.
_base_ = ['k400_tds.py']

dataset_type = 'RawframeDataset'
data_root = 'data/sthv1/rawframes'
data_root_val = data_root
ann_file_train = 'data/sthv1/sthv1_train_list_rawframes.txt'
ann_file_val = 'data/sthv1/sthv1_val_list_rawframes.txt'
filename_tmpl = '{:05}.jpg'

# A folder of frames needs no Init step, so the sampler comes first.
train_pipeline = [
    dict(
        type='LocalWindow',
        window=5,
        sampler=dict(type='SomethingSample', clip_len=8)),
    dict(type='RawFrameDecode'),
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
            dict(type='LabelAwareFlip', classes='sthv1', flip_ratio=0.5),
            dict(type='FormatShape', input_format='NCTHW'),
            dict(type='PackActionInputs')
        ])
]
val_pipeline = [
    dict(
        type='LocalWindow',
        window=5,
        sampler=dict(type='SomethingSample', clip_len=8, test_mode=True)),
    dict(type='RawFrameDecode'),
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
    dict(
        type='LocalWindow',
        window=5,
        sampler=dict(
            type='SomethingSample', clip_len=8, num_clips=2, test_mode=True)),
    dict(type='RawFrameDecode'),
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
        type=dataset_type,
        ann_file=ann_file_train,
        data_prefix=dict(_delete_=True, img=data_root),
        pipeline=train_pipeline,
        filename_tmpl=filename_tmpl))
val_dataloader = dict(
    dataset=dict(
        type=dataset_type,
        ann_file=ann_file_val,
        data_prefix=dict(_delete_=True, img=data_root_val),
        pipeline=val_pipeline,
        filename_tmpl=filename_tmpl))
test_dataloader = dict(
    dataset=dict(
        type=dataset_type,
        ann_file=ann_file_val,
        data_prefix=dict(_delete_=True, img=data_root_val),
        pipeline=test_pipeline,
        filename_tmpl=filename_tmpl))
