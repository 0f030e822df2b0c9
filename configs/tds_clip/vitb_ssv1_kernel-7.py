# TD-Adapter with a pool over 7 frames (Table 3e: single view, top-1 58.8).
_base_ = 'vitb_ssv1.py'

model = dict(backbone=dict(kernel_size=7))
