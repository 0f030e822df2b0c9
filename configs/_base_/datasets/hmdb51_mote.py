# HMDB-51 videos as MoTE is tested on them, without training on their classes
# (zero shot): views as for UCF-101, the test videos of one of three splits.
_base_ = ['ucf101_mote.py']

data_root_val = 'data/hmdb51/videos'
ann_file_val = 'data/hmdb51/hmdb51_val_split_1_videos.txt'

test_dataloader = dict(
    dataset=dict(ann_file=ann_file_val, data_prefix=dict(video=data_root_val)))
