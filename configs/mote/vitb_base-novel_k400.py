# MoTE on CLIP ViT-B/16, Kinetics-400, base to novel (a protocol of MSTA, not
# in the paper of MoTE; tests with a single view). It trains on 16 videos of
# each base class, repeated to about the number of all their videos, for 2
# epochs as on Something-Something V2. tools/test_protocol.py base-novel tests
# checkpoints on base and on novel classes.
_base_ = ['vitb_k400_1x1.py', '../_base_/datasets/k400_base_novel.py']

model = dict(cls_head=dict(classes=_base_.base_novel.classes))
ann_file_train = _base_.base_novel.train.ann_file
ann_file_val = _base_.base_novel.test.ann_file
few_shot = _base_.train_dataloader.dataset
few_shot.update(_base_.base_novel.train)
train_dataloader = dict(
    dataset=dict(
        _delete_=True,
        type='RepeatDataset',
        times=37 * 16 // int('{{$SHOTS:16}}'),
        dataset=few_shot))
val_dataloader = dict(dataset=_base_.base_novel.test)
test_dataloader = dict(dataset=_base_.base_novel.test)

param_scheduler = _base_.param_scheduler
param_scheduler[0].T_max = 2
param_scheduler[0].warmup = 2 / 6
train_cfg = dict(max_epochs=2)
