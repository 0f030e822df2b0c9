# MSTA's recipe on Kinetics-400: msta.py for 100 epochs, with 8 x 32 videos in
# a step and 8 times the rate.
_base_ = ['msta.py']

optim_wrapper = dict(optimizer=dict(lr=8e-3))
param_scheduler = _base_.param_scheduler
param_scheduler[0].T_max = 100
train_cfg = dict(max_epochs=100)
auto_scale_lr = dict(base_batch_size=256)
