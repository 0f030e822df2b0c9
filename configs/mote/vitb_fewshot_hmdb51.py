# MoTE on CLIP ViT-B/16, HMDB-51, 16 videos of each class and a single test
# view (Table 5: top-1 68.2). SHOTS=2, 4 or 8 in the environment trains on
# fewer (61.3, 63.9, 67.2). The lists are those of
# tools/data/make_subsets.py, repeated to the length of split 1. The paper
# names neither encoder, split nor warm-up; here the warm-up is the same sixth
# of the training as on Kinetics-400.
_base_ = 'vitb_k400_1x1.py'

model = dict(cls_head=dict(classes='hmdb51'))
data_root = 'data/hmdb51/videos'
data_root_val = data_root
shots = int('{{$SHOTS:16}}')
ann_file_train = f'data/hmdb51/few_shot/shots{shots}_seed1.txt'
ann_file_val = 'data/hmdb51/hmdb51_val_split_1_videos.txt'

few_shot = _base_.train_dataloader.dataset
few_shot.ann_file = ann_file_train
few_shot.data_prefix = dict(video=data_root)
train_dataloader = dict(
    dataset=dict(
        _delete_=True,
        type='RepeatDataset',
        times=3570 // (51 * shots),
        dataset=few_shot))
val_dataloader = dict(
    dataset=dict(ann_file=ann_file_val, data_prefix=dict(video=data_root_val)))
test_dataloader = dict(
    dataset=dict(ann_file=ann_file_val, data_prefix=dict(video=data_root_val)))

param_scheduler = _base_.param_scheduler
param_scheduler[0].T_max = 10
param_scheduler[0].warmup = 10 / 6
train_cfg = dict(max_epochs=10)
