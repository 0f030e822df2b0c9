# A checkpoint of vitb_k400.py on Kinetics-600, without training on its
# classes: ViCLIP-B/16, 8 frames, a single view (Table 4: top-1 74.5 +- 0.5
# over three lists). The paper speaks of 220 new classes; the lists have 160
# each and 217 together.
_base_ = [
    '../_base_/models/msta_b16.py', '../_base_/datasets/k600_mote.py',
    '../_base_/datasets/msta_1x1.py', '../_base_/default_runtime.py'
]

model = dict(cls_head=dict(classes='k600_zeroshot_{{$SPLIT:1}}'))
test_pipeline = _base_.single_view
test_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_cfg = dict(type='TestLoop')
