# A checkpoint of vitl_k400.py on Kinetics-600, without training on its
# classes: ViT-L/14, 3 clips x 1 crop (Table 3: top-1 78.4 +- 0.9 over three
# lists).
_base_ = [
    '../_base_/models/mote_l14.py', '../_base_/datasets/k600_mote.py',
    '../_base_/default_runtime.py'
]

model = dict(
    cls_head=dict(
        classes='k600_zeroshot_{{$SPLIT:1}}',
        average_clips='mote_zero_shot'))
test_cfg = dict(type='TestLoop')
