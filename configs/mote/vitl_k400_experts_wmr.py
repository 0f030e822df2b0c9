# Experts and weight merging regularization without the loss between features
# (Table 1 "+ L_WMR": top-1 86.8).
_base_ = 'vitl_k400.py'

model = dict(neck=dict(mse_weight=0), cls_head=dict(modulate=False))
