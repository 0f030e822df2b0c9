# The quickstart's model without InTI: every frame goes through every block,
# and the features of all frames are averaged ("naive" in the InTI paper).
_base_ = 'inti.py'

model = dict(backbone=dict(adapters=[]))
