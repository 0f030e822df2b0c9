# Tests send each clip through every expert and average the scores, at 4 times
# the cost of the temporal transformer (Table 2c "Ensembling logits": top-1
# 86.0). The training is that of vitl_k400.py, whose checkpoint this tests as
# well.
_base_ = 'vitl_k400.py'

model = dict(neck=dict(aggregation='ensemble'))
