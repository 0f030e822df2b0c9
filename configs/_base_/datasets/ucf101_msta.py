# UCF-101 as MSTA trains and tests on it: 2, 4, 8 or 16 videos of each class
# (SHOTS in the environment, 16 if not set), from the lists of
# tools/data/make_subsets.py; pipelines of k400_msta.py, test views 5 clips x 3
# crops.
_base_ = ['k400_msta.py']

data_root = 'data/ucf101/videos'
data_root_val = data_root
ann_file_train = 'data/ucf101/few_shot/shots{{$SHOTS:16}}_seed1.txt'
ann_file_val = 'data/ucf101/ucf101_val_split_1_videos.txt'

test_pipeline = _base_.test_pipeline
test_pipeline[1].num_clips = 5
descriptions = dict(
    spatial='data/descriptions/2_s_description_ucf_101.json',
    temporal='data/descriptions/2_t_description_ucf_101.json')

train_dataloader = dict(
    batch_size=4,
    dataset=dict(
        ann_file=ann_file_train, data_prefix=dict(video=data_root)))
val_dataloader = dict(
    dataset=dict(ann_file=ann_file_val, data_prefix=dict(video=data_root_val)))
test_dataloader = dict(
    dataset=dict(
        ann_file=ann_file_val,
        data_prefix=dict(video=data_root_val),
        pipeline=test_pipeline))
