# ViCLIP-B/16 with LoRA in both towers in place of MSTA, UCF-101, base to novel
# (Table 2: base 95.1, novel 72.3, HM 82.1).
_base_ = [
    'vitb_base-novel_ucf101.py', '../_base_/models/msta_baselines.py'
]

model = _base_.lora
