"""Sizes of CLIP towers by name, from open_clip's table of models."""

from dataclasses import MISSING, asdict, dataclass, fields, replace
from typing import Tuple, Type, TypeVar

import open_clip

#: Settings of open_clip's ``vision_cfg`` / ``text_cfg`` that a plain CLIP
#: transformer has; any other one changes the computation.
_PLAIN_VISION = {'image_size', 'layers', 'width', 'head_width', 'patch_size',
                 'mlp_ratio'}
_PLAIN_TEXT = {'context_length', 'vocab_size', 'width', 'heads', 'layers'}

#: The CLIP whose sizes, and whose tags of weights, a ViCLIP has.
_VICLIP = {'ViCLIP-B-16': 'ViT-B-16', 'ViCLIP-L-14': 'ViT-L-14'}
#: Tokens that ViCLIP's text towers read.
_VICLIP_CONTEXT = 32


@dataclass(frozen=True)
class VisionArch:
    """Sizes of a CLIP image tower, or of another plain ViT.

    Args:
        embed_dims (int): Token channels ``D``.
        num_layers (int): Transformer blocks.
        num_heads (int): Attention heads of each block.
        patch_size (int): Side of a patch in pixels.
        image_size (int): Side of the input frame in pixels.
        output_dims (int): Channels of the joint image-text space.
        mlp_ratio (float): Hidden channels of the MLP over ``D``.
        pre_norm (bool): Whether tokens are normalised before the first block,
            as in every CLIP. Other ViTs (MAE, DINO, DeiT) do not, and have a
            bias in the patch embedding instead.
        norm_eps (float): Added to the variance in every LayerNorm; 1e-6 in
            mmpretrain's other ViTs.
        abs_pos_emb (bool): Whether positions are added to the tokens before
            the first block; not in BEiT.
        rel_pos_bias (bool): Whether every block has a
            :class:`~mmvidadapt.models.clip.block.RelativePositionBias`, as in
            BEiT.
    """

    embed_dims: int
    num_layers: int
    num_heads: int
    patch_size: int
    image_size: int
    output_dims: int
    mlp_ratio: float = 4.0
    pre_norm: bool = True
    norm_eps: float = 1e-5
    abs_pos_emb: bool = True
    rel_pos_bias: bool = False

    @property
    def grid_size(self) -> Tuple[int, int]:
        """Patch rows and columns."""
        return (self.image_size // self.patch_size, ) * 2


@dataclass(frozen=True)
class TextArch:
    """Sizes of a CLIP text tower.

    Args:
        embed_dims (int): Token channels ``D``.
        num_layers (int): Transformer blocks.
        num_heads (int): Attention heads of each block.
        output_dims (int): Channels of the joint image-text space.
        context_length (int): Longest text in tokens.
        vocab_size (int): Rows of the token table.
        mlp_ratio (float): Hidden channels of the MLP over ``D``.
    """

    embed_dims: int
    num_layers: int
    num_heads: int
    output_dims: int
    context_length: int = 77
    vocab_size: int = 49408
    mlp_ratio: float = 4.0


Arch = TypeVar('Arch', VisionArch, TextArch)


def arch_name(arch: str | dict | VisionArch | TextArch) -> str | None:
    """The open_clip name in ``arch``, to which tags of weights belong.

    Args:
        arch (str | dict | VisionArch | TextArch): As an encoder takes it.

    Returns:
        str | None: The name, if there is one.
    """
    if isinstance(arch, str):
        return arch
    return arch.get('name') if isinstance(arch, dict) else None


def tag_owner(name: str) -> str:
    """The open_clip model whose tags of weights fit a model.

    Args:
        name (str): From :func:`arch_name`.

    Returns:
        str: The CLIP that a ViCLIP began as; any other name as it is.
    """
    return _VICLIP.get(name, name)


def _from_dict(sizes: dict, cls: Type[Arch]) -> Arch:
    known = [f.name for f in fields(cls)]
    unknown = sorted(set(sizes) - set(known))
    if unknown:
        raise ValueError(f'unknown size {unknown[0]!r} in arch: use '
                         f'{", ".join(known)}, or name')
    missing = [f.name for f in fields(cls)
               if f.default is MISSING and f.name not in sizes]
    if missing:
        raise ValueError(
            f'arch={sizes} lacks {", ".join(missing)}: give them, or an '
            "open_clip name as in dict(name='ViT-B-16', ...)")
    flags = [f.name for f in fields(cls) if f.type is bool]
    for key, value in sizes.items():
        if key in flags:
            if not isinstance(value, bool):
                raise ValueError(f'arch has {key}={value!r}: give True '
                                 'or False')
        elif not isinstance(value, (int, float)) or value <= 0:
            raise ValueError(f'arch has {key}={value!r}: give a positive '
                             'number')
    arch = cls(**sizes)
    if arch.embed_dims % arch.num_heads:
        raise ValueError(
            f'embed_dims={arch.embed_dims} is not divisible by num_heads='
            f'{arch.num_heads}: choose a multiple')
    if isinstance(arch, VisionArch) and arch.image_size % arch.patch_size:
        raise ValueError(
            f'image_size={arch.image_size} is not divisible by patch_size='
            f'{arch.patch_size}: choose a multiple')
    return arch


def open_clip_config(name: str) -> dict:
    """open_clip's configuration of a plain-ViT CLIP.

    Args:
        name (str): A model name of ``open_clip.list_models()``.

    Returns:
        dict: ``embed_dim``, ``vision_cfg``, ``text_cfg`` and options.

    Raises:
        ValueError: If the name is unknown or the model is not a plain ViT.
    """
    if name not in open_clip.list_models():
        raise ValueError(f'open_clip knows no model {name!r}: see '
                         'open_clip.list_models(), for example ViT-B-16, or '
                         f'use {" or ".join(_VICLIP)}')
    config = open_clip.get_model_config(name)
    odd = (set(config['vision_cfg']) - _PLAIN_VISION) | (
        set(config['text_cfg']) - _PLAIN_TEXT)
    if odd or not isinstance(config['vision_cfg']['layers'], int):
        detail = ', '.join(sorted(odd)) or 'a convolutional image tower'
        raise ValueError(f'{name} is not a plain ViT CLIP ({detail}): use '
                         'one such as ViT-B-32, ViT-B-16 or ViT-L-14')
    return config


def vision_arch(arch: str | dict | VisionArch) -> VisionArch:
    """Sizes of an image tower from an open_clip name or a dict of sizes.

    Args:
        arch (str | dict | VisionArch): open_clip name, ``'ViCLIP-B-16'`` or
            ``'ViCLIP-L-14'``, the fields of :class:`VisionArch`, or
            ``dict(name=..., ...)`` with a name and the fields that differ
            from it.

    Returns:
        VisionArch: The sizes.

    Raises:
        ValueError: If the name or a size is not valid.
    """
    if isinstance(arch, VisionArch):
        return arch
    if isinstance(arch, dict):
        sizes = dict(arch)
        name = sizes.pop('name', None)
        named = asdict(vision_arch(name)) if name is not None else {}
        return _from_dict({**named, **sizes}, VisionArch)
    config = open_clip_config(tag_owner(arch))
    vision = config['vision_cfg']
    return VisionArch(
        embed_dims=vision['width'],
        num_layers=vision['layers'],
        num_heads=vision['width'] // vision.get('head_width', 64),
        patch_size=vision['patch_size'],
        image_size=vision['image_size'],
        output_dims=config['embed_dim'],
        mlp_ratio=vision.get('mlp_ratio', 4.0))


def text_arch(arch: str | dict | TextArch) -> TextArch:
    """Sizes of a text tower from an open_clip name or a dict of sizes.

    Args:
        arch (str | dict | TextArch): open_clip name, ``'ViCLIP-B-16'`` or
            ``'ViCLIP-L-14'``, the fields of :class:`TextArch`, or
            ``dict(name=..., ...)`` with a name and the fields that differ
            from it.

    Returns:
        TextArch: The sizes.

    Raises:
        ValueError: If the name or a size is not valid.
    """
    if isinstance(arch, TextArch):
        return arch
    if isinstance(arch, dict):
        sizes = dict(arch)
        name = sizes.pop('name', None)
        named = asdict(text_arch(name)) if name is not None else {}
        return _from_dict({**named, **sizes}, TextArch)
    if arch in _VICLIP:
        return replace(text_arch(_VICLIP[arch]),
                       context_length=_VICLIP_CONTEXT)
    config = open_clip_config(arch)
    text = config['text_cfg']
    return TextArch(
        embed_dims=text['width'],
        num_layers=text['layers'],
        num_heads=text['heads'],
        output_dims=config['embed_dim'],
        context_length=text['context_length'],
        vocab_size=text['vocab_size'])
