# InTI_3,5 on CLIP ViT-B/16, Kinetics-400 (Table 1: 147 GFLOPs, top-1 83.6).
# After block 3 of the paper (counted from 1) is before block 3 counted from 0.
_base_ = 'vitb_k400_naive.py'

model = dict(backbone=dict(adapters=[dict(type='InTI', layers=[3, 5])]))
