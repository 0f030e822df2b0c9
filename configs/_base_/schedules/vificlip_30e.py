# ViFi-CLIP's full fine-tuning: AdamW, batch 512, 30 epochs, linear warm-up
# from 0 over 5, cosine counted from step 0 to lr/100.
optim_wrapper = dict(
    type='AmpOptimWrapper',
    dtype='bfloat16',
    constructor='TrainableParamsConstructor',
    optimizer=dict(
        type='AdamW', lr=2.2e-5, betas=(0.9, 0.98), eps=1e-8,
        weight_decay=1e-3),
    accumulative_counts=8)  # 8 GPUs x 8 clips x 8 steps = 512
param_scheduler = [
    dict(
        type='WarmupCosineLR',
        T_max=30,
        warmup=5,
        eta_min_ratio=0.01,
        by_epoch=True,
        convert_to_iter_based=True)
]
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=30, val_interval=1)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
# Clips of one step over all GPUs; accumulation stays as it is, so the rate
# shrinks with the batch: --auto-scale-lr.
auto_scale_lr = dict(enable=False, base_batch_size=64)
