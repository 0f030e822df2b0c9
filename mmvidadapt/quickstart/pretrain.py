"""Pretraining of a small CLIP on still pictures with captions.

Source: *Learning Transferable Visual Models From Natural Language
Supervision*, ICML 2021 (CLIP), Sec. 2.3: a picture and its caption are drawn
together, other captions of the batch are pushed away. With few distinct
captions most batches repeat some, and a repeated caption is right for every
picture that it describes, so each caption stands in a batch once.
"""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Callable, Dict, List, NamedTuple, Tuple

import numpy as np
import torch
import torch.nn.functional as F
from open_clip.tokenizer import SimpleTokenizer
from torch import Tensor

from ..files import whole_file
from ..models.clip import CLIPTextEncoder, CLIPVisionEncoder
from . import scenes, synthetic

#: The towers of the quickstart; configs/quickstart states the same image
#: tower, and loading its weights strictly keeps both in step.
VISION = dict(embed_dims=64, num_layers=4, num_heads=4, patch_size=8,
              image_size=48, output_dims=64)
TEXT = dict(embed_dims=64, num_layers=2, num_heads=4, output_dims=64)
ACT = 'quick_gelu'
#: Side of a picture before it is cropped to the tower's size.
PICTURE_SIZE = 52
#: Mean and standard deviation of the pixels, as in configs/quickstart.
MEAN, STD = 127.5, 60.
#: Around a caption in training, and a name of a class in configs/quickstart.
TEMPLATES = ('{}.', 'a photo of {}.', 'a picture of {}.')
_MAX_LOGIT_SCALE = math.log(100)  # CLIP, Sec. 2.5


@dataclass(frozen=True)
class PretrainSettings:
    """Budget of the pretraining.

    Args:
        seed (int): Everything random comes from it.
        pictures (int): Pictures with captions to learn from.
        steps (int): Optimiser steps.
        batch_size (int): Pictures of a step.
        lr (float): Largest learning rate.
        weight_decay (float): AdamW's, on weight matrices.
    """

    seed: int = 0
    pictures: int = 4096
    steps: int = 400
    batch_size: int = 64
    lr: float = 1e-3
    weight_decay: float = 0.05


class Report(NamedTuple):
    """What a step tells: its number from 1 and the loss."""

    step: int
    loss: float


def pretrain_key(settings: PretrainSettings) -> str:
    """Key of pretrained weights, see :func:`synthetic.fingerprint`."""
    return synthetic.fingerprint(settings, [
        Path(module) for module in (__file__, scenes.__file__,
                                    synthetic.__file__)])


def draw_pictures(count: int, seed: int) -> Tuple[Tensor, List[str]]:
    """Draw pictures with their captions.

    Args:
        count (int): How many.
        seed (int): Their seed.

    Returns:
        tuple[Tensor, list[str]]: ``(count, 3, 52, 52)`` uint8 and captions;
        52 pixels are what the video pipelines crop 48 from.
    """
    rng = np.random.default_rng((seed, count))
    drawn = [synthetic.render_still(rng, PICTURE_SIZE) for _ in range(count)]
    pictures = torch.from_numpy(np.stack([p for p, _ in drawn]))
    return pictures.permute(0, 3, 1, 2).contiguous(), [c for _, c in drawn]


def contrastive_loss(images: Tensor, texts: Tensor, owner: Tensor,
                     scale: Tensor) -> Tensor:
    """CLIP's symmetric loss where each caption stands in a batch once.

    Args:
        images (Tensor): ``(B, D)`` features of pictures.
        texts (Tensor): ``(C, D)`` features of the distinct captions.
        owner (Tensor): ``(B,)`` caption of each picture.
        scale (Tensor): Inverse temperature.

    Returns:
        Tensor: The mean of both directions; a caption of several pictures
        shares its probability among them.
    """
    logits = scale * F.normalize(images, dim=-1) @ F.normalize(
        texts, dim=-1).t()  # (B, C)
    to_text = F.cross_entropy(logits, owner)
    belongs = F.one_hot(owner, texts.shape[0]).float()  # (B, C)
    share = belongs / belongs.sum(dim=0).clamp(min=1)
    to_image = F.cross_entropy(logits.t(), share.t())
    return (to_text + to_image) / 2


class SmallCLIP(torch.nn.Module):
    """Both towers and the temperature."""

    def __init__(self) -> None:
        super().__init__()
        self.visual = CLIPVisionEncoder(VISION, ACT, project=True)
        self.text = CLIPTextEncoder(TEXT, ACT)
        self.logit_scale = torch.nn.Parameter(
            torch.tensor(math.log(1 / 0.07)))

    def encode_image(self, pictures: Tensor) -> Tensor:
        """Features ``(B, D)`` of pictures ``(B, 3, 48, 48)``, uint8."""
        pixels = (pictures.float() - MEAN) / STD
        tokens, layout, _ = self.visual(pixels, 1)
        return self.visual.class_features(tokens, layout)[:, 0]

    def openai_state_dict(self) -> Dict[str, Tensor]:
        """The weights in the layout of OpenAI's files."""
        state = {f'visual.{k}': v for k, v in
                 self.visual.state_dict().items()}
        state.update(self.text.state_dict())
        arch = self.text.arch
        state.update(
            logit_scale=self.logit_scale.detach(),
            input_resolution=torch.tensor(self.visual.arch.image_size),
            context_length=torch.tensor(arch.context_length),
            vocab_size=torch.tensor(arch.vocab_size))
        return state


def _parameter_groups(model: SmallCLIP, decay: float) -> List[dict]:
    """Weight decay on matrices only; the token table would only shrink."""
    groups: Dict[bool, List[Tensor]] = {True: [], False: []}
    for name, parameter in model.named_parameters():
        decays = parameter.dim() > 1 and 'embedding' not in name
        groups[decays].append(parameter)
    return [dict(params=groups[True], weight_decay=decay),
            dict(params=groups[False], weight_decay=0.)]


def _crop(pictures: Tensor, rng: np.random.Generator) -> Tensor:
    """A window at a random place, the same for the whole batch."""
    size = VISION['image_size']
    top, left = rng.integers(0, pictures.shape[-1] - size + 1, 2)
    return pictures[..., top:top + size, left:left + size]


@torch.no_grad()
def caption_accuracy(model: SmallCLIP, seed: int, count: int = 256) -> float:
    """How often an unseen picture is nearest to its own caption.

    Args:
        model (SmallCLIP): The model.
        seed (int): Seed of the training pictures; others are drawn.
        count (int): Pictures.

    Returns:
        float: Share of hits among all distinct captions of these pictures.
    """
    pictures, captions = draw_pictures(count, seed + 1)
    distinct = sorted(set(captions))
    tokens = SimpleTokenizer()([TEMPLATES[1].format(c) for c in distinct])
    texts = F.normalize(model.text(tokens), dim=-1)
    margin = (pictures.shape[-1] - VISION['image_size']) // 2
    images = model.encode_image(pictures[..., margin:-margin, margin:-margin])
    found = (images @ texts.t()).argmax(dim=-1).tolist()
    return float(np.mean([distinct[f] == c
                          for f, c in zip(found, captions, strict=True)]))


def pretrain(settings: PretrainSettings,
             report: Callable[[Report], None]) -> SmallCLIP:
    """Train a small CLIP on drawn pictures.

    Args:
        settings (PretrainSettings): Budget and seed.
        report (Callable[[Report], None]): Called after every step.

    Returns:
        SmallCLIP: The model, in eval mode.
    """
    rng = np.random.default_rng(settings.seed)
    pictures, captions = draw_pictures(settings.pictures, settings.seed)
    distinct = sorted(set(captions))
    caption = torch.tensor([distinct.index(c) for c in captions])
    tokenize = SimpleTokenizer()
    tokens = [tokenize([t.format(c) for c in distinct]) for t in TEMPLATES]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        model = SmallCLIP()
    optimizer = torch.optim.AdamW(
        _parameter_groups(model, settings.weight_decay), lr=settings.lr,
        betas=(0.9, 0.98))
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, settings.lr, total_steps=settings.steps + 1,
        pct_start=0.1, cycle_momentum=False)
    for step in range(settings.steps):
        chosen = torch.from_numpy(
            rng.integers(0, settings.pictures, settings.batch_size))
        present, owner = caption[chosen].unique(return_inverse=True)
        images = model.encode_image(_crop(pictures[chosen], rng))
        texts = model.text(tokens[step % len(tokens)][present])
        loss = contrastive_loss(images, texts, owner,
                                model.logit_scale.exp())
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        model.logit_scale.data.clamp_(max=_MAX_LOGIT_SCALE)
        report(Report(step + 1, loss.item()))
    return model.eval()


def save_weights(model: SmallCLIP, path: Path) -> None:
    """Write the weights in OpenAI's layout, whole or not at all.

    Args:
        model (SmallCLIP): The model.
        path (Path): File that ``weights=`` of an encoder can name.
    """
    with whole_file(path) as part:
        torch.save(model.openai_state_dict(), part)
