# vitb_base-novel_ucf101.py with no descriptions (Table 7: base 68.2, novel
# 53.2, HM 59.77 over four data sets).
_base_ = 'vitb_base-novel_ucf101.py'

model = dict(consistency=None)
