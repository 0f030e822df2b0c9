# vitb_base-novel_ucf101.py with adapters in the video tower alone (Table 6a:
# base 65.7, novel 51.7, HM 57.9 over four data sets).
_base_ = 'vitb_base-novel_ucf101.py'

model = dict(adapter=dict(towers=['visual']))
