# vitb_base-novel_ucf101.py with adapters beside blocks 8-12 (Table 6f: base
# 68.7, novel 53.1, HM 59.9 over four data sets).
_base_ = 'vitb_base-novel_ucf101.py'

model = dict(adapter=dict(layers=[*range(7, 12)]))
