# InTI on the videos and from the small CLIP that `bash tools/quickstart.sh`
# makes. 8 frames -> 4 before block 1 -> 2 before block 2 (counted from 0).
_base_ = '../_base_/default_runtime.py'

work = '{{$MMVIDADAPT_QUICKSTART:.quickstart}}'
num_classes, num_frames, size = 12, 8, 48

model = dict(
    type='Recognizer3D',
    backbone=dict(
        type='CLIPViT',
        encoder=dict(
            arch=dict(
                embed_dims=64, num_layers=4, num_heads=4, patch_size=8,
                image_size=size, output_dims=64),
            act='quick_gelu',
            weights=work + '/clip/small_clip.pt'),
        num_frames=num_frames,
        adapters=[dict(type='InTI', layers=[1, 2])]),
    cls_head=dict(
        type='LinearHead', num_classes=num_classes, in_channels=64,
        average_clips='prob'),
    data_preprocessor=dict(
        type='ActionDataPreprocessor', mean=[127.5] * 3, std=[60.] * 3,
        format_shape='NCTHW'))

# No flip: a mirrored ball rolls the other way.
train_pipeline = [
    dict(type='VideoInit'),
    dict(type='UniformSample', clip_len=num_frames),
    dict(type='VideoDecode'),
    dict(type='Resize', scale=(-1, 52)),
    dict(type='RandomCrop', size=size),
    dict(type='FormatShape', input_format='NCTHW'),
    dict(type='PackActionInputs')
]
test_pipeline = [
    dict(type='VideoInit'),
    dict(type='UniformSample', clip_len=num_frames, test_mode=True),
    dict(type='VideoDecode'),
    dict(type='Resize', scale=(-1, 52)),
    dict(type='CenterCrop', crop_size=size),
    dict(type='FormatShape', input_format='NCTHW'),
    dict(type='PackActionInputs')
]

videos = dict(type='VideoDataset', data_prefix=dict(video=work + '/data'))
loader = dict(num_workers=1, persistent_workers=True)
train_dataloader = dict(
    **loader,
    batch_size=16,
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(
        **videos, ann_file=work + '/data/train.txt',
        pipeline=train_pipeline))
val_dataloader = dict(
    **loader,
    batch_size=20,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        **videos, ann_file=work + '/data/val.txt', pipeline=test_pipeline,
        test_mode=True))
test_dataloader = dict(
    **loader,
    batch_size=20,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        **videos, ann_file=work + '/data/test.txt', pipeline=test_pipeline,
        test_mode=True))
val_evaluator = dict(type='AccMetric', metric_list=('top_k_accuracy', ))
test_evaluator = val_evaluator

max_epochs = 6
train_cfg = dict(
    type='EpochBasedTrainLoop', max_epochs=max_epochs, val_interval=1)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')

# New layers learn faster than pretrained ones, which keeps what CLIP knows of
# places and sizes while InTI finds the order.
optim_wrapper = dict(
    optimizer=dict(
        type='AdamW', lr=2e-4, betas=(0.9, 0.98), weight_decay=0.05),
    paramwise_cfg=dict(
        norm_decay_mult=0., bias_decay_mult=0.,
        custom_keys=dict(
            adapters=dict(lr_mult=25.), cls_head=dict(lr_mult=100.))),
    clip_grad=dict(max_norm=1.))
param_scheduler = [
    dict(
        type='LinearLR', start_factor=0.01, begin=0, end=1, by_epoch=True,
        convert_to_iter_based=True),
    dict(
        type='CosineAnnealingLR', T_max=max_epochs - 1, eta_min_ratio=0.01,
        begin=1, end=max_epochs, by_epoch=True, convert_to_iter_based=True)
]
auto_scale_lr = dict(enable=False, base_batch_size=16)

default_hooks = dict(
    logger=dict(interval=4),
    checkpoint=dict(save_best=None, max_keep_ckpts=1))
log_processor = dict(window_size=8)
