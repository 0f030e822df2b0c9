# A checkpoint of vitl_ucf101.py on Kinetics-400, without training on its
# classes (Table 7e: top-1 66.3).
_base_ = [
    '../_base_/models/mote_l14.py', '../_base_/datasets/k400_zeroshot_mote.py',
    '../_base_/default_runtime.py'
]

model = dict(
    cls_head=dict(classes='k400', average_clips='mote_zero_shot'))
test_cfg = dict(type='TestLoop')
