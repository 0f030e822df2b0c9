"""What each expert of a MoTE does by itself, and what merging makes of it."""

from collections.abc import Collection, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..models.backbones.clip_vit import CLIPViT
from ..models.clip.vision_encoder import CLIPVisionEncoder, EncoderOutput
from ..models.heads.frame_head import FrameHead
from ..models.necks.mote import MoTE
from .watching import watching

#: The model without its temporal branch.
FRAMES = 'frames alone'
#: All experts, merged as the config says.
MERGED = 'merged'
#: The same with temporal feature modulation, as the config tests it.
MODULATED = 'merged, modulated'


class AttentionMap(NamedTuple):
    """Where in a frame a video's feature finds itself.

    Args:
        place (int): Of the video among those that were looked at.
        label (int): Its class.
        frame (np.ndarray): The middle frame of its first view ``(H, W, 3)``,
            uint8, as the model sees it.
        cosines (dict[str, np.ndarray]): By part, the cosine between the
            feature of the view and every patch of that frame
            ``(rows, columns)``.
    """

    place: int
    label: int
    frame: np.ndarray
    cosines: dict[str, np.ndarray]


@dataclass
class ExpertStudy:
    """What parts of one model do with the same videos.

    Args:
        experts (list[str]): ``'merged'``, ``'expert 0'``, ``'expert 1'``, ...
        labels (list[int]): Class of each video.
        predicted (dict[str, list[int]]): By part, the class that it gives to
            each video. Parts are ``'frames alone'``, each expert,
            ``'merged'`` and, if the head modulates temporal features,
            ``'merged, modulated'``.
        video_similarity (np.ndarray): ``(1+E, 1+E)``: cosines between the
            features of a view from two experts, averaged over all views.
        temporal_similarity (np.ndarray): The same of the temporal features
            alone, without the frame features that all of them share.
        maps (list[AttentionMap]): Of the videos that were asked for.
    """

    experts: list[str]
    labels: list[int] = field(default_factory=list)
    predicted: dict[str, list[int]] = field(default_factory=dict)
    video_similarity: np.ndarray = field(default_factory=lambda: np.empty(0))
    temporal_similarity: np.ndarray = field(
        default_factory=lambda: np.empty(0))
    maps: list[AttentionMap] = field(default_factory=list)

    def accuracy(self) -> dict[str, float]:
        """Top-1 by part, as a fraction.

        Returns:
            dict[str, float]: In the order of ``predicted``.
        """
        labels = np.asarray(self.labels)
        return {part: float((np.asarray(found) == labels).mean())
                for part, found in self.predicted.items()}

    def class_accuracy(self) -> dict[int, dict[str, float]]:
        """Top-1 by class and part, as fractions.

        Returns:
            dict[int, dict[str, float]]: Of the classes that videos have.
        """
        labels = np.asarray(self.labels)
        right = {part: np.asarray(found) == labels
                 for part, found in self.predicted.items()}
        return {int(label): {part: float(hit[labels == label].mean())
                             for part, hit in right.items()}
                for label in np.unique(labels)}


def study_experts(model: nn.Module, batches: Iterable[dict],
                  mapped: Collection[int] = ()) -> ExpertStudy:
    """Run all experts on the same frame features.

    The encoder runs once for each batch, then the temporal transformer once
    for each expert. Experts and merged model are compared without temporal
    feature modulation, as in the paper. The model is left in the mode it
    was, with its experts not merged.

    Source: *MoTE: Reconciling Generalization with Specialization for
    Visual-Language to Video Knowledge Transfer*, NeurIPS 2024, Fig. 3 and 4
    (accuracies), 6 (maps: "the attention map between the temporal video
    features output by MoTE and the image patch tokens"; which similarity is
    not said, here it is the cosine) and 7 (similarities).

    Args:
        model (nn.Module): A recognizer with a ``MoTE`` neck and a head of
            ours.
        batches (Iterable[dict]): Of its test loader.
        mapped (Collection[int]): Places of the videos whose attention is
            wanted; needs a ``CLIPViT``.

    Returns:
        ExpertStudy: What came out.

    Raises:
        ValueError: If the model has no experts or another head, a video has
            not one class, views are not averaged, or maps are wanted of a
            backbone whose patches are not in the space of its features.
    """
    neck, head = getattr(model, 'neck', None), model.cls_head
    if not isinstance(neck, MoTE) or not neck.num_experts:
        raise ValueError('the model has no experts of MoTE to look into: use '
                         'one whose neck is MoTE with num_experts > 0')
    if not isinstance(head, FrameHead):
        raise ValueError(
            f'{type(head).__name__} does not take frame and temporal '
            'features: use TextHead or LinearHead')
    if mapped and not has_patches(model):
        raise ValueError(
            f'{type(model.backbone).__name__} has no patch tokens in the '
            'space of its frame features: ask for no attention maps, or use '
            'CLIPViT')
    run = _Run(model, neck, head, mapped)
    with watching(model, {}):
        try:
            for batch in batches:
                run.add(batch)
        finally:
            neck.unmerge()
    return run.finish()


def has_patches(model: nn.Module) -> bool:
    """Whether attention maps of a model can be had.

    Args:
        model (nn.Module): A recognizer.

    Returns:
        bool: Whether its frame features are those of class tokens.
    """
    return isinstance(model.backbone, CLIPViT)


class _Run:
    """Adds up over batches.

    Args:
        model (nn.Module): The recognizer, in eval mode.
        neck (MoTE): Its neck.
        head (FrameHead): Its head.
        mapped (Collection[int]): As for :func:`study_experts`.
    """

    def __init__(self, model: nn.Module, neck: MoTE, head: FrameHead,
                 mapped: Collection[int]) -> None:
        self.model, self.neck, self.head = model, neck, head
        self.mapped = mapped
        #: By expert, how the neck is merged to be that expert.
        self.weights: dict[str, Any] = {MERGED: None}
        for expert in range(neck.num_experts):
            self.weights[f'expert {expert}'] = [
                float(other == expert) for other in range(neck.num_experts)]
        self.modulates = bool(getattr(head, 'modulate', False))
        self.study = ExpertStudy(list(self.weights))
        parts = [FRAMES, *self.study.experts[1:], MERGED]
        self.study.predicted = {part: [] for part in [
            *parts, *[MODULATED] * self.modulates]}
        self.num_views = 0
        self.sums = torch.zeros(2, len(self.weights), len(self.weights))

    def add(self, batch: dict) -> None:
        """Look at the videos of a batch."""
        number = len(batch['inputs'])
        first = len(self.study.labels)
        here = [place for place in range(number)
                if first + place in self.mapped]
        samples, frames, encoded = self._encode(batch, bool(here))
        labels = [_one_class(sample.gt_label, 'a label for each of several '
                             'classes, or none: give a list with one class '
                             'for each video') for sample in samples]
        tested = self._predicted(samples)
        temporal = {}
        for name, weights in self.weights.items():
            self.neck.merge(weights)
            temporal[name] = self.neck(frames)[0][1]
        with _unmodulated(self.head):
            self._note(FRAMES, self.head.predict(frames, samples))
            for name, found in temporal.items():
                self._note(name, self.head.predict((frames, found), samples))
            videos = {name: self.head.pool(frames, found)
                      for name, found in temporal.items()}
            videos[FRAMES] = self.head.pool(frames, None)
        if self.modulates:
            self.study.predicted[MODULATED].extend(tested)
        self._compare(videos, temporal)
        self.num_views += len(frames)
        views = len(frames) // number
        for place in here:
            assert encoded is not None
            row = place * views  # its first view
            self.study.maps.append(_attention(
                self.model.backbone.encoder, encoded, row,
                batch['inputs'][place][0],
                {name: video[row] for name, video in videos.items()},
                first + place, labels[place]))
        self.study.labels.extend(labels)

    def _encode(self, batch: dict, with_tokens: bool
                ) -> tuple[list, Tensor, EncoderOutput | None]:
        """Test a batch as the model does; keep what the neck reads."""
        frames: list[Tensor] = []
        outputs: list[EncoderOutput] = []
        with ExitStack() as stack:
            stack.enter_context(watching(
                self.model, {self.neck: lambda neck, args:
                             frames.append(args[0])}, before=True))
            if with_tokens:
                stack.enter_context(watching(
                    self.model, {self.model.backbone.encoder:
                                 lambda encoder, args, out:
                                 outputs.append(out)}))
            samples = self.model.test_step(batch)
        # Several, if the config limits the views that run at once.
        encoded = EncoderOutput(
            torch.cat([out.tokens for out in outputs]), outputs[0].layout,
            []) if outputs else None
        return samples, torch.cat(frames), encoded

    def _note(self, name: str, samples: list) -> None:
        self.study.predicted[name].extend(self._predicted(samples))

    @staticmethod
    def _predicted(samples: list) -> list[int]:
        return [_one_class(sample.pred_label, 'a prediction for each view: '
                           'set model.cls_head.average_clips')
                for sample in samples]

    def _compare(self, videos: dict[str, Tensor],
                 temporal: dict[str, Tensor]) -> None:
        for kind, features in enumerate((
                [videos[name] for name in self.weights],
                [temporal[name].float().mean(dim=1)
                 for name in self.weights])):
            unit = F.normalize(torch.stack(features).float(), dim=-1)
            self.sums[kind] += torch.einsum('pnd,qnd->pq', unit, unit).cpu()

    def finish(self) -> ExpertStudy:
        """Divide sums by what was added up."""
        if not self.num_views:
            raise ValueError('there is no video to look at: give a test set '
                             'with videos')
        means = (self.sums / self.num_views).numpy()
        self.study.video_similarity, self.study.temporal_similarity = means
        return self.study


def _one_class(label: Tensor, otherwise: str) -> int:
    if label.numel() != 1 or int(label) < 0:
        raise ValueError(f'a video has {otherwise}')
    return int(label)


@contextmanager
def _unmodulated(head: nn.Module) -> Iterator[None]:
    """Add temporal features as they are."""
    before = getattr(head, 'modulate', None)
    try:
        if before is not None:
            head.modulate = False
        yield
    finally:
        if before is not None:
            head.modulate = before


def _attention(encoder: CLIPVisionEncoder, encoded: EncoderOutput, row: int,
               clip: Tensor, videos: dict[str, Tensor], place: int,
               label: int) -> AttentionMap:
    """The map of one view.

    Args:
        encoder (CLIPVisionEncoder): What encoded it.
        encoded (EncoderOutput): Tokens of all views.
        row (int): The view.
        clip (Tensor): What the view shows ``(3, T, H, W)``, from 0 to 255.
        videos (dict[str, Tensor]): By part, the feature of the view ``(D)``.
        place (int): Place of the video.
        label (int): Its class.

    Returns:
        AttentionMap: Of the middle frame.
    """
    tokens, layout = encoded.tokens, encoded.layout
    tokens = layout.split_frames(tokens)[row]  # (T', 1+N, W)
    middle = len(tokens) // 2
    patches = encoder.to_features(tokens[middle, 1:])  # (N, D)
    patches = F.normalize(patches.float(), dim=-1)
    cosines = {
        name: (patches @ F.normalize(video.float(), dim=-1)).view(
            layout.grid_size).cpu().numpy() for name, video in videos.items()}
    shown = clip[:, middle * clip.shape[1] // len(tokens)]
    frame = shown.permute(1, 2, 0).clamp(0, 255).byte().cpu().numpy()
    return AttentionMap(place, label, frame, cosines)
