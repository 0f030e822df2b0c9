"""Recognizer3D with a text tower inside, for methods that train in both.

Source: *Efficient Transfer Learning for Video-language Foundation Models*,
CVPR 2025 (MSTA), Sec. 3; no code was released.
"""

from collections.abc import Sequence
from typing import Any, Dict

import torch
import torch.nn.functional as F
from mmaction.models.recognizers import Recognizer3D
from mmaction.registry import MODELS
from mmaction.utils import OptSampleList
from torch import Tensor, nn

from ...datasets.class_lists import written_name
from ..adapters import MSTA, AdapterStack
from ..backbones.clip_vit import CLIPViT
from ..clip import CLIPTextEncoder
from ..clip.block import recompute
from ..heads import TextHead
from ..options import build_part
from ..strict_loading import refuse_partial_load
from ..text import tokenize
from ..versions import weight_versions
from .description_consistency import DescriptionConsistency


@MODELS.register_module()
class VideoTextRecognizer(Recognizer3D):
    """Compare videos with names of classes, where both towers may train.

    ::

        video --> backbone ----------------------+
                     | adapters of both towers   +--> TextHead --> scores
        names --> text tower --> (K, D) ---------+
                                    +--> consistency with descriptions

    The text tower reads the names of all classes once in each training step.
    In eval mode it runs once, until the mode is set again or weights are
    written. Views of a video, ``max_testing_views``, necks and modes are those
    of MMAction2's ``Recognizer3D``.

    Args:
        backbone (dict): A :class:`CLIPViT`.
        text_encoder (dict): Arguments of :class:`CLIPTextEncoder`.
        cls_head (dict): A :class:`TextHead` with ``text='recognizer'``; it
            names the classes and templates.
        neck (dict | None): Between backbone and head.
        adapter (dict | None): Adapter of both towers: ``dict(type='MSTA',
            layers=[...], ...)``.
        text_adapters (Sequence[dict]): Adapters of the text tower alone, as
            those of the backbone; they come before ``adapter``.
        consistency (dict | None): Arguments of
            :class:`DescriptionConsistency` beside ``classes``.
        text_batch (int | None): Texts that the text tower reads at a time;
            backward computes each batch again, so that memory does not grow
            with the classes. All at once if None.
        train_cfg (dict | None): As in MMAction2.
        test_cfg (dict | None): As in MMAction2.
        data_preprocessor (dict | None): As in MMAction2.

    Raises:
        ValueError: If parts do not fit each other.
    """

    _tokens: Tensor

    def __init__(self,
                 backbone: dict,
                 text_encoder: dict,
                 cls_head: dict,
                 neck: dict | None = None,
                 adapter: dict | None = None,
                 text_adapters: Sequence[dict] = (),
                 consistency: dict | None = None,
                 text_batch: int | None = None,
                 train_cfg: dict | None = None,
                 test_cfg: dict | None = None,
                 data_preprocessor: dict | None = None) -> None:
        super().__init__(backbone, cls_head, neck, train_cfg, test_cfg,
                         data_preprocessor)
        text_encoder = dict(text_encoder)
        if text_encoder.pop('type', None) not in (None, 'CLIPTextEncoder'):
            raise ValueError('VideoTextRecognizer runs a CLIPTextEncoder: '
                             'remove type from text_encoder')
        self.text_encoder = build_part(
            CLIPTextEncoder, text_encoder, {}, 'text_encoder')
        self._check_parts(text_batch)
        self.text_batch = text_batch
        arch = self.text_encoder.arch
        text_place: Dict[str, Any] = dict(
            embed_dims=arch.embed_dims, num_heads=arch.num_heads,
            num_layers=arch.num_layers, num_frames=1,
            grid_size=(arch.context_length, 1), kind='text')
        self.text_adapters = AdapterStack(text_adapters, **text_place)
        self._stacks: list[nn.Module] = [self.text_adapters]
        self.adapter = self._build_adapter(adapter, text_place)
        if self.adapter is not None:
            self.backbone.host(self.adapter.visual)
            self._stacks.append(self.adapter.text)
        head = self.cls_head
        texts = [template.replace('{}', written_name(name))
                 for name in head.class_names for template in head.templates]
        self.register_buffer('_tokens', tokenize(texts, arch),
                             persistent=False)
        self.consistency = None
        if consistency is not None:
            if not self.text_encoder.frozen:
                raise ValueError(
                    'consistency keeps text features near those of the frozen '
                    'text tower: set frozen=True in text_encoder')
            if 'classes' in consistency:
                raise ValueError('consistency has the classes of cls_head: '
                                 'remove classes')
            self.consistency = build_part(
                DescriptionConsistency, consistency,
                dict(classes=head.class_names), 'consistency')
        self._kept: Tensor | None = None
        self._kept_of: list[tuple[int, int]] = []
        refuse_partial_load(self)
        self.register_load_state_dict_post_hook(_forget)

    def _check_parts(self, text_batch: int | None) -> None:
        if not isinstance(self.backbone, CLIPViT):
            raise ValueError(
                'VideoTextRecognizer adapts the blocks of its backbone, and a '
                f'{type(self.backbone).__name__} has none that may be '
                'adapted: give a CLIPViT as backbone, or use a Recognizer3D '
                'whose TextHead has text=dict(...)')
        head = getattr(self, 'cls_head', None)
        if not isinstance(head, TextHead) or head.text != 'recognizer':
            raise ValueError(
                'VideoTextRecognizer computes the features of classes itself: '
                "give dict(type='TextHead', text='recognizer', ...) as "
                'cls_head')
        width = self.text_encoder.output_dims
        if head.in_channels != width:
            raise ValueError(
                f'the text tower has features of {width} channels and '
                f'in_channels of cls_head is {head.in_channels}: set it to '
                f'{width}')
        if text_batch is not None and (
                type(text_batch) is not int or text_batch < 1):
            raise ValueError(
                f'text_batch={text_batch!r} is no number of texts: give an '
                'int of 1 or more, or None for all at once')

    def _build_adapter(self, config: dict | None,
                       text_place: dict) -> MSTA | None:
        if config is None:
            return None
        if not isinstance(config, dict):
            raise ValueError("adapter is one dict(type='MSTA', ...), got "
                             f'{config!r}')
        config = dict(config)
        name = config.pop('type', None)
        if name != 'MSTA':
            raise ValueError(
                f'adapter of type {name!r} does not span both towers: use '
                "dict(type='MSTA', ...), or adapters of the backbone and "
                'text_adapters')
        return build_part(
            MSTA, config, dict(visual=self.backbone.place, text=text_place),
            'adapter')

    # -- life of the features ----------------------------------------------

    def init_weights(self) -> None:
        """Load weights, and encode the descriptions; training starts here."""
        super().init_weights()
        if self.consistency is not None:
            self.consistency.prepare(self.text_encoder)

    def train(self, mode: bool = True) -> 'VideoTextRecognizer':
        """Set the mode; features of classes are computed anew after it."""
        self._kept = None
        return super().train(mode)

    def _apply(self, *args: Any, **kwargs: Any) -> 'VideoTextRecognizer':
        self._kept = None
        return super()._apply(*args, **kwargs)

    def class_features(self) -> Tensor:
        """Text features of the classes.

        Returns:
            Tensor: ``(K, D)``, not normalised if there is one template; with
            gradient in train mode, kept for the next call in eval mode.
            Empty on meta tensors, which hold no words.
        """
        if self._tokens.is_meta:
            head = self.cls_head
            return torch.empty(len(head.class_names), head.in_channels,
                               device='meta')
        if self.training:
            return self._encode()
        # A part alone may be loaded or written to in eval mode.
        versions = weight_versions(
            self.text_encoder, self.text_adapters, self.adapter)
        if self._kept is None or self._kept_of != versions:
            with torch.no_grad():
                self._kept, self._kept_of = self._encode(), versions
        return self._kept

    def _encode(self) -> Tensor:
        batches = self._tokens.split(self.text_batch or len(self._tokens))
        if len(batches) > 1 and torch.is_grad_enabled():
            found = [recompute(self._encode_texts, (tokens, ), self._stacks)
                     for tokens in batches]
        else:
            found = [self._encode_texts(tokens) for tokens in batches]
        features = torch.cat(found)
        templates = len(self.cls_head.templates)
        if templates == 1:
            return features
        features = F.normalize(features.unflatten(0, (-1, templates)), dim=-1)
        return features.mean(dim=1)

    def _encode_texts(self, tokens: Tensor) -> Tensor:
        return self.text_encoder(tokens, stacks=self._stacks)

    # -- what Recognizer3D calls -------------------------------------------

    def extract_feat(self,
                     inputs: Tensor,
                     stage: str = 'neck',
                     data_samples: OptSampleList = None,
                     test_mode: bool = False) -> tuple:
        """Extract features of videos, and those of the classes beside them.

        Args:
            inputs (Tensor): ``(B, V, 3, T, H, W)``.
            stage (str): ``'backbone'``, ``'neck'`` or ``'head'``.
            data_samples (OptSampleList): Samples of a training step.
            test_mode (bool): Whether to test.

        Returns:
            tuple: What is asked for, and keyword arguments for the head:
            those of MMAction2 and ``class_features``.
        """
        if stage == 'backbone' and not test_mode:
            return super().extract_feat(inputs, stage, data_samples)
        x, kwargs = super().extract_feat(
            inputs, 'neck', data_samples, test_mode)
        kwargs['class_features'] = self.class_features()
        if self.training and data_samples is not None:
            kwargs['loss_aux'].update(self._consistency_loss(
                kwargs['class_features']))
        if stage == 'head' and not test_mode:
            x = self.cls_head(x, **kwargs)
        return x, kwargs

    def _consistency_loss(self, class_features: Tensor) -> Dict[str, Tensor]:
        if self.consistency is None:
            return {}
        self.consistency.prepare(self.text_encoder)
        return dict(loss_consistency=self.consistency(class_features))


def _forget(module: VideoTextRecognizer, *_: Any) -> None:
    """Drop the features of the weights before."""
    module._kept = None
