# MoTE's recipe (Table 6 and the program): AdamW with weight decay on
# everything, CLIP and the scale of the cosines at a small share of the rate
# (set by each config), float16 with a scaled loss, linear warm-up from 0 over
# 5 epochs, then a cosine to 0. hold=10 in the schedule changes the rate at
# every tenth step only, as the program does.
optim_wrapper = dict(
    type='AmpOptimWrapper',
    dtype='float16',
    loss_scale='dynamic',
    constructor='TrainableParamsConstructor',
    optimizer=dict(
        type='AdamW', lr=5e-5, betas=(0.9, 0.999), eps=1e-8,
        weight_decay=0.2))
param_scheduler = [
    dict(
        type='WarmupCosineLR',
        T_max=30,
        warmup=5,
        cosine_from='warmup_end',
        by_epoch=True,
        convert_to_iter_based=True)
]
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=30, val_interval=1)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
# Videos of one step over all GPUs, 3 x 64.
auto_scale_lr = dict(enable=False, base_batch_size=192)
