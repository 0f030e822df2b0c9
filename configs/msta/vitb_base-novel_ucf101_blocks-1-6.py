# vitb_base-novel_ucf101.py with adapters beside blocks 1-6 (Table 6f: base
# 67.4, novel 52.9, HM 59.3 over four data sets).
_base_ = 'vitb_base-novel_ucf101.py'

model = dict(adapter=dict(layers=[*range(6)]))
