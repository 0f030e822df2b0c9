# UCF-101 videos as MoTE is tested on them, without training on their classes
# (zero shot): 8 frames, 3 clips x 1 crop. SPLIT=2 or SPLIT=3 in the
# environment chooses another of the three splits.
dataset_type = 'VideoDataset'
data_root_val = 'data/ucf101/videos'
ann_file_val = 'data/ucf101/ucf101_val_split_{{$SPLIT:1}}_videos.txt'

test_pipeline = [
    dict(type='VideoInit'),
    dict(type='KineticsSample', clip_len=8, num_clips=3, test_mode=True),
    dict(type='VideoDecode'),
    dict(type='Resize', scale=(-1, 224), interpolation='bicubic'),
    dict(type='CenterCrop', crop_size=224),
    dict(type='FormatShape', input_format='NCTHW'),
    dict(type='PackActionInputs')
]

test_dataloader = dict(
    batch_size=1,
    num_workers=8,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type=dataset_type,
        ann_file=ann_file_val,
        data_prefix=dict(video=data_root_val),
        pipeline=test_pipeline,
        test_mode=True))
test_evaluator = dict(type='AccMetric')
