# Regularization of the average of the experts only (Table 2e "Point": top-1
# 86.1).
_base_ = 'vitl_k400.py'

model = dict(neck=dict(temperature='point'))
