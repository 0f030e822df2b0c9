"""Features of classes from sentences that describe them.

::

    sentences -> tokens, cut to the context -> text tower
              -> mean over the sentences of a class -> (K, D)

Source: *Efficient Transfer Learning for Video-language Foundation Models*,
CVPR 2025 (MSTA), Sec. 3.3: the targets of the consistency constraint, Eq. 14.
The mean is over features that are not normalised, other than that of the
texts about a class name.
"""

import os
from collections.abc import Sequence
from dataclasses import asdict

import open_clip
import torch
from mmengine.logging import MMLogger
from open_clip.tokenizer import SimpleTokenizer
from torch import Tensor

from ..clip.arch import TextArch
from ..clip.text_encoder import CLIPTextEncoder
from ..frozen_weights import values_hash
from .cache import cache_folder, cached
from .encode import encode_texts, tokenize_truncating

#: Part of the key of the cache; raise it when the features change.
_VERSION = 1


def description_features(
        sentences: Sequence[Sequence[str]],
        encoder: CLIPTextEncoder,
        cache_dir: str | os.PathLike | None = None) -> Tensor:
    """Mean features of the sentences about each class, cached on disk.

    Sentences over the context lose their end, but for the end token; a
    warning counts them. The key of the cache holds the sentences, tokenizer,
    sizes, activation and the values of the tower, which may have come from
    anywhere. A tower with ``weights=None`` is random and nothing is cached.

    Args:
        sentences (Sequence[Sequence[str]]): At least one for each class, as
            from :func:`mmvidadapt.datasets.class_descriptions`. They are read
            as they stand, without a template.
        encoder (CLIPTextEncoder): The text tower, called without adapters.
        cache_dir (str | os.PathLike | None): As for :func:`cache_folder`.

    Returns:
        Tensor: ``(K, D)`` in float32 where the tower is, without gradient and
        not normalised.

    Raises:
        ValueError: If a class has no sentences.
        OSError: If the cache cannot be written.
    """
    tokens = _tokens(sentences, encoder.arch)

    def compute() -> Tensor:
        return _means(encode_texts(encoder, tokens), sentences)

    if encoder.weights is None:
        return compute()
    table = encoder.token_embedding.weight
    return cached(cache_folder(cache_dir), dict(
        version=_VERSION,
        descriptions=[list(texts) for texts in sentences],
        tokenizer=f'SimpleTokenizer of open_clip {open_clip.__version__}',
        arch=asdict(encoder.arch),
        act=encoder.act,
        dtype=str(table.dtype),
        values=values_hash(dict(encoder.named_parameters()))),
        compute).to(table.device)


def token_counts(texts: Sequence[str]) -> list[int]:
    """How long texts are.

    Args:
        texts (Sequence[str]): Texts.

    Returns:
        list[int]: Tokens of CLIP's tokenizer, start and end among them.
    """
    tokenizer = SimpleTokenizer()
    return [len(tokenizer.encode(text)) + 2 for text in texts]


def _tokens(sentences: Sequence[Sequence[str]], arch: TextArch) -> Tensor:
    """Tokens ``(B, L)`` of all sentences, one class after the other."""
    for place, texts in enumerate(sentences):
        if isinstance(texts, str) or not texts:
            raise ValueError(
                f'class {place} has {texts!r} in place of sentences: give a '
                'list of at least one sentence for each class')
    flat = [text for texts in sentences for text in texts]
    tokens, cut = tokenize_truncating(flat, arch)
    if cut.any():
        longest = max(token_counts(
            [text for text, was in zip(flat, cut, strict=True) if was]))
        MMLogger.get_current_instance().warning(
            f'{int(cut.sum())} of {len(flat)} descriptions are longer than '
            f'the {arch.context_length} tokens that the text tower reads '
            f'(the longest has {longest}): their ends are cut.')
    return tokens


def _means(features: Tensor, sentences: Sequence[Sequence[str]]) -> Tensor:
    """Mean ``(K, D)`` of the features ``(B, D)`` of each class."""
    parts = features.split([len(texts) for texts in sentences])
    return torch.stack([part.mean(dim=0) for part in parts])
