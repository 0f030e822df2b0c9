# HMDB-51 videos as MoTE is tested on them, without training on their classes
# (zero shot): views and choice of the split as for UCF-101.
_base_ = ['ucf101_mote.py']

data_root_val = 'data/hmdb51/videos'
ann_file_val = 'data/hmdb51/hmdb51_val_split_{{$SPLIT:1}}_videos.txt'

test_dataloader = dict(
    dataset=dict(ann_file=ann_file_val, data_prefix=dict(video=data_root_val)))
