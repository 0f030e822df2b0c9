# The single view of MSTA's tests: the central frame of each of 8 equal
# segments, and the central crop. A config or another base takes it as a
# pipeline.
single_view = [
    dict(type='VideoInit'),
    dict(type='EqualSegmentSample', clip_len=8, test_mode=True),
    dict(type='VideoDecode'),
    dict(type='Resize', scale=(-1, 256)),
    dict(type='CenterCrop', crop_size=224),
    dict(type='FormatShape', input_format='NCTHW'),
    dict(type='PackActionInputs')
]
