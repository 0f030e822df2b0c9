# vitb_base-novel_ucf101.py with m=128 (Table 6b: base 68.2, novel 53.1, HM
# 59.7 over four data sets).
_base_ = 'vitb_base-novel_ucf101.py'

model = dict(adapter=dict(bottleneck_dims=128))
