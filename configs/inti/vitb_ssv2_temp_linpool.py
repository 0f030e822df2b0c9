# LinearPooling in the place of InTI_5,7, Something-Something V2 (Table 3: 221
# GFLOPs, 163 M, top-1 67.6). Listed first, so that a block's local modules see
# the merged frames.
_base_ = 'vitb_ssv2_naive.py'

model = dict(
    backbone=dict(adapters=[
        dict(type='LinearPooling', layers=[5, 7]),
        dict(
            type='LocalMHRAPreBlock',
            layers=list(range(12)),
            dw_reduction=1.5,
            drop_path_rate=0.2),
        dict(
            type='LocalMHRA',
            layers=list(range(12)),
            dw_reduction=1.5,
            drop_path_rate=0.2),
        dict(
            type='GlobalUniBlock',
            layers=list(range(4, 12)),
            dropout=0.5,
            drop_path_rate=0.4)
    ]))
