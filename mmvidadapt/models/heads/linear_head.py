"""The linear classifier over averaged frame features."""

from typing import Any

from mmaction.registry import MODELS
from torch import Tensor, nn

from ..precision import no_autocast
from ..strict_loading import refuse_partial_load
from .frame_head import FrameHead


@MODELS.register_module()
class LinearHead(FrameHead):
    """Average frame features, then classify them.

    Takes the arguments of :class:`FrameHead` (``merged_loss``,
    ``merged_weight``) and of MMAction2's ``BaseHead`` as well (``loss_cls``,
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
        - Input: ``(B, T', D)``, or a tuple of them from ``MoTE``.
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

    def classify(self, pooled: Tensor,
                 class_features: Tensor | None = None) -> Tensor:
        """Score videos; see :meth:`FrameHead.classify`."""
        pooled = self.dropout(pooled)
        with no_autocast(pooled):
            return self.fc_cls(pooled.to(self.fc_cls.weight.dtype)).float()
