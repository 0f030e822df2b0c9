# TDS-CLIP's recipe: AdamW, weight decay on everything that trains, float16
# with a scaled loss, linear warm-up from 0 over 4 epochs, then a cosine to 0.
# The program changes the rate at every tenth step only; here every step does.
optim_wrapper = dict(
    type='AmpOptimWrapper',
    dtype='float16',
    loss_scale='dynamic',
    constructor='TrainableParamsConstructor',
    optimizer=dict(
        type='AdamW', lr=1e-3, betas=(0.9, 0.999), eps=1e-8,
        weight_decay=0.15))
param_scheduler = [
    dict(
        type='WarmupCosineLR',
        T_max=30,
        warmup=4,
        cosine_from='warmup_end',
        by_epoch=True,
        convert_to_iter_based=True)
]
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=30, val_interval=1)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
# Videos of one step over all GPUs, 8 x 16; each gives two clips.
auto_scale_lr = dict(enable=False, base_batch_size=128)
