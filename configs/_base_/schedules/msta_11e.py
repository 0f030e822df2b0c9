# MSTA's recipe from base to novel: msta.py for 11 epochs.
_base_ = ['msta.py']

param_scheduler = _base_.param_scheduler
param_scheduler[0].T_max = 11
train_cfg = dict(max_epochs=11)
