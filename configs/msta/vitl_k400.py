# MSTA on ViCLIP-L/14, Kinetics-400, 8 frames, 4 clips x 3 crops, by the recipe
# of ViCLIP-B/16. The paper has no such model: 24 video blocks meet 12 text
# blocks, see msta_l14.py.
_base_ = [
    '../_base_/models/msta_l14.py', '../_base_/datasets/k400_msta.py',
    '../_base_/schedules/msta_100e.py', '../_base_/default_runtime.py'
]

model = dict(consistency=_base_.descriptions)
