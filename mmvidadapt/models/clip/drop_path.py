"""Stochastic depth for tokens of clips."""

from mmcv.cnn.bricks import DropPath
from torch import Tensor

from .layout import TokenLayout


class ClipDropPath(DropPath):
    """Drop a residual for whole clips, in any layout.

    Frames of a clip are dropped together: a branch that works within frames
    and one that works across them then see the same unit, and frames that
    are equal stay equal.

    Source: *Deep Networks with Stochastic Depth*, ECCV 2016. UniFormerV2
    does not state the unit; the clip is the sample of video recognition.

    Args:
        drop_prob (float): Probability to drop, in [0, 1); survivors are
            scaled by ``1 / (1 - drop_prob)``, which keeps the mean.
    """

    def forward(self, x: Tensor, layout: TokenLayout) -> Tensor:
        """Drop in train mode.

        Args:
            x (Tensor): ``(B*T, L, D)`` in a framewise layout, else
                ``(B, L, D)``.
            layout (TokenLayout): Their layout.

        Returns:
            Tensor: The same shape; rows of a dropped clip are zero.
        """
        if not self.training or not self.drop_prob:
            return x
        if layout.kind != 'framewise':
            return super().forward(x)
        return super().forward(layout.split_frames(x)).flatten(0, 1)
