# InTI_7,9 on CLIP ViT-L/14, Kinetics-400 (Table 1: 973 GFLOPs, top-1 87.2).
# After block 14 of the paper (counted from 1) is before block 14 counted from
# 0.
_base_ = 'vitl_k400_naive.py'

model = dict(backbone=dict(adapters=[dict(type='InTI', layers=[14, 18])]))
