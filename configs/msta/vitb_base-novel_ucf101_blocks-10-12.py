# vitb_base-novel_ucf101.py with adapters beside blocks 10-12 (Table 6f: base
# 65.9, novel 51.9, HM 58.1 over four data sets).
_base_ = 'vitb_base-novel_ucf101.py'

model = dict(adapter=dict(layers=[*range(9, 12)]))
