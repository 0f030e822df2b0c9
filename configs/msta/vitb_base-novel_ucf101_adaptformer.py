# ViCLIP-B/16 with AdaptFormer in both towers in place of MSTA, UCF-101, base
# to novel (Table 2: base 94.9, novel 72.7, HM 82.3).
_base_ = [
    'vitb_base-novel_ucf101.py', '../_base_/models/msta_baselines.py'
]

model = _base_.adaptformer
