# TD-Adapter with a pool over 5 frames (Table 3e: single view, top-1 59.2).
_base_ = 'vitb_ssv1.py'

model = dict(backbone=dict(kernel_size=5))
