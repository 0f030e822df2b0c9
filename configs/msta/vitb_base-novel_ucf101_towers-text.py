# vitb_base-novel_ucf101.py with adapters in the text tower alone (Table 6a:
# base 66.1, novel 51.5, HM 57.9 over four data sets).
_base_ = 'vitb_base-novel_ucf101.py'

model = dict(adapter=dict(towers=['text']))
