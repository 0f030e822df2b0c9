"""Keep trained text features near those of descriptions.

Source: *Efficient Transfer Learning for Video-language Foundation Models*,
CVPR 2025 (MSTA), Sec. 3.3, Eq. (14).
"""

import os
from collections.abc import Sequence
from typing import Dict

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...datasets.descriptions import class_descriptions
from ..clip.text_encoder import CLIPTextEncoder
from ..precision import no_autocast
from ..text import description_features
from ..versions import weight_versions

_KINDS = ('spatial', 'temporal')


class DescriptionConsistency(nn.Module):
    r"""Cosine distance of class features to those of descriptions.

    .. math::
        L = \frac{1}{K} \sum_c \left[ (1 - \cos(w^c, D_s^c))
        + (1 - \cos(w^c, D_t^c)) \right]

    ``w`` are text features that train. ``D_s`` and ``D_t`` are means over the
    features of spatial and of temporal descriptions, from the frozen tower.
    All classes enter at every step. The files are read when training
    starts; a test needs none.

    Source: CVPR 2025, Eq. (14), with the mean over classes; one kind alone
    for Table 7.

    Args:
        classes (Sequence[str]): Names of the ``K`` classes.
        spatial (str | os.PathLike | None): File with descriptions of what is
            seen in a frame, see :func:`class_descriptions`.
        temporal (str | os.PathLike | None): The same for steps in time.
        file_classes (str | Sequence[str] | None): As for
            :func:`class_descriptions`.
        weight (float): ``alpha`` of Eq. (16).
        cache_dir (str | os.PathLike | None): Where their features are kept,
            as for :func:`cache_folder`.

    Raises:
        ValueError: If there is no file at all, or the weight is negative.
    """

    def __init__(self,
                 classes: Sequence[str],
                 spatial: str | os.PathLike | None = None,
                 temporal: str | os.PathLike | None = None,
                 file_classes: str | Sequence[str] | None = None,
                 weight: float = 1.0,
                 cache_dir: str | os.PathLike | None = None) -> None:
        super().__init__()
        if spatial is None and temporal is None:
            raise ValueError('consistency compares with descriptions and has '
                             'none: give spatial, temporal or both')
        if weight < 0:
            raise ValueError(f'weight={weight} of consistency is negative: '
                             'give 0 or more')
        self.classes = list(classes)
        self.files: Dict[str, str | os.PathLike] = {
            kind: file for kind, file in zip(
                _KINDS, (spatial, temporal), strict=True)
            if file is not None}
        self.file_classes = file_classes
        self.weight = weight
        self.cache_dir = cache_dir
        #: State of the tower that encoded the descriptions.
        self._encoded_of: list[tuple[int, int]] = []
        for kind in self.files:
            self.register_buffer(kind, None, persistent=False)

    def prepare(self, encoder: CLIPTextEncoder) -> None:
        """Read and encode the descriptions; nothing if this tower did.

        Args:
            encoder (CLIPTextEncoder): The frozen text tower.

        Raises:
            ValueError: If a file is no file of descriptions, or lacks a
                class.
            FileNotFoundError: If it is not there.
        """
        versions = weight_versions(encoder)
        if self._encoded_of == versions:
            return
        for kind, file in self.files.items():
            sentences = class_descriptions(
                file, self.classes, file_classes=self.file_classes)
            setattr(self, kind, description_features(
                sentences, encoder, self.cache_dir))
        self._encoded_of = versions

    def forward(self, class_features: Tensor) -> Tensor:
        """The weighted loss.

        Args:
            class_features (Tensor): ``w``, ``(K, D)``, of any norm.

        Returns:
            Tensor: A number in ``[0, 2 weight]`` for each kind of
            description, summed, in float32.
        """
        with no_autocast(class_features):
            cosines = torch.stack([
                F.cosine_similarity(
                    class_features.float(), getattr(self, kind).float(),
                    dim=-1) for kind in self.files])  # (kinds, K)
            return self.weight * (1 - cosines).sum(dim=0).mean()
