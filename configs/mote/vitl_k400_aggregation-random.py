# Tests send each clip through one random expert of each layer (Table 2c
# "Random routing": top-1 85.3). The training is that of vitl_k400.py, whose
# checkpoint this tests as well.
_base_ = 'vitl_k400.py'

model = dict(neck=dict(aggregation='random'))
