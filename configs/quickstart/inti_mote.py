# configs/mixed/vitb_k400_inti-mote.py at the quickstart's size: InTI inside
# CLIP, MoTE over the 2 frames that are left.
_base_ = 'mote.py'

model = dict(backbone=dict(adapters=[dict(type='InTI', layers=[1, 2])]))
optim_wrapper = dict(
    paramwise_cfg=dict(custom_keys=dict(adapters=dict(lr_mult=10.))))
