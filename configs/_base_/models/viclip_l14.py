# ViCLIP-L-14, as viclip_b16.py.
_base_ = 'viclip_b16.py'

weights = '{{$VICLIP:checkpoints/ViCLIP-L-14.pth}}'
model = dict(
    backbone=dict(encoder=dict(arch='ViCLIP-L-14', weights=weights)),
    cls_head=dict(
        in_channels=768, text=dict(arch='ViCLIP-L-14', weights=weights)))
