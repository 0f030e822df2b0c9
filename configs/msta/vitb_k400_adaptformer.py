# ViCLIP-B/16 with AdaptFormer in both towers in place of MSTA, Kinetics-400
# (Table 5: top-1 80.2, top-5 95.5).
_base_ = ['vitb_k400.py', '../_base_/models/msta_baselines.py']

model = _base_.adaptformer
