# A checkpoint of vitl_ucf101.py on Kinetics-400, without training on its
# classes (Table 7e: top-1 66.3).
_base_ = 'vitl_zeroshot_ucf101.py'

model = dict(cls_head=dict(classes='k400'))
data_root_val = 'data/kinetics400/videos_val'
ann_file_val = 'data/kinetics400/kinetics400_val_list_videos.txt'
test_dataloader = dict(
    dataset=dict(ann_file=ann_file_val, data_prefix=dict(video=data_root_val)))
