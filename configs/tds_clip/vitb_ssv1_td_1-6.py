# TD-Adapter in layers 1-6 of the paper, no SME-Adapter (Table 4: single view,
# top-1 58.8).
_base_ = 'vitb_ssv1_td.py'

model = dict(backbone=dict(td_layers=[0, 1, 2, 3, 4, 5]))
