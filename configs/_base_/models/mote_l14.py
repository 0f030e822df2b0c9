# MoTE on OpenAI's CLIP ViT-L/14: 6 temporal layers. 48 videos fit a GPU of
# 24 GB.
_base_ = 'mote_b16.py'

model = dict(
    backbone=dict(encoder=dict(arch='ViT-L-14')),
    neck=dict(embed_dims=768, num_layers=6),
    cls_head=dict(in_channels=768, text=dict(arch='ViT-L-14')))
