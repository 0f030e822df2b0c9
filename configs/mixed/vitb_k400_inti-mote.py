# InTI_5,7 under MoTE: 8 frames become 2 inside CLIP, and the experts relate
# these 2. Not in a paper; the recipe is MoTE's, and InTI learns at the rate of
# the neck, since it is new too.
_base_ = '../mote/vitb_k400.py'

model = dict(backbone=dict(adapters=[dict(type='InTI', layers=[5, 7])]))

optim_wrapper = dict(
    paramwise_cfg=dict(
        custom_keys={'backbone.adapters': dict(lr_mult=1.)}))
