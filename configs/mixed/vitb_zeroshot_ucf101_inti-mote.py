# A checkpoint of vitb_k400_inti-mote.py on UCF-101, without training on its
# classes: 3 clips x 1 crop. SPLIT=2 or SPLIT=3 chooses another split.
_base_ = '../mote/vitb_zeroshot_ucf101.py'

model = dict(backbone=dict(adapters=[dict(type='InTI', layers=[5, 7])]))
