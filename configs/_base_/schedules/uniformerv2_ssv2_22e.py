# UniFormerV2's recipe for Something-Something V2 with half its batch
# (InTI paper, appendix D): 4e-5 at 128 becomes 2e-5 at 64.
optim_wrapper = dict(
    type='AmpOptimWrapper',
    dtype='bfloat16',
    constructor='TrainableParamsConstructor',
    optimizer=dict(
        type='AdamW', lr=2e-5, betas=(0.9, 0.999), weight_decay=0.05),
    paramwise_cfg=dict(
        norm_decay_mult=0., bias_decay_mult=0., flat_decay_mult=0.))
param_scheduler = [  # warm-up from 1e-6, then a cosine to 1e-6
    dict(
        type='WarmupCosineLR',
        T_max=22,
        warmup=5,
        start_lr=1e-6,
        eta_min=1e-6,
        cosine_from='warmup_end',
        by_epoch=True,
        convert_to_iter_based=True)
]
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=22, val_interval=1)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
# Videos of one step over all GPUs: 8 x 8.
auto_scale_lr = dict(enable=False, base_batch_size=64)
