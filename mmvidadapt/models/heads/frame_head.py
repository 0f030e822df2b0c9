"""What heads over frame features share: branches, losses, labels."""

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, Dict, NamedTuple

import torch
import torch.nn.functional as F
from mmaction.models.heads import BaseHead
from mmaction.utils import SampleList
from torch import Tensor

from .checks import check_labels

_MERGED_LOSSES = ('ce', 'kl')


class Branches(NamedTuple):
    """What a neck hands to a head.

    Args:
        frames (Tensor): Frame features ``(B, T', D)``.
        temporal (Tensor | None): Temporal features that are added to them,
            ``(B, T', D)``; ``(B, E, T', D)`` of several models whose scores
            are averaged.
        merged (Tensor | None): The same of a second branch, which only
            training has.
    """

    frames: Tensor
    temporal: Tensor | None = None
    merged: Tensor | None = None


class FrameHead(BaseHead):
    """Base of heads that average frame features into one of the video.

    ::

        frames (B,T',D) --------------- + --> mean over T' --> scores (B,K)
        temporal (B,T',D), if a neck ---+
        gives it (merged: once more, for a loss of its own)

    Args:
        num_classes (int): Classes ``K``.
        in_channels (int): Channels ``D`` of the features.
        merged_loss (str): Loss of the second branch: ``'ce'``, the loss of
            the first with the same labels (MoTE, NeurIPS 2024, Eq. 8), or
            ``'kl'``, which draws its scores to those of the first (Table
            7c).
        merged_weight (float): Weight of that loss (Eq. 10).
        init_cfg (dict | None): mmengine's initialisation config.

    Raises:
        ValueError: If the loss is unknown.
    """

    def __init__(self, num_classes: int, in_channels: int,
                 merged_loss: str = 'ce', merged_weight: float = 0.5,
                 init_cfg: dict | None = None, **kwargs: Any) -> None:
        super().__init__(num_classes, in_channels, init_cfg=init_cfg,
                         **kwargs)
        if merged_loss not in _MERGED_LOSSES:
            raise ValueError(f'unknown merged_loss={merged_loss!r}: use one '
                             f'of {", ".join(map(repr, _MERGED_LOSSES))}')
        self.merged_loss = merged_loss
        self.merged_weight = merged_weight

    @abstractmethod
    def classify(self, pooled: Tensor,
                 class_features: Tensor | None = None) -> Tensor:
        """Score videos.

        Args:
            pooled (Tensor): Features of the videos ``(B, D)``, float32.
            class_features (Tensor | None): Text features of the classes
                ``(K, D)``, if the recognizer computes them.

        Returns:
            Tensor: ``(B, K)``, float32.
        """

    def pool(self, frames: Tensor, temporal: Tensor | None) -> Tensor:
        """Average frame features, and temporal features if there are any.

        Args:
            frames (Tensor): ``(B, T', D)``.
            temporal (Tensor | None): ``(B, T', D)``.

        Returns:
            Tensor: ``(B, D)``, float32.
        """
        pooled = frames.float().mean(dim=1)
        if temporal is None:
            return pooled
        return pooled + temporal.float().mean(dim=1)

    def forward(self, x: Tensor | Sequence[Tensor],
                class_features: Tensor | None = None, **_: Any) -> Tensor:
        """Score clips.

        Args:
            x (Tensor | Sequence[Tensor]): Frame features ``(B, T', D)``, or
                such features with those of one or two temporal branches, of
                which the first counts.
            class_features (Tensor | None): As for :meth:`classify`.

        Returns:
            Tensor: ``(B, K)``, float32 under any autocast.

        Raises:
            ValueError: If the features are not ``(B, T', in_channels)``.
        """
        branches = self._branches(x)
        scores = [self.classify(self.pool(branches.frames, one),
                                class_features)
                  for one in _each(branches.temporal)]
        return scores[0] if len(scores) == 1 else (
            torch.stack(scores).mean(dim=0))

    def _branches(self, x: Tensor | Sequence[Tensor]) -> Branches:
        branches = Branches(*([x] if isinstance(x, Tensor) else x))
        frames, temporal, merged = branches
        for part in (frames, *_each(temporal), merged):
            if part is not None and (
                    part.dim() != 3 or part.shape[-1] != self.in_channels
                    or part.shape != frames.shape):
                raise ValueError(
                    f'{type(self).__name__} reads frame features (B, T, '
                    f'{self.in_channels}), got {tuple(part.shape)}: set '
                    'in_channels to the width of the backbone or neck')
        return branches

    def loss(self, feats: Tensor | Sequence[Tensor],
             data_samples: SampleList,
             class_features: Tensor | None = None,
             **_: Any) -> Dict[str, Tensor]:
        """Compute the losses of all branches.

        Args:
            feats (Tensor | Sequence[Tensor]): As for :meth:`forward`.
            data_samples (SampleList): One sample per clip with ``gt_label``.
            class_features (Tensor | None): As for :meth:`classify`.

        Returns:
            dict[str, Tensor]: Losses and accuracies; those of the second
            branch end in ``_merged``.
        """
        scores = self(feats, class_features)
        losses = self.loss_by_feat(scores, data_samples)
        branches = self._branches(feats)
        if branches.merged is None:
            return losses
        merged = self.classify(
            self.pool(branches.frames, branches.merged), class_features)
        if self.merged_loss == 'kl':
            losses['loss_kl_merged'] = self.merged_weight * F.kl_div(
                merged.log_softmax(dim=-1),
                scores.detach().log_softmax(dim=-1),
                reduction='batchmean', log_target=True)
            return losses
        for name, value in self.loss_by_feat(merged, data_samples).items():
            losses[f'{name}_merged'] = value * (
                self.merged_weight if 'loss' in name else 1)
        return losses

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


def _each(temporal: Tensor | None) -> Sequence[Tensor | None]:
    """The temporal features of each model that has some."""
    if temporal is None or temporal.dim() < 4:
        return [temporal]
    return temporal.unbind(dim=1)
