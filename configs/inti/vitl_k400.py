# InTI_5,7 on CLIP ViT-L/14, Kinetics-400 (Table 1: 811 GFLOPs, top-1 87.1).
# After block 10 of the paper (counted from 1) is before block 10 counted from
# 0.
_base_ = 'vitl_k400_naive.py'

model = dict(backbone=dict(adapters=[dict(type='InTI', layers=[10, 14])]))
