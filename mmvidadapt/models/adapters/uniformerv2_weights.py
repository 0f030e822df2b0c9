"""MMAction2's UniFormerV2 weights for an encoder with adapters.

MMAction2 keeps one ``UniFormerV2`` class; here the same network is a CLIP
encoder with the adapters :class:`LocalMHRAPreBlock`, :class:`LocalMHRA` and
:class:`GlobalUniBlock`. Only names and shapes differ: 1x1x1 convolutions are
linear layers here, and the patch embedding has no time axis.
"""

import re
from typing import Mapping, Sequence

from torch import Tensor, nn

_LOCAL = {'lmhra1': 'LocalMHRAPreBlock', 'lmhra2': 'LocalMHRA'}
_LOCAL_LAYERS = {'0': 'norm', '1': 'reduce', '2': 'temporal', '3': 'expand'}
_READER = 'GlobalUniBlock'
_READER_NAMES = {'temporal_cls_token': 'token', 'balance': 'balance',
                 'norm.weight': 'norm.weight', 'norm.bias': 'norm.bias'}

_BLOCK = re.compile(r'transformer\.resblocks\.(\d+)\.(lmhra[12])\.pos_embed'
                    r'\.([0-3])\.(\w+)')
_GLOBAL = re.compile(r'transformer\.(dpe|dec)\.(\d+)\.(.+)')
_ENCODER = re.compile(
    r'class_embedding|positional_embedding|conv1\.weight|ln_pre\.\w+|'
    r'transformer\.resblocks\.\d+\.(attn|mlp|ln_1|ln_2)\..+')


def uniformerv2_adapters(state_dict: Mapping[str, Tensor]) -> list[str]:
    """Types of the adapters that a UniFormerV2 state dict has weights for.

    Args:
        state_dict (Mapping[str, Tensor]): MMAction2's ``UniFormerV2``.

    Returns:
        list[str]: In the order in which our configs list them.
    """
    local = [ours for theirs, ours in _LOCAL.items()
             if any(f'.{theirs}.' in key for key in state_dict)]
    return local + [_READER]


def convert_uniformerv2_state_dict(
        state_dict: Mapping[str, Tensor],
        adapters: Sequence[str] | None = None) -> dict[str, Tensor]:
    """Rename and reshape UniFormerV2's weights for :class:`CLIPViT`.

    The result has a key for every key of the input, so that it loads with
    ``strict=True`` where nothing else has weights.

    Args:
        state_dict (Mapping[str, Tensor]): Of MMAction2's ``UniFormerV2``
            (no ``backbone.`` before the names).
        adapters (Sequence[str] | None): Types in the ``adapters`` list of
            the target config, which gives each its place; by default only
            those that the weights need, local modules first.

    Returns:
        dict[str, Tensor]: State dict for ``CLIPViT``.

    Raises:
        ValueError: If a weight is not one of a UniFormerV2, spans several
            frames in the patch embedding, or has no adapter to go to.
    """
    needed = uniformerv2_adapters(state_dict)
    adapters = needed if adapters is None else list(adapters)
    for name in needed:
        if adapters.count(name) != 1:
            raise ValueError(
                f'the weights fill one {name}, the config lists '
                f'{adapters.count(name)} in adapters={adapters}: list it once')
    _check_complete(state_dict)
    return {_new_name(key, adapters): _new_shape(key, value)
            for key, value in state_dict.items()}


def convert_uniformerv2_checkpoint(
        state_dict: Mapping[str, Tensor],
        adapters: Sequence[str] | None = None) -> dict[str, Tensor]:
    """Rename the weights of a whole recognizer.

    Args:
        state_dict (Mapping[str, Tensor]): Of MMAction2's ``Recognizer3D``
            with ``UniFormerV2`` and a head with one linear layer
            (``backbone.*``, ``cls_head.fc_cls.*``).
        adapters (Sequence[str] | None): See
            :func:`convert_uniformerv2_state_dict`.

    Returns:
        dict[str, Tensor]: State dict for a recognizer with ``CLIPViT`` and
        ``LinearHead``.

    Raises:
        ValueError: If a weight is of neither part, or cannot be converted.
    """
    backbone = {key[len('backbone.'):]: value
                for key, value in state_dict.items()
                if key.startswith('backbone.')}
    head = {key: value for key, value in state_dict.items()
            if key in ('cls_head.fc_cls.weight', 'cls_head.fc_cls.bias')}
    for key in state_dict:
        if key not in head and not key.startswith('backbone.'):
            raise ValueError(
                f'{key!r} belongs to no UniFormerV2 recognizer (backbone.* '
                'and cls_head.fc_cls.*): give a checkpoint of one')
    converted = convert_uniformerv2_state_dict(backbone, adapters)
    return {**{f'backbone.{k}': v for k, v in converted.items()}, **head}


def load_uniformerv2(backbone: nn.Module,
                     state_dict: Mapping[str, Tensor]) -> None:
    """Load UniFormerV2's weights into a :class:`CLIPViT`, strictly.

    Args:
        backbone (nn.Module): With the adapters that the weights belong to.
        state_dict (Mapping[str, Tensor]): Of MMAction2's ``UniFormerV2``.

    Raises:
        ValueError: If a weight cannot be converted.
        RuntimeError: If the converted weights do not fit, or leave another
            weight of the backbone unset.
    """
    types = []
    for entry in backbone.adapters:
        one = next(iter(entry.values())) if isinstance(
            entry, nn.ModuleDict) else entry
        types.append(type(one).__name__)
    backbone.load_state_dict(
        convert_uniformerv2_state_dict(state_dict, types), strict=True)


def _check_complete(state_dict: Mapping[str, Tensor]) -> None:
    """Refuse what is no UniFormerV2, or one that we cannot express."""
    missing = {'conv1.weight', 'transformer.temporal_cls_token',
               'transformer.balance'} - set(state_dict)
    if missing:
        raise ValueError(
            "these are no weights of MMAction2's UniFormerV2, "
            f'{sorted(missing)[0]} is missing: pass its state dict, without '
            '"backbone." before the names')
    kernel = state_dict['conv1.weight']
    if kernel.dim() == 5 and kernel.shape[2] != 1:
        raise ValueError(
            f'the patch embedding spans {kernel.shape[2]} frames '
            '(temporal_downsample=True), which an image encoder has no place '
            'for: use weights trained with temporal_downsample=False')


def _new_name(key: str, adapters: Sequence[str]) -> str:
    if _ENCODER.fullmatch(key):
        return f'encoder.{key}'
    found = _BLOCK.fullmatch(key)
    if found:
        layer, module, part, leaf = found.groups()
        place = adapters.index(_LOCAL[module])
        return f'adapters.{place}.{layer}.{_LOCAL_LAYERS[part]}.{leaf}'
    place = adapters.index(_READER)
    found = _GLOBAL.fullmatch(key)
    if found:
        part, index, rest = found.groups()
        rest = f'dpe.{rest}' if part == 'dpe' else re.sub(r'^mlp\.', '', rest)
        return f'adapters.{place}.blocks.{index}.{rest}'
    name = _READER_NAMES.get(key.partition('.')[2])
    if name is None:
        raise ValueError(
            f"{key!r} is no weight of MMAction2's UniFormerV2: convert only "
            'the state dict of its backbone')
    return f'adapters.{place}.{name}'


def _new_shape(key: str, value: Tensor) -> Tensor:
    """Drop the axes of length 1 that convolutions have and we do not."""
    if key == 'conv1.weight' and value.dim() == 5:
        return value.squeeze(2)  # (C, 3, 1, p, p)
    found = _BLOCK.fullmatch(key)
    if found and value.dim() == 5:
        # (C/r, 1, 3) for the depth-wise one, (out, in) for the others
        return value.flatten(2 if found.group(3) == '2' else 1)
    return value
