"""A recognizer and a data set small enough to run for real in a test.

The recognizer is MMAction2's own ``Recognizer3D``; its backbone and head are
guarded as ours are. Configs import this file by ``custom_imports``, so that
scripts can run it in a process of their own.
"""

import itertools
from pathlib import Path

import torch
from mmaction.models.heads import BaseHead
from mmaction.registry import DATASETS, MODELS
from mmaction.structures import ActionDataSample
from mmengine.config import Config
from mmengine.model import BaseModule
from mmengine.runner import Runner
from torch import Tensor, nn
from torch.utils.data import Dataset

from mmvidadapt.models.strict_loading import refuse_partial_load


@MODELS.register_module()
class ToyBackbone(BaseModule):
    """Clips ``(B, 3, T, H, W)`` to frame features ``(B, T, width)``."""

    def __init__(self, width: int = 4, adapter: bool = False,
                 init_cfg: dict | None = None) -> None:
        super().__init__(init_cfg=init_cfg)
        self.conv = nn.Conv3d(3, width, 1)
        self.norm = nn.BatchNorm3d(width)
        if adapter:
            self.adapter = nn.Linear(width, width)
        self.register_buffer('scale', torch.ones(1), persistent=False)
        refuse_partial_load(self)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(self.conv(x)).mean(dim=(3, 4)).transpose(1, 2)
        x = x * self.scale
        return self.adapter(x) if hasattr(self, 'adapter') else x


@MODELS.register_module()
class ToyNeck(BaseModule):
    """A neck with weights; answers ``(x, loss_aux)``."""

    def __init__(self, width: int = 4) -> None:
        super().__init__()
        self.fc = nn.Linear(width, width)
        refuse_partial_load(self)

    def forward(self, x: Tensor,
                data_samples: list | None = None) -> tuple[Tensor, dict]:
        return self.fc(x), {}


@MODELS.register_module()
class ToyHead(BaseHead):
    """Mean over time and a linear layer."""

    def __init__(self, num_classes: int = 3, in_channels: int = 4,
                 reinit_on_mismatch: bool = False, **kwargs) -> None:
        super().__init__(num_classes, in_channels, topk=(1, ), **kwargs)
        self.fc_cls = nn.Linear(in_channels, num_classes)
        refuse_partial_load(
            self, allow=('shape', ) if reinit_on_mismatch else ())

    def forward(self, x: Tensor, **kwargs) -> Tensor:
        return self.fc_cls(x.mean(dim=1))


@DATASETS.register_module()
class ToyClips(Dataset):
    """Clips of one brightness per class, with its metainfo."""

    metainfo: dict = {}

    def __init__(self, length: int = 8, num_classes: int = 3) -> None:
        self.length = length
        self.num_classes = num_classes

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> dict:
        label = index % self.num_classes
        noise = torch.Generator().manual_seed(index)
        clip = torch.randn(1, 3, 4, 2, 2, generator=noise) + label
        sample = ActionDataSample().set_gt_label(label)
        sample.set_metainfo(dict(index=index))
        return dict(inputs=clip, data_samples=sample)


def toy_config(work_dir: Path, **changes) -> Config:
    """Return a config that trains, validates and tests in a second."""
    loader = dict(batch_size=4, num_workers=0,
                  sampler=dict(type='DefaultSampler', shuffle=False),
                  dataset=dict(type='ToyClips'))
    config = Config(dict(
        default_scope='mmaction',
        custom_imports=dict(imports=['mmvidadapt', 'toy_recognizer'],
                            allow_failed_imports=False),
        model=dict(type='Recognizer3D', backbone=dict(type='ToyBackbone'),
                   cls_head=dict(type='ToyHead', average_clips='prob'),
                   data_preprocessor=dict(
                       type='ActionDataPreprocessor', mean=[0.], std=[1.],
                       format_shape='NCTHW')),
        train_dataloader=loader, val_dataloader=loader,
        test_dataloader=loader,
        train_cfg=dict(type='EpochBasedTrainLoop', max_epochs=2,
                       val_interval=1),
        val_cfg=dict(type='ValLoop'), test_cfg=dict(type='TestLoop'),
        val_evaluator=dict(type='AccMetric'),
        test_evaluator=dict(type='AccMetric'),
        optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.1, momentum=0.9)),
        param_scheduler=[dict(type='MultiStepLR', milestones=[1])],
        default_hooks=dict(checkpoint=dict(type='CheckpointHook',
                                           interval=1)),
        randomness=dict(seed=0), log_level='WARNING',
        work_dir=str(work_dir)))
    config.merge_from_dict(changes)
    return config


_runs = itertools.count()


def toy_runner(work_dir: Path, **changes) -> Runner:
    """Return a runner of the toy configuration with a name of its own."""
    config = toy_config(work_dir, **changes)
    config.experiment_name = f'toy-{next(_runs)}'
    return Runner.from_cfg(config)
