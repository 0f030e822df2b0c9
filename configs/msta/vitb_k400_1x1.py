# MSTA on ViCLIP-B/16, Kinetics-400, 8 frames, tested with a single view as in
# validation: the caption of Table 5 (top-1 82.2, top-5 96.2) against the text.
_base_ = 'vitb_k400.py'

test_pipeline = _base_.val_pipeline
test_dataloader = dict(dataset=dict(pipeline=test_pipeline))
