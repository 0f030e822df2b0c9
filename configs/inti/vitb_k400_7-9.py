# InTI_7,9 on CLIP ViT-B/16, Kinetics-400 (Table 1: 217 GFLOPs, top-1 84.2).
# After block 7 of the paper (counted from 1) is before block 7 counted from 0.
_base_ = 'vitb_k400_naive.py'

model = dict(backbone=dict(adapters=[dict(type='InTI', layers=[7, 9])]))
