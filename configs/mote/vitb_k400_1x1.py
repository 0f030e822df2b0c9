# MoTE on CLIP ViT-B/16, Kinetics-400, 8 frames, tested with a single view as
# in validation (Table 4: top-1 81.8, top-5 95.9).
_base_ = 'vitb_k400.py'

test_pipeline = _base_.val_pipeline
test_dataloader = dict(dataset=dict(pipeline=test_pipeline))
