"""Any config of ours at a size that a test can afford."""

from mmengine.config import Config

#: Side of a frame of a tiny model, in pixels.
SIZE = 32


def shrink_model(cfg: Config) -> None:
    """Make the encoder of a config tiny, in place; its depth stays.

    Args:
        cfg (Config): A config whose backbone is a ``CLIPViT``.
    """
    encoder = cfg.model.backbone.encoder
    encoder['arch'] = dict(
        embed_dims=48, num_heads=2, patch_size=16, image_size=SIZE,
        output_dims=24,
        num_layers=24 if encoder['arch'] == 'ViT-L-14' else 12)
    encoder['weights'] = None
    cfg.model.cls_head.in_channels = 48


def shrink_pipelines(cfg: Config, size: int = SIZE) -> None:
    """Crop to tiny frames in every pipeline, in place.

    Args:
        cfg (Config): The config.
        size (int): Side of a frame in pixels.
    """
    for split in ('train', 'val', 'test'):
        for step in cfg[f'{split}_dataloader']['dataset']['pipeline']:
            for key in ('crop_size', 'input_size'):
                if key in step:
                    step[key] = size
            if step['type'] == 'Resize':
                step['scale'] = (
                    (-1, size + size // 8) if step['scale'][0] == -1 else
                    (size, size))
