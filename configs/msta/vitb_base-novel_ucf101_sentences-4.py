# vitb_base-novel_ucf101.py with 4 sentences of each kind (Table 6e: base 68.8,
# novel 53.0, HM 59.9 over four data sets).
_base_ = 'vitb_base-novel_ucf101.py'

model = dict(
    consistency=dict(
        spatial='data/descriptions/4_s_description_ucf_101.json',
        temporal='data/descriptions/4_t_description_ucf_101.json'))
