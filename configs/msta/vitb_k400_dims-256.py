# MSTA on ViCLIP-B/16, Kinetics-400, with m=256: 8,712,192 parameters, the
# 8.7 M of Table 5 (top-1 82.2, top-5 96.2), where Table 1 has m=128.
_base_ = 'vitb_k400.py'

model = dict(adapter=dict(bottleneck_dims=256))
