# configs/mixed/vitb_k400_inti-msta.py at the quickstart's size: InTI and MSTA
# in a frozen CLIP that sees each frame for itself.
_base_ = 'msta.py'

model = dict(
    backbone=dict(
        encoder=dict(type='CLIPVisionEncoder'),
        adapters=[dict(type='InTI', layers=[1, 2])]))
optim_wrapper = dict(
    paramwise_cfg=dict(
        custom_keys={'_delete_': True, 'backbone.adapters': dict(lr_mult=1.)}))
