# Plain temporal convolution in place of the TD-Adapter, no SME-Adapter
# (Table 3a "Baseline": single view, top-1 58.1).
_base_ = 'vitb_ssv1_td.py'

model = dict(backbone=dict(td_layers=[]))
