# MoTE on CLIP ViT-B/16, Something-Something V2, 16 videos of each class and a
# single test view (Table 5: top-1 12.2). SHOTS=2, 4 or 8 in the environment
# trains on fewer (7.3, 8.5, 9.5). Lists and warm-up as for UCF-101; a flip
# exchanges left and right.
_base_ = 'vitb_k400_1x1.py'

model = dict(cls_head=dict(classes='sthv2'))
data_root = 'data/sthv2/videos'
data_root_val = data_root
shots = int('{{$SHOTS:16}}')
ann_file_train = f'data/sthv2/few_shot/shots{shots}_seed1.txt'
ann_file_val = 'data/sthv2/sthv2_val_list_videos.txt'

train_pipeline = _base_.train_pipeline
train_pipeline[6] = dict(
    type='LabelAwareFlip', classes='sthv2', flip_ratio=0.5)
few_shot = _base_.train_dataloader.dataset
few_shot.ann_file = ann_file_train
few_shot.data_prefix = dict(video=data_root)
few_shot.pipeline = train_pipeline
train_dataloader = dict(
    dataset=dict(
        _delete_=True,
        type='RepeatDataset',
        times=168913 // (174 * shots),
        dataset=few_shot))
val_dataloader = dict(
    dataset=dict(ann_file=ann_file_val, data_prefix=dict(video=data_root_val)))
test_dataloader = dict(
    dataset=dict(ann_file=ann_file_val, data_prefix=dict(video=data_root_val)))

param_scheduler = _base_.param_scheduler
param_scheduler[0].T_max = 2
param_scheduler[0].warmup = 2 / 6
train_cfg = dict(max_epochs=2)
