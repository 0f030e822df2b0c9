# MoTE on CLIP ViT-B/16, HMDB-51, base to novel (a protocol of MSTA, not in the
# paper of MoTE; tests with a single view). It trains on 16 videos of each base
# class by the recipe of vitb_fewshot_hmdb51.py. tools/test_protocol.py
# base-novel tests checkpoints on base and on novel classes.
_base_ = [
    'vitb_fewshot_hmdb51.py', '../_base_/datasets/hmdb51_base_novel.py'
]

model = dict(cls_head=dict(classes=_base_.base_novel.classes))
ann_file_train = _base_.base_novel.train.ann_file
ann_file_val = _base_.base_novel.test.ann_file
train_dataloader = dict(dataset=dict(dataset=_base_.base_novel.train))
val_dataloader = dict(dataset=_base_.base_novel.test)
test_dataloader = dict(dataset=_base_.base_novel.test)
