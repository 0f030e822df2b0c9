# vitb_base-novel_ucf101.py with m=64 (Table 6b: base 67.5, novel 52.2, HM 58.9
# over four data sets).
_base_ = 'vitb_base-novel_ucf101.py'

model = dict(adapter=dict(bottleneck_dims=64))
