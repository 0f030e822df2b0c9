# Something-Something V2 with the augmentation of UniFormerV2, which the InTI
# paper follows (appendix D): RandAugment, two augmented copies of each video,
# no flip (it would change the meaning of left and right). Test views: 4 clips
# x 3 crops as printed (UniFormerV2 itself: 1 x 3).
_base_ = ['k400_16f.py']

data_root = 'data/sthv2/videos'
data_root_val = data_root
ann_file_train = 'data/sthv2/sthv2_train_list_videos.txt'
ann_file_val = 'data/sthv2/sthv2_val_list_videos.txt'

train_pipeline = [
    dict(type='VideoInit'),
    dict(type='UniformSample', clip_len=16),
    dict(type='VideoDecode'),
    dict(
        type='RepeatAugment',
        num_copies=2,
        transforms=[
            dict(type='Resize', scale=(-1, 256)),
            dict(type='ClipRandAugment', config='rand-m7-n4-mstd0.5-inc1'),
            dict(type='RandomResizedCrop', area_range=(0.08, 1.0)),
            dict(type='Resize', scale=(224, 224), keep_ratio=False),
            dict(type='FormatShape', input_format='NCTHW'),
            dict(type='PackActionInputs')
        ])
]
train_dataloader = dict(
    collate_fn=dict(type='repeat_pseudo_collate'),
    dataset=dict(
        ann_file=ann_file_train,
        data_prefix=dict(video=data_root),
        pipeline=train_pipeline))
val_dataloader = dict(
    dataset=dict(ann_file=ann_file_val, data_prefix=dict(video=data_root_val)))
test_dataloader = dict(
    dataset=dict(ann_file=ann_file_val, data_prefix=dict(video=data_root_val)))
