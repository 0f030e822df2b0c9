# TDS-CLIP: with the SME-Adapter too, which sees the differences of the five
# frames around each sampled one.
_base_ = 'tds_clip_td.py'

window = 5
num_frames, size = {{_base_.num_frames}}, {{_base_.size}}

model = dict(backbone=dict(window=window))

train_pipeline = [
    dict(type='VideoInit'),
    dict(
        type='LocalWindow', window=window,
        sampler=dict(type='UniformSample', clip_len=num_frames)),
    dict(type='VideoDecode'),
    dict(type='Resize', scale=(-1, 52)),
    dict(type='RandomCrop', size=size),
    dict(type='FormatShape', input_format='NCTHW'),
    dict(type='PackActionInputs')
]
test_pipeline = [
    dict(type='VideoInit'),
    dict(
        type='LocalWindow', window=window,
        sampler=dict(
            type='UniformSample', clip_len=num_frames, test_mode=True)),
    dict(type='VideoDecode'),
    dict(type='Resize', scale=(-1, 52)),
    dict(type='CenterCrop', crop_size=size),
    dict(type='FormatShape', input_format='NCTHW'),
    dict(type='PackActionInputs')
]

train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = dict(dataset=dict(pipeline=test_pipeline))
