# The small CLIP fine-tuned on names of classes: cosines between the mean of
# its frame features and the texts. Trained on the seen combinations of shape
# and motion; with other classes in cls_head it is tested on others.
_base_ = 'inti.py'

work = '{{$MMVIDADAPT_QUICKSTART:.quickstart}}'
seen = work + '/seen'
clip = work + '/clip/small_clip.pt'

model = dict(
    backbone=dict(encoder=dict(project=True), adapters=[]),
    cls_head=dict(
        _delete_=True,
        type='TextHead',
        in_channels=64,
        classes=seen + '/labels.txt',
        templates=['{}.', 'a photo of {}.', 'a picture of {}.'],
        text=dict(
            arch=dict(
                embed_dims=64, num_layers=2, num_heads=4, output_dims=64),
            act='quick_gelu',
            weights=clip,
            cache_dir=work + '/texts'),
        scale=15.,  # about what the small CLIP learned; CLIP's own is 100
        average_clips='prob'))

videos = dict(data_prefix=dict(video=seen))
train_dataloader = dict(dataset=dict(**videos, ann_file=seen + '/train.txt'))
val_dataloader = dict(dataset=dict(**videos, ann_file=seen + '/val.txt'))
test_dataloader = dict(dataset=dict(**videos, ann_file=seen + '/test.txt'))

# What is new learns faster than what knows shapes and words.
optim_wrapper = dict(
    optimizer=dict(lr=5e-4),
    paramwise_cfg=dict(
        custom_keys=dict(_delete_=True, neck=dict(lr_mult=4.))))

max_epochs = 8
train_cfg = dict(max_epochs=max_epochs)
param_scheduler = [
    dict(
        type='LinearLR', start_factor=0.01, begin=0, end=1, by_epoch=True,
        convert_to_iter_based=True),
    dict(
        type='CosineAnnealingLR', T_max=max_epochs - 1, eta_min_ratio=0.01,
        begin=1, end=max_epochs, by_epoch=True, convert_to_iter_based=True)
]
