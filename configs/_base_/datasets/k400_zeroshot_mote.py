# Validation videos of Kinetics-400 as a model of MoTE is tested on them that
# was not trained on their classes (zero shot): views as for UCF-101.
_base_ = ['ucf101_mote.py']

data_root_val = 'data/kinetics400/videos_val'
ann_file_val = 'data/kinetics400/kinetics400_val_list_videos.txt'

test_dataloader = dict(
    dataset=dict(ann_file=ann_file_val, data_prefix=dict(video=data_root_val)))
