# MSTA's recipe (Table 1, and the authors' logs): AdamW with weight decay on
# all adapters, float32, linear warm-up from 0 over 5 epochs, cosine counted
# from step 0 to lr/100. Validation every 5 epochs and after the last.
optim_wrapper = dict(
    type='OptimWrapper',
    constructor='TrainableParamsConstructor',
    optimizer=dict(
        type='AdamW', lr=1e-3, betas=(0.9, 0.98), eps=1e-8,
        weight_decay=1e-3))
param_scheduler = [
    dict(
        type='WarmupCosineLR',
        T_max=50,
        warmup=5,
        eta_min_ratio=0.01,
        by_epoch=True,
        convert_to_iter_based=True)
]
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=50, val_interval=5)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
# Videos of one step over all GPUs, 8 x 4.
auto_scale_lr = dict(enable=False, base_batch_size=32)
