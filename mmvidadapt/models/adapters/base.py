"""The adapter contract, and the stack that builds adapters from config."""

from typing import Dict, List, Sequence, Tuple, Type

import torch
from mmaction.registry import MODELS
from mmengine.model import BaseModule, ModuleDict, ModuleList
from torch import nn

from ..options import build_part

#: Insertion points of a block, in the order in which it calls them.
POINTS = ('pre_block', 'attn_proj', 'pre_mlp', 'beside_mlp', 'beside_block',
          'reader')


class Adapter(BaseModule):
    """A layer that an encoder calls at one named insertion point.

    A subclass sets :attr:`point` and defines ``forward``:

    =================  ====================================================
    ``pre_block``      ``(x, layout, block) -> (x, layout)``; the only point
                       that may change ``T``
    ``attn_proj``      ``(x, layout, block, name) -> residual or None`` for
                       ``name`` in ``'q', 'k', 'v', 'out'``
    ``pre_mlp``        ``(x, layout, block) -> residual``
    ``beside_mlp``     ``(ln_2(x), layout, block) -> residual``
    ``beside_block``   ``(block input, layout, block) -> residual``
    ``reader``         ``(block output, layout, layer, state) -> state``;
                       the first state is ``None``; one instance serves all
                       its layers
    =================  ====================================================

    Constructor arguments with these names are filled in from the place where
    the adapter sits, unless the config gives them: ``embed_dims``,
    ``num_heads``, ``num_layers``, ``num_frames`` (at that place, after
    earlier adapters merged frames), ``grid_size``, ``layer`` (or ``layers``
    for a reader).
    """

    point: str
    #: Kinds of :class:`TokenLayout` that the adapter can work on.
    kinds: Tuple[str, ...] = ('framewise', )

    def frames_after(self, num_frames: int) -> int:
        """Frames that leave this adapter when ``num_frames`` enter it."""
        return num_frames


def adapter_class(name: str | type) -> Type[nn.Module]:
    """The adapter of a config entry.

    Args:
        name (str | type): ``type`` of the entry.

    Returns:
        Type[nn.Module]: The class.

    Raises:
        ValueError: If it is no adapter, or its insertion point is unknown.
    """
    cls = MODELS.get(name) if isinstance(name, str) else name
    point = getattr(cls, 'point', None)
    if hasattr(cls, 'instead'):
        raise ValueError(f'{name} does not sit in one tower: use '
                         f'{cls.instead}')
    if cls is None or point is None:
        known = sorted(
            key for key, value in MODELS.module_dict.items()
            if getattr(value, 'point', None) in POINTS)
        raise ValueError(f'unknown adapter {name!r}: use one of '
                         f'{", ".join(known)}, or register a class with an '
                         'insertion point')
    if point not in POINTS:
        raise ValueError(f'{name} asks for the unknown insertion point '
                         f'{point!r}: use one of {", ".join(POINTS)}')
    return cls


def _for(kind: str) -> List[str]:
    """Our adapters that work on a kind of layout."""
    return sorted(
        key for key, value in MODELS.module_dict.items()
        if kind in getattr(value, 'kinds', ())
        and value.__module__.startswith(f'{__package__}.'))


def check_layers(name: str, layers: object, num_layers: int) -> List[int]:
    """Blocks that a config names.

    Args:
        name (str): Whose they are, for messages.
        layers (object): What the config has.
        num_layers (int): Blocks of the encoder.

    Returns:
        List[int]: The blocks, in the order of the config.

    Raises:
        ValueError: If it is no list of 0-based blocks, each named once.
    """
    if not isinstance(layers, (list, tuple, range)) or not layers:
        raise ValueError(f'{name} needs layers=[...], a list of 0-based block '
                         f'indices, got {layers!r}')
    layers = list(layers)
    for layer in layers:
        if type(layer) is not int:
            raise ValueError(f'{name} at layers={layers}: {layer!r} is no '
                             'whole number: use 0-based indices')
        if not 0 <= layer < num_layers:
            raise ValueError(
                f'{name} at layers={layers}: {layer!r} is outside the blocks '
                f'0 to {num_layers - 1} of this encoder (an adapter after the '
                'last block has no block to serve); use 0-based indices')
    if len(set(layers)) != len(layers):
        raise ValueError(f'{name} has a repeated index in layers={layers}: '
                         'name each block once, or add a second entry')
    return layers


class AdapterStack(ModuleList):
    """Adapters built from config, found again by layer and point.

    Entry ``i`` of the config becomes ``self[i]``: a reader, or a
    ``ModuleDict`` with one adapter for each of its layers.

    Args:
        configs (Sequence[dict]): ``dict(type=..., layers=[...], ...)`` each;
            their order is the call order at a point they share.
        embed_dims (int): Token channels of the encoder.
        num_heads (int): Its attention heads.
        num_layers (int): Its blocks.
        num_frames (int): Frames that enter it.
        grid_size (Tuple[int, int]): Its patch grid.
        kind (str): Its token layout.

    Raises:
        ValueError: If an adapter, option, point or index is not known, or
            the adapter does not work on this kind of layout.
    """

    def __init__(self, configs: Sequence[dict], embed_dims: int,
                 num_heads: int, num_layers: int, num_frames: int,
                 grid_size: Tuple[int, int], kind: str = 'framewise') -> None:
        place = dict(embed_dims=embed_dims, num_heads=num_heads,
                     num_layers=num_layers, grid_size=tuple(grid_size))
        if isinstance(configs, dict) or not all(
                isinstance(config, dict) for config in configs):
            raise ValueError('adapters is a list of dict(type=..., '
                             f'layers=[...], ...), got {configs!r}')
        entries = []
        for config in configs:
            config = dict(config)
            name = config.pop('type', None)
            cls = adapter_class(name)
            layers = check_layers(name, config.pop('layers', None),
                                  num_layers)
            if kind not in cls.kinds:
                raise ValueError(
                    f'{name} works on {" and ".join(cls.kinds)} tokens, not '
                    f'on a {kind} encoder: use {" or ".join(_for(kind))}, or '
                    'another encoder')
            entries.append((cls, config, layers))
        built: List[Dict[int, nn.Module]] = [{} for _ in entries]
        self.num_frames = [num_frames]
        # Layer by layer, so that each adapter learns the frames it will see.
        for layer in range(num_layers):
            order = sorted(  # stable: list order within a point
                (POINTS.index(cls.point), i)
                for i, (cls, _, layers) in enumerate(entries)
                if layer in layers)
            for _, i in order:
                cls, config, layers = entries[i]
                if cls.point == 'reader':
                    if built[i]:
                        continue
                    here = dict(place, layers=layers)
                else:
                    here = dict(place, layer=layer, num_frames=num_frames)
                adapter = build_part(
                    cls, config, here, 'its entry in adapters')
                built[i][layer] = adapter
                if cls.point == 'pre_block':
                    num_frames = adapter.frames_after(num_frames)
            self.num_frames.append(num_frames)
        super().__init__(
            next(iter(found.values())) if cls.point == 'reader' else
            ModuleDict({str(k): v for k, v in found.items()})
            for (cls, _, _), found in zip(entries, built, strict=True))
        self._entries = [(cls.point, tuple(layers))
                         for cls, _, layers in entries]

    def at(self, layer: int) -> Dict[str, List[nn.Module]]:
        """The adapters of one block.

        Args:
            layer (int): Block index.

        Returns:
            dict[str, list[nn.Module]]: Adapters by point, in call order.
        """
        found: Dict[str, List[nn.Module]] = {}
        for entry, (point, layers) in zip(self, self._entries, strict=True):
            if layer in layers:
                found.setdefault(point, []).append(
                    entry if point == 'reader' else entry[str(layer)])
        return found

    @property
    def readers(self) -> List[nn.Module]:
        """The readers, in config order."""
        return [entry for entry, (point, _) in zip(
            self, self._entries, strict=True) if point == 'reader']

    @property
    def first_trained_layer(self) -> int:
        """First block whose output needs a gradient inside a frozen encoder.

        Readers do not count: the encoder gets no gradient from them. An
        encoder with nothing to train has no such block.
        """
        trained = [
            layer for entry, (point, layers) in zip(
                self, self._entries, strict=True)
            if point != 'reader' for layer in layers
            if any(p.requires_grad for p in entry[str(layer)].parameters())
        ]
        return min(trained, default=torch.iinfo(torch.int64).max)
