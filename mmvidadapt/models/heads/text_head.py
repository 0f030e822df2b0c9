"""Classes as texts: cosine with text features, and their modulation.

Source: *MoTE: Reconciling Generalization with Specialization for
Visual-Language to Video Knowledge Transfer*, NeurIPS 2024, Sec. 3.1 and 3.4;
averages of views as in the authors' test programs. The score is CLIP's.
"""

import math
from collections.abc import Sequence
from numbers import Real
from typing import Any, Dict

import torch
import torch.nn.functional as F
from mmaction.registry import MODELS
from mmaction.utils import SampleList
from torch import Tensor, nn

from ...datasets.class_lists import class_names
from ..clip.arch import text_arch
from ..precision import no_autocast
from ..strict_loading import refuse_partial_load
from ..text import encode_classes, prompt_templates
from .frame_head import FrameHead

_TEXT_OPTIONS = ('arch', 'act', 'weights', 'cache_dir')
_AVERAGES = ('score', 'prob', 'mote_closed_set', 'mote_zero_shot', None)
_TUNED = 'finetune_features'
#: Two machines round the features of one class in different ways.
_SAME = 1e-5


@MODELS.register_module()
class TextHead(FrameHead):
    """Compare videos with the names of classes.

    ::

        frames, temporal --> z = e + rho t --> L2 norm --+
        names, templates --> text tower -----> L2 norm --+--> scale * cosine

    ``rho`` is 1 in training. In evaluation it tells how near the classes
    that the video may have are to those of the fine-tuning (temporal feature
    modulation), and it is 1 where both are the same.

    The features of ``classes`` are not in checkpoints, those of the
    fine-tuning classes are (``finetune_features``; training sets them): one
    checkpoint is tested on any list of classes. The text tower runs once,
    when training starts or at the first prediction, and is no part of the
    model. Takes the arguments of :class:`FrameHead` and of MMAction2's
    ``BaseHead`` as well, without ``num_classes``.

    Args:
        in_channels (int): Channels ``D`` of the frame features.
        classes (str | Sequence[str]): Names of the ``K`` classes in the
            order of their labels, as
            :func:`~mmvidadapt.datasets.class_lists.class_names` takes them:
            ``'k400'``, a file, a list of names.
        templates (str | Sequence[str]): As :func:`prompt_templates` takes
            them: ``'mote'``, a file, a list of sentences.
        text (dict | str | None): The text tower: ``arch``, ``act`` and
            ``weights`` as for :class:`CLIPTextEncoder`; ``cache_dir`` as for
            :func:`cache_folder`. ``'recognizer'`` if the recognizer trains a
            text tower and hands over the features, as
            :class:`VideoTextRecognizer` does.
        features (Tensor | Sequence | None): Text features of the classes
            ``(K, D')``, in place of ``text`` and ``templates``.
        projection (bool): Map features of another width than the text's to
            it by a linear layer that trains.
        scale (float): What cosines are multiplied by before training;
            CLIP's published models all have 100.
        train_scale (bool): Train it (its logarithm, ``logit_scale``).
        modulate (bool): Modulate temporal features in evaluation.
        modulation_k (int): Nearest classes ``K`` that are compared.
        modulation_gamma (float): Scale ``gamma`` of their distance.
        average_clips (str | None): How views are averaged: ``'score'``,
            ``'prob'``, ``'mote_closed_set'`` (cosine, softmax, mean,
            softmax) or ``'mote_zero_shot'`` (100 cosine, mean, softmax); not
            at all if None.
        init_cfg (dict | None): mmengine's initialisation config.

    Shapes:
        - Input: ``(B, T', D)``, or a tuple of them from ``MoTE``.
        - Output: ``(B, K)`` scores in float32.

    Raises:
        ValueError: If an option makes no sense, or the classes do not.
    """

    class_features: Tensor
    finetune_features: Tensor
    #: Facts about the data: of two lists of classes there is no average.
    not_averaged = (_TUNED, )

    def __init__(self,
                 in_channels: int,
                 classes: str | Sequence[str],
                 templates: str | Sequence[str] = 'mote',
                 text: dict | str | None = None,
                 features: Tensor | Sequence | None = None,
                 projection: bool = False,
                 scale: float = 100.,
                 train_scale: bool = True,
                 modulate: bool = True,
                 modulation_k: int = 5,
                 modulation_gamma: float = 0.05,
                 average_clips: str | None = None,
                 init_cfg: dict | None = None,
                 **kwargs: Any) -> None:
        self._check_options(text, features, scale, modulate, modulation_k,
                            modulation_gamma, average_clips)
        names = class_names(classes)
        super().__init__(len(names), in_channels, init_cfg=init_cfg,
                         average_clips=average_clips, **kwargs)
        self.class_names = names
        self.templates = prompt_templates(templates)
        self.text = text
        self.modulate = modulate
        self.modulation_k = modulation_k
        self.modulation_gamma = modulation_gamma
        if modulate:
            self._check_enough(len(names), 'classes')
        if text == 'recognizer':
            ready = torch.empty(0, in_channels)
        elif isinstance(text, dict):
            ready = torch.empty(
                len(names), text_arch(text['arch']).output_dims)
        else:
            ready = _given_features(features, len(names))
        width = ready.shape[1]
        if in_channels != width and not projection:
            raise ValueError(
                f'the features of frames have {in_channels} channels and '
                f'those of texts {width}: let the encoder project (project='
                'True), or set projection=True')
        #: Whether the features of the classes are known.
        self._encoded = not isinstance(text, dict)
        #: Whether the fine-tuning classes are these; None if not compared.
        self._own_classes: bool | None = None
        self.register_buffer('class_features', ready, persistent=False)
        # Nothing to keep where the features are computed from weights.
        self.register_buffer(_TUNED, torch.zeros_like(ready),
                             persistent=text != 'recognizer')
        self.projection = nn.Linear(
            in_channels, width, bias=False) if projection else None
        self.logit_scale = nn.Parameter(
            torch.tensor(math.log(scale)), requires_grad=train_scale)
        self.register_load_state_dict_pre_hook(_fit_finetune_features)
        refuse_partial_load(self)

    @staticmethod
    def _check_options(text: dict | str | None, features: Any, scale: float,
                       modulate: bool, modulation_k: int,
                       modulation_gamma: float,
                       average_clips: str | None) -> None:
        if (text is None) == (features is None):
            raise ValueError(
                'TextHead needs the text tower, as in text=dict(arch='
                "'ViT-B-16', act='quick_gelu', weights='openai'), or the "
                'features of the classes: give one of them')
        if isinstance(text, str):
            if text != 'recognizer':
                raise ValueError(f'unknown text={text!r}: give the text tower '
                                 "as a dict, or 'recognizer'")
            if modulate:
                raise ValueError(
                    'temporal feature modulation compares fixed text '
                    "features, and text='recognizer' trains them: set "
                    'modulate=False')
        elif text is not None:
            for option in text:
                if option not in _TEXT_OPTIONS:
                    raise ValueError(f'unknown option {option!r} of text: use '
                                     f'{", ".join(_TEXT_OPTIONS)}')
            for option in ('arch', 'act'):
                if option not in text:
                    raise ValueError(
                        f'text lacks {option}: state it as for the image '
                        "tower, as in dict(arch='ViT-B-16', act='quick_gelu'"
                        ')')
        for option, value in (('scale', scale),
                              ('modulation_gamma', modulation_gamma)):
            if (not isinstance(value, Real) or isinstance(value, bool)
                    or not value > 0):
                raise ValueError(f'{option}={value!r} is not positive: give '
                                 'a number above 0')
        if type(modulation_k) is not int or modulation_k < 1:
            raise ValueError(f'modulation_k={modulation_k!r} is no number of '
                             'classes: give an int of 1 or more')
        if average_clips not in _AVERAGES:
            raise ValueError(
                f'unknown average_clips={average_clips!r}: use one of '
                f'{", ".join(map(repr, _AVERAGES))}')

    def _check_enough(self, number: int, what: str) -> None:
        if number < self.modulation_k:
            raise ValueError(
                f'temporal feature modulation compares the {self.modulation_k}'
                f' nearest classes and there are {number} {what}: set '
                f'modulation_k to {number} or less, or modulate=False')

    # -- class features ----------------------------------------------------

    def init_weights(self) -> None:
        """Encode the classes as well; training starts here."""
        super().init_weights()
        self._encode()

    def _encode(self) -> None:
        """Encode the classes, once; nothing on meta tensors."""
        if self._encoded or self.class_features.is_meta:
            return
        assert isinstance(self.text, dict)
        self.class_features.copy_(encode_classes(
            self.class_names, self.templates,
            device=self.class_features.device, **self.text))
        self._encoded = True

    @torch.no_grad()
    def _compare_classes(self) -> bool:
        """Whether the fine-tuning classes are these, looked at once."""
        if self.class_features.is_meta:
            return False
        if self._own_classes is None:
            own, tuned = self.class_features, self.finetune_features
            if not tuned.any():  # of a model that nothing was trained on
                self._tune_to_own()
            else:
                self._own_classes = own.shape == tuned.shape and bool(
                    torch.allclose(own, tuned, rtol=0, atol=_SAME))
        return bool(self._own_classes)

    def _tune_to_own(self) -> None:
        own, tuned = self.class_features, self.finetune_features
        if own.shape == tuned.shape:
            tuned.copy_(own)
        else:
            self.finetune_features = own.clone()
        self._own_classes = True

    # -- scores ------------------------------------------------------------

    def pool(self, frames: Tensor, temporal: Tensor | None) -> Tensor:
        """Average features; in evaluation, modulate temporal ones.

        Args:
            frames (Tensor): ``(B, T', D)``.
            temporal (Tensor | None): ``(B, T', D)``.

        Returns:
            Tensor: ``(B, D)``, float32.
        """
        if temporal is None or self.training or not self.modulate:
            return super().pool(frames, temporal)
        self._encode()
        pooled = frames.float().mean(dim=1)
        temporal = temporal.float().mean(dim=1)
        if self._compare_classes():
            return pooled + temporal
        return pooled + self.association(pooled)[:, None] * temporal

    def association(self, pooled: Tensor) -> Tensor:
        """How near test and fine-tuning classes are around a video.

        Args:
            pooled (Tensor): Averaged frame features ``(B, D)``.

        Returns:
            Tensor: ``rho`` of each video ``(B, )``, at most about 1.
        """
        with no_autocast(pooled):
            video = self._among_texts(pooled)
            near_test, near_tuned = (
                texts[(video @ texts.T).topk(self.modulation_k).indices]
                for texts in (self.class_features.float(),
                              self.finetune_features.float()))
            cosines = near_test @ near_tuned.mT  # (B, K, K)
            nearness = cosines.amax(dim=-1).mean(dim=-1)  # M of Eq. 11
            return torch.exp(-(1 - nearness) / self.modulation_gamma)

    def classify(self, pooled: Tensor,
                 class_features: Tensor | None = None) -> Tensor:
        """Score videos.

        Args:
            pooled (Tensor): Features of the videos ``(B, D)``.
            class_features (Tensor | None): Text features ``(K, D')`` with
                ``text='recognizer'``, of any norm.

        Returns:
            Tensor: Cosines times the scale ``(B, K)``, float32.

        Raises:
            ValueError: If such features lack.
        """
        self._encode()
        with no_autocast(pooled):
            if self.text != 'recognizer':
                class_features = self.class_features.float()
            elif class_features is None:
                raise ValueError(
                    "TextHead has text='recognizer' and got no features of "
                    'classes: use it in a VideoTextRecognizer, or give text '
                    'as a dict')
            else:
                class_features = F.normalize(class_features.float(), dim=-1)
            cosines = self._among_texts(pooled) @ class_features.T
            return self.logit_scale.float().exp() * cosines

    def _among_texts(self, pooled: Tensor) -> Tensor:
        """Features of videos in the space of the texts, of unit norm."""
        if self.projection is not None:
            pooled = self.projection(
                pooled.to(self.projection.weight.dtype)).float()
        return F.normalize(pooled, dim=-1)

    def loss(self, feats: Tensor | Sequence[Tensor],
             data_samples: SampleList,
             class_features: Tensor | None = None,
             **_: Any) -> Dict[str, Tensor]:
        """Compute the losses; see :meth:`FrameHead.loss`."""
        losses = super().loss(feats, data_samples, class_features)
        # A checkpoint that fine-tuning started from had other classes.
        if self.training and not self._own_classes and (
                not self.class_features.is_meta):
            self._tune_to_own()
        return losses

    def average_clip(self, cls_scores: Tensor, num_segs: int = 1) -> Tensor:
        """Average the views of each video.

        Args:
            cls_scores (Tensor): ``(B*V, K)``, as from :meth:`forward`.
            num_segs (int): Views ``V``.

        Returns:
            Tensor: ``(B, K)``; ``(B, V, K)`` if ``average_clips`` is None.
        """
        if self.average_clips not in ('mote_closed_set', 'mote_zero_shot'):
            return super().average_clip(cls_scores, num_segs)
        cosines = (cls_scores / self.logit_scale.exp()).unflatten(
            0, (-1, num_segs))  # (B, V, K)
        if self.average_clips == 'mote_zero_shot':
            return (100 * cosines).mean(dim=1).softmax(dim=-1)
        return cosines.softmax(dim=-1).mean(dim=1).softmax(dim=-1)


def _given_features(features: Any, number: int) -> Tensor:
    """Text features from outside, of unit norm."""
    given = torch.as_tensor(features, dtype=torch.float32)
    if given.dim() != 2 or len(given) != number:
        raise ValueError(
            f'features of shape {tuple(given.shape)} are not those of '
            f'{number} classes: give one row for each class')
    return F.normalize(given, dim=-1)


def _fit_finetune_features(module: TextHead, state_dict: dict, prefix: str,
                           *_: Any) -> None:
    """Take as many fine-tuning classes as the file has."""
    theirs = state_dict.get(prefix + _TUNED)
    module._own_classes = None
    own = module.finetune_features
    if theirs is None or theirs.dim() != 2 or (
            theirs.shape[1] != own.shape[1]):
        return  # torch says what is wrong
    if module.modulate:
        module._check_enough(len(theirs), 'fine-tuning classes')
    if len(theirs) != len(own):
        module.finetune_features = own.new_zeros(theirs.shape)
