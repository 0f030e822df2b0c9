# vitb_base-novel_ucf101.py with no layer in common, 7,922,688 parameters
# (Table 6a: base 68.0, novel 52.9, HM 59.5 over four data sets).
_base_ = 'vitb_base-novel_ucf101.py'

model = dict(adapter=dict(shared=False))
