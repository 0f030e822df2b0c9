"""Any config of ours at a size that a test can afford."""

from pathlib import Path

from mmengine.config import Config

from tests.conftest import ROOT

#: Side of a frame of a tiny model, in pixels.
SIZE = 32


def shrink_model(cfg: Config, width: int = 48) -> None:
    """Make the encoder of a config tiny, in place; its depth stays.

    Args:
        cfg (Config): A config whose backbone is a ``CLIPViT``, or a
            ``SideCLIPViT``, which keeps a quarter of its side channels.
        width (int): Token channels of the encoder.
    """
    backbone = cfg.model.backbone
    encoder = backbone.encoder
    encoder['arch'] = dict(
        embed_dims=width, num_heads=2, patch_size=16, image_size=SIZE,
        output_dims=24,
        num_layers=24 if encoder['arch'] == 'ViT-L-14' else 12)
    encoder['weights'] = None
    if 'side_dims' in backbone:
        backbone.side_dims //= 4
        width = backbone.side_dims
    cfg.model.cls_head.in_channels = width


def shrink_pipelines(cfg: Config, size: int = SIZE) -> None:
    """Crop to tiny frames in every pipeline, in place.

    Args:
        cfg (Config): The config.
        size (int): Side of a frame in pixels.
    """
    names = [f'{split}_{part}' for split in ('train', 'val', 'test')
             for part in ('pipeline', 'dataloader')]
    for name in names:
        steps = cfg[name] if name.endswith('pipeline') else (
            cfg[name].dataset.pipeline)
        for step in list(steps):
            steps = steps + step.get('transforms', [])  # of RepeatAugment
        short = size if any(
            step['type'] == 'ThreeCrop' for step in steps) else size * 9 // 8
        for step in steps:
            for key in ('crop_size', 'input_size'):
                if key in step:
                    step[key] = size
            if step['type'] == 'Resize':
                width, height = step['scale']
                if width == height:
                    step['scale'] = (size, size)
                else:  # before a crop; -1 keeps the proportions
                    step['scale'] = (
                        -1 if width == -1 else short * width // height, short)


def write_tiny_config(name: str, folder: Path, **changes: object) -> str:
    """Write a config that trains in seconds.

    Args:
        name (str): A config below ``configs/``.
        folder (Path): Where to write.
        **changes (object): Settings by dotted key with ``__`` for the dot.

    Returns:
        str: Path of the written config.
    """
    cfg = Config.fromfile(ROOT / 'configs' / name)
    shrink_model(cfg)
    shrink_pipelines(cfg)
    for split in ('train', 'val', 'test'):
        loader = cfg[f'{split}_dataloader']
        loader.batch_size = min(loader.batch_size, 2)
        loader.num_workers = 0
        loader.persistent_workers = False
    cfg.train_cfg.max_epochs = 1
    cfg.default_hooks.logger.interval = 1
    if cfg.optim_wrapper.get('dtype') == 'float16':
        cfg.optim_wrapper.dtype = 'bfloat16'  # all that a CPU computes with
    cfg.merge_from_dict({k.replace('__', '.'): v for k, v in changes.items()})
    path = folder / Path(name).name
    cfg.dump(path)
    return str(path)
