# With the TD-Adapter in every side block.
_base_ = 'tds_clip_baseline.py'

model = dict(backbone=dict(td_layers='all'))
