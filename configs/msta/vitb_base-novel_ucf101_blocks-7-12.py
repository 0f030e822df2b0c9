# vitb_base-novel_ucf101.py with adapters beside blocks 7-12 (Table 6f: base
# 68.1, novel 53.0, HM 59.6 over four data sets).
_base_ = 'vitb_base-novel_ucf101.py'

model = dict(adapter=dict(layers=[*range(6, 12)]))
