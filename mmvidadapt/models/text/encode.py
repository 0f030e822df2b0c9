"""Features of classes from CLIP's frozen text tower.

::

    name, templates -> texts -> tokens -> text tower -> L2 norm of each
                    -> mean over the templates -> L2 norm -> (K, D)

Source: *Learning Transferable Visual Models From Natural Language
Supervision*, ICML 2021 (CLIP), Sec. 3.1.4, whose ensemble is over features,
not over scores.
"""

import os
import time
from collections.abc import Sequence
from dataclasses import asdict
from functools import cache, partial

import open_clip
import torch
import torch.nn.functional as F
from mmengine.logging import MMLogger
from open_clip.tokenizer import SimpleTokenizer
from torch import Tensor

from ...datasets.class_lists import written_name
from ..clip.arch import TextArch, arch_name, text_arch
from ..clip.text_encoder import CLIPTextEncoder
from ..clip.weights import weights_identity
from ..precision import no_autocast
from .cache import cache_folder, cached

#: Texts that the tower reads at once.
_BATCH_SIZE = 256
#: Part of the key of the cache; raise it when the features change.
_VERSION = 1


def encode_classes(names: Sequence[str],
                   templates: Sequence[str],
                   *,
                   arch: str | dict | TextArch,
                   act: str,
                   weights: str | None = None,
                   cache_dir: str | os.PathLike | None = None,
                   device: str | torch.device = 'cpu') -> Tensor:
    """Text features of classes, from the cache if they are there.

    The key of the cache holds the names, templates, tokenizer, sizes,
    activation and weights. A tag of open_clip stands for its weights; a file
    is known by path, size and time of change, so that nothing large is read
    on a warm start.

    Args:
        names (Sequence[str]): Names of the classes.
        templates (Sequence[str]): Sentences with ``{}`` for the name.
        arch (str | dict | TextArch): As for :class:`CLIPTextEncoder`.
        act (str): As for :class:`CLIPTextEncoder`.
        weights (str | None): As for :class:`CLIPTextEncoder`. Without any,
            the features are those of a random tower, the same in every
            process, and are not cached.
        cache_dir (str | os.PathLike | None): As for :func:`cache_folder`.
        device (str | torch.device): Where the tower runs.

    Returns:
        Tensor: ``(K, D)`` in float32, of unit norm.

    Raises:
        ValueError: If a text is longer than the context.
        FileNotFoundError: If the weights are not found.
    """
    compute = partial(_encode, names, templates, arch, act, weights,
                      torch.device(device))
    if weights is None:
        MMLogger.get_current_instance().warning(
            'The text tower has weights=None, so its class features are '
            'random: set weights in text to those of the image tower.')
        return compute()
    return cached(cache_folder(cache_dir), dict(
        version=_VERSION,
        names=[written_name(name) for name in names],
        templates=list(templates),
        tokenizer=f'SimpleTokenizer of open_clip {open_clip.__version__}',
        arch=asdict(text_arch(arch)),
        act=act,
        weights=weights_identity(weights, arch_name(arch))), compute)


def _encode(names: Sequence[str], templates: Sequence[str],
            arch: str | dict | TextArch, act: str, weights: str | None,
            device: torch.device) -> Tensor:
    """Build the tower, encode and forget it."""
    logger = MMLogger.get_current_instance()
    logger.info(f'Encoding {len(names)} classes x {len(templates)} templates '
                f'with the text tower on {device}.')
    start = time.perf_counter()
    texts = [template.replace('{}', written_name(name))
             for name in names for template in templates]
    # Evaluation draws nothing: the generator is as it was before.
    with torch.random.fork_rng(devices=[]):
        # Not torch.manual_seed, which would also reset the accelerators.
        torch.default_generator.manual_seed(0)
        encoder = CLIPTextEncoder(arch, act, weights, frozen=True)
    tokens = tokenize(texts, encoder.arch)
    if weights is not None:
        encoder.frozen_weights.load()
    features = encode_texts(encoder.to(device).eval(), tokens)
    features = F.normalize(features.unflatten(0, (len(names), -1)), dim=-1)
    features = F.normalize(features.mean(dim=1), dim=-1)  # (K, D)
    logger.info(f'Encoded {len(texts)} texts in '
                f'{time.perf_counter() - start:.1f} s.')
    return features


def tokenize(texts: Sequence[str], arch: TextArch) -> Tensor:
    """Tokens of CLIP's tokenizer, which would cut long texts in silence.

    Args:
        texts (Sequence[str]): Texts.
        arch (TextArch): Context and vocabulary of the text tower.

    Returns:
        Tensor: ``(B, context_length)``, padded with zeros.

    Raises:
        ValueError: If a text is longer than the context, or the vocabulary
            smaller than the tokenizer's.
    """
    tokens, cut = tokenize_truncating(texts, arch)
    if cut.any():
        text = texts[int(cut.nonzero()[0])]
        raise ValueError(
            f'the text {text!r} has {len(_tokenizer().encode(text)) + 2} '
            f'tokens and the text tower reads {arch.context_length}: shorten '
            'the name of the class or the template')
    return tokens


def tokenize_truncating(texts: Sequence[str],
                        arch: TextArch) -> tuple[Tensor, Tensor]:
    """Tokens of CLIP's tokenizer, where texts may be long.

    Args:
        texts (Sequence[str]): Texts.
        arch (TextArch): Context and vocabulary of the text tower.

    Returns:
        tuple[Tensor, Tensor]: Tokens ``(B, context_length)``, padded with
        zeros; and which texts were cut, ``(B, )`` booleans. A text that was
        cut ends in the end token as well.

    Raises:
        ValueError: If the vocabulary is smaller than the tokenizer's.
    """
    tokenizer = _tokenizer()
    if arch.vocab_size < tokenizer.vocab_size:
        raise ValueError(
            f"the text tower knows {arch.vocab_size} tokens and CLIP's "
            f'tokenizer has {tokenizer.vocab_size}: set vocab_size='
            f'{tokenizer.vocab_size} in arch of text')
    context = arch.context_length
    with torch.device('cpu'):  # a model may be built on meta tensors
        tokens = tokenizer(list(texts), context_length=context + 1)
    cut = tokens[:, context] != 0
    tokens = tokens[:, :context]
    tokens[cut, -1] = tokenizer.eot_token_id
    return tokens, cut


@cache
def _tokenizer() -> SimpleTokenizer:
    return SimpleTokenizer()


def encode_texts(encoder: CLIPTextEncoder, tokens: Tensor) -> Tensor:
    """Features of many texts, in batches of like length, in float32.

    Args:
        encoder (CLIPTextEncoder): The text tower.
        tokens (Tensor): ``(B, L)``; the tower computes as many as the
            longest text of a batch has.

    Returns:
        Tensor: ``(B, D)``, without gradient and not normalised, in the order
        of the texts.
    """
    device = encoder.token_embedding.weight.device
    order = tokens.argmax(dim=1).argsort(stable=True)  # by place of the end
    features = tokens.new_empty(
        (len(tokens), encoder.output_dims), dtype=torch.float32,
        device=device)
    with torch.no_grad(), no_autocast(features):
        for rows in order.split(_BATCH_SIZE):
            features[rows.to(device)] = encoder(tokens[rows].to(device))
    return features
