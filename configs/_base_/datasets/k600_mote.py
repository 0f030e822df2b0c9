# Test videos of Kinetics-600 as MoTE is tested on them, those of 160 classes
# that Kinetics-400 lacks (zero shot): views as for UCF-101. SPLIT=2 or SPLIT=3
# in the environment chooses another of the three lists.
_base_ = ['ucf101_mote.py']

data_root_val = 'data/kinetics600/videos_test'
ann_file_val = (
    'data/kinetics600/kinetics600_zeroshot_{{$SPLIT:1}}_list_videos.txt')

test_dataloader = dict(
    dataset=dict(ann_file=ann_file_val, data_prefix=dict(video=data_root_val)))
