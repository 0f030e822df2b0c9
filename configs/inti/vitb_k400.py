# InTI_5,7 on CLIP ViT-B/16, Kinetics-400 (Table 1: 182 GFLOPs, top-1 84.1).
# After block 5 of the paper (counted from 1) is before block 5 counted from 0.
_base_ = 'vitb_k400_naive.py'

model = dict(backbone=dict(adapters=[dict(type='InTI', layers=[5, 7])]))
