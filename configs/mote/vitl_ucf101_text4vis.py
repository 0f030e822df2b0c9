# The plain temporal transformer on UCF-101 (Table 7e "Baseline": top-1 95.6;
# on Kinetics-400 56.6).
_base_ = 'vitl_ucf101.py'

model = dict(neck=dict(num_experts=0), cls_head=dict(modulate=False))
