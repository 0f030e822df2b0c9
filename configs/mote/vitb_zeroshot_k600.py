# A checkpoint of vitb_k400.py on Kinetics-600, without training on its
# classes: ViT-B/16, 3 clips x 1 crop (Table 3: top-1 70.2 +- 0.6 over three
# lists).
_base_ = [
    '../_base_/models/mote_b16.py', '../_base_/datasets/k600_mote.py',
    '../_base_/default_runtime.py'
]

model = dict(
    cls_head=dict(
        classes='k600_zeroshot_{{$SPLIT:1}}',
        average_clips='mote_zero_shot'))
test_cfg = dict(type='TestLoop')
