# TD-Adapter in layers 7-12 of the paper, no SME-Adapter (Table 4: single
# view, top-1 58.6).
_base_ = 'vitb_ssv1_td.py'

model = dict(backbone=dict(td_layers=[6, 7, 8, 9, 10, 11]))
