"""Any config of ours at a size that a test can afford."""

import json
from pathlib import Path

from mmengine.config import Config

from mmvidadapt.datasets.class_lists import class_names
from tests.conftest import ROOT

#: Side of a frame of a tiny model, in pixels.
SIZE = 32
#: Channels of its joint image-text space.
JOINT = 24


def splits(cfg: Config) -> list[str]:
    """What a config reads: all three splits, or the test split alone.

    Args:
        cfg (Config): The config.

    Returns:
        list[str]: Of ``'train'``, ``'val'`` and ``'test'``.
    """
    return [split for split in ('train', 'val', 'test')
            if f'{split}_dataloader' in cfg]


def files(loader: Config) -> Config:
    """The data set that reads files, which may be repeated.

    Args:
        loader (Config): Config of a data loader.

    Returns:
        Config: Config of the data set.
    """
    return loader.dataset.get('dataset', loader.dataset)


def shrink_model(cfg: Config, width: int = 48) -> None:
    """Make the encoder of a config tiny, in place; its depth stays.

    Args:
        cfg (Config): A config whose backbone is a ``CLIPViT``, or a
            ``SideCLIPViT``, which keeps a quarter of its side channels. A
            ``TextHead`` gets a tiny text tower of random weights, which is
            not cached, and one template. So does a recognizer that has a
            text tower, and its adapter a sixteenth of its channels.
        width (int): Token channels of the encoder.
    """
    backbone = cfg.model.backbone
    encoder = backbone.encoder
    encoder['arch'] = dict(
        embed_dims=width, num_heads=2, patch_size=16, image_size=SIZE,
        output_dims=JOINT,
        num_layers=24 if encoder['arch'].endswith('-L-14') else 12)
    encoder['weights'] = None
    if 'side_dims' in backbone:
        backbone.side_dims //= 4
        width = backbone.side_dims
    if encoder.get('project') or backbone.get('add_to_clip'):
        width = JOINT
    head = cfg.model.cls_head
    head.in_channels = width
    if 'neck' in cfg.model:
        cfg.model.neck.embed_dims = width
    if head.type == 'TextHead':
        head.templates = 'video'
        inside = head.text == 'recognizer'
        text = cfg.model.text_encoder if inside else head.text
        text.arch = dict(embed_dims=16, num_layers=12 if inside else 1,
                         num_heads=2, output_dims=JOINT)
        text.weights = None
    if cfg.model.get('adapter'):
        cfg.model.adapter.bottleneck_dims //= 16


def describe_classes(cfg: Config, folder: Path, stem: str = '') -> None:
    """Give a config descriptions of its classes by name, in place.

    Args:
        cfg (Config): A config; nothing happens if it has no ``consistency``.
        folder (Path): Where to write them.
        stem (str): What their file names begin with.
    """
    consistency = cfg.model.get('consistency')
    if not consistency:
        return
    names = class_names(cfg.model.cls_head.classes)
    for kind in ('spatial', 'temporal'):
        if consistency.get(kind):
            path = folder / f'{stem}{kind}.json'
            path.write_text(json.dumps({
                name: [f'A {kind} view of {name}.', f'{kind} {place}.']
                for place, name in enumerate(names)}))
            consistency[kind] = str(path)


def shrink_pipelines(cfg: Config, size: int = SIZE) -> None:
    """Crop to tiny frames in every pipeline, in place.

    Args:
        cfg (Config): The config.
        size (int): Side of a frame in pixels.
    """
    names = [f'{split}_{part}' for split in splits(cfg)
             for part in ('pipeline', 'dataloader')]
    for name in names:
        steps = cfg[name] if name.endswith('pipeline') else (
            files(cfg[name]).pipeline)
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
    describe_classes(cfg, folder, f'{Path(name).stem}_')
    shrink_pipelines(cfg)
    for split in splits(cfg):
        loader = cfg[f'{split}_dataloader']
        loader.batch_size = min(loader.batch_size, 2)
        loader.num_workers = 0
        loader.persistent_workers = False
    cfg.default_hooks.logger.interval = 1
    if 'train' in splits(cfg):
        cfg.train_cfg.max_epochs = 1
        if cfg.optim_wrapper.get('dtype') == 'float16':
            cfg.optim_wrapper.dtype = 'bfloat16'  # all that a CPU has
    cfg.merge_from_dict({k.replace('__', '.'): v for k, v in changes.items()})
    path = folder / Path(name).name
    cfg.dump(path)
    return str(path)
