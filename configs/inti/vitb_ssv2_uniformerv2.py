# UniFormerV2-B, Something-Something V2, 16 frames without temporal stride
# (Table 3: 371 GFLOPs, 163 M, top-1 69.5).
_base_ = 'vitb_ssv2_naive.py'

model = dict(
    backbone=dict(adapters=[
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
