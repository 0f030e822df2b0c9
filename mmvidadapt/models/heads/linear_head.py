"""The linear classifier over averaged frame features."""

from typing import Any, Dict

import torch
from mmaction.models.heads import BaseHead
from mmaction.registry import MODELS
from mmaction.utils import SampleList
from torch import Tensor, nn

from ..precision import no_autocast
from ..strict_loading import refuse_partial_load
from .checks import check_labels


@MODELS.register_module()
class LinearHead(BaseHead):
    """Average frame features, then classify them.

    Takes the arguments of MMAction2's ``BaseHead`` as well (``loss_cls``,
    ``label_smooth_eps``, ``multi_class``, ``average_clips``, ...).

    Args:
        num_classes (int): Classes ``K``.
        in_channels (int): Channels ``D`` of the frame features.
        dropout (float): Dropout before the classifier.
        init_std (float): Standard deviation of the classifier's weights.
        reinit_on_mismatch (bool): Start a classifier for other classes
            afresh when a checkpoint's does not fit, for fine-tuning on
            another data set; it then refuses to predict until it trained.
        init_cfg (dict | None): mmengine's initialisation config.

    Shapes:
        - Input: ``(B, T', D)``.
        - Output: ``(B, K)`` scores in float32.
    """

    def __init__(self, num_classes: int, in_channels: int,
                 dropout: float = 0., init_std: float = 0.02,
                 reinit_on_mismatch: bool = False,
                 init_cfg: dict | None = None, **kwargs: Any) -> None:
        super().__init__(num_classes, in_channels, init_cfg=init_cfg,
                         **kwargs)
        self.dropout = nn.Dropout(dropout)
        self.fc_cls = nn.Linear(in_channels, num_classes)
        nn.init.trunc_normal_(self.fc_cls.weight, std=init_std)
        nn.init.zeros_(self.fc_cls.bias)
        refuse_partial_load(
            self, allow=['shape'] if reinit_on_mismatch else [])

    def forward(self, x: Tensor, **_: Any) -> Tensor:
        """Score clips.

        Args:
            x (Tensor): Frame features ``(B, T', D)``.

        Returns:
            Tensor: ``(B, K)``, float32 under any autocast.

        Raises:
            ValueError: If the features are not ``(B, T', in_channels)``.
        """
        if x.dim() != 3 or x.shape[-1] != self.in_channels:
            raise ValueError(
                f'LinearHead reads frame features (B, T, {self.in_channels}),'
                f' got {tuple(x.shape)}: set in_channels to the width of the '
                'backbone or neck')
        pooled = self.dropout(x.float().mean(dim=1))
        with no_autocast(x):
            return self.fc_cls(pooled.to(self.fc_cls.weight.dtype)).float()

    def loss_by_feat(self, cls_scores: Tensor,
                     data_samples: SampleList) -> Dict[str, Tensor]:
        """Compute the loss of scored clips.

        Args:
            cls_scores (Tensor): ``(B, K)``.
            data_samples (SampleList): One sample per clip with ``gt_label``:
                a class number, or ``K`` values for multi-label data and
                mixed clips.

        Returns:
            dict[str, Tensor]: Loss and accuracies.

        Raises:
            ValueError: If a label is outside the classes.
        """
        labels = torch.stack([sample.gt_label for sample in data_samples])
        check_labels(labels, self.num_classes)
        return super().loss_by_feat(cls_scores, data_samples)
