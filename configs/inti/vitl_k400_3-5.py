# InTI_3,5 on CLIP ViT-L/14, Kinetics-400 (Table 1: 650 GFLOPs, top-1 86.9).
# After block 6 of the paper (counted from 1) is before block 6 counted from 0.
_base_ = 'vitl_k400_naive.py'

model = dict(backbone=dict(adapters=[dict(type='InTI', layers=[6, 10])]))
