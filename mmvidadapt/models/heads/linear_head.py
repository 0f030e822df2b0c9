"""The linear classifier over averaged frame features."""

from typing import Optional

from mmaction.models.heads import BaseHead
from torch import Tensor, nn

from mmaction.registry import MODELS
from ..precision import no_autocast


@MODELS.register_module()
class LinearHead(BaseHead):
    """Average frame features, then classify them.

    Args:
        num_classes (int): Classes ``K``.
        in_channels (int): Channels ``D`` of the frame features.
        dropout (float): Dropout before the classifier.
        init_std (float): Standard deviation of the classifier's weights.
        **kwargs: Arguments of MMAction2's ``BaseHead`` (``loss_cls``,
            ``label_smooth_eps``, ``multi_class``, ``average_clips``, ...).

    Shapes:
        - Input: ``(B, T', D)``.
        - Output: ``(B, K)`` scores in float32.
    """

    def __init__(self, num_classes: int, in_channels: int,
                 dropout: float = 0., init_std: float = 0.02,
                 init_cfg: Optional[dict] = None, **kwargs) -> None:
        super().__init__(num_classes, in_channels, init_cfg=init_cfg,
                         **kwargs)
        self.dropout = nn.Dropout(dropout)
        self.fc_cls = nn.Linear(in_channels, num_classes)
        nn.init.trunc_normal_(self.fc_cls.weight, std=init_std)
        nn.init.zeros_(self.fc_cls.bias)

    def forward(self, x: Tensor, **kwargs) -> Tensor:
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
