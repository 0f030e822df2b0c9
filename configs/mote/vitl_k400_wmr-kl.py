# Scores of the merged experts are drawn to those of the drawn ones (Table 7c:
# top-1 86.0).
_base_ = 'vitl_k400.py'

model = dict(cls_head=dict(merged_loss='kl'))
