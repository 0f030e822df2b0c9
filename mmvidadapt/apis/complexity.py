"""Multiply-accumulates and parameters of a model, by part.

mmengine's analyzer drops attention on torch 2, whose fused operator it does
not know. Here every aten operator that a forward pass really runs is counted,
on meta tensors, so the largest model takes seconds and no memory.
"""

import copy
from collections import defaultdict
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any, Callable, Dict, List, Sequence, Tuple

import torch
import torch.nn.functional as F
from mmaction.registry import MODELS, TRANSFORMS
from mmengine.config import Config
from mmengine.dataset import Compose
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from ..models.backbones import SideCLIPViT

#: Operations per element of a LayerNorm (the rule of fvcore, which the
#: figures of the InTI paper follow).
LAYER_NORM_OPS = 5


@dataclass
class Cost:
    """What one part of a model costs for one view of one clip.

    Args:
        macs (int): Multiply-accumulates of convolutions, linear layers and
            matrix products, plus 5 per element of each LayerNorm, without
            the attention products.
        attention_macs (int): Multiply-accumulates of the two products of
            each attention, ``Q K^T`` and ``A V``.
        params (int): Parameters.
        trained_params (int): Parameters that take a gradient.
    """

    macs: int = 0
    attention_macs: int = 0
    params: int = 0
    trained_params: int = 0

    @property
    def all_macs(self) -> int:
        """Multiply-accumulates with the attention products."""
        return self.macs + self.attention_macs

    def __add__(self, other: 'Cost') -> 'Cost':
        return Cost(self.macs + other.macs,
                    self.attention_macs + other.attention_macs,
                    self.params + other.params,
                    self.trained_params + other.trained_params)


@dataclass
class Complexity:
    """Cost of a model and of its parts.

    Args:
        parts (dict[str, Cost]): Cost by part: the backbone, or where it is a
            :class:`SideCLIPViT` the encoder and the side network apart; each
            kind of adapter, the neck, the head.
        shape (tuple[int, ...]): Input ``(1, 1, 3, T, H, W)`` of the count.
    """

    parts: Dict[str, Cost]
    shape: Tuple[int, ...] = ()

    @property
    def total(self) -> Cost:
        """Sum over the parts."""
        return sum(self.parts.values(), Cost())


@dataclass
class _Tally:
    """Counts by part while a model runs."""

    parts: Dict[str, Cost] = field(
        default_factory=lambda: defaultdict(Cost))
    stack: List[str] = field(default_factory=lambda: ['other'])

    @property
    def here(self) -> Cost:
        return self.parts[self.stack[-1]]


class _CountOps(TorchDispatchMode):
    """Count every aten operator with a known cost."""

    def __init__(self, tally: _Tally) -> None:
        super().__init__()
        self.tally = tally

    def __torch_dispatch__(self, func: Any, types: Sequence, args: Tuple = (),
                           kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        out = func(*args, **kwargs)
        packet = func._overloadpacket
        if packet is torch.ops.aten.native_layer_norm:
            self.tally.here.macs += LAYER_NORM_OPS * args[0].numel()
        elif packet in flop_registry:
            flops = flop_registry[packet](*args, **kwargs, out_val=out)
            self.tally.here.macs += flops // 2
        return out


class _CountAttention(TorchFunctionMode):
    """Count the fused attention, whose operators differ by device."""

    def __init__(self, tally: _Tally) -> None:
        super().__init__()
        self.tally = tally

    def __torch_function__(self, func: Callable, types: Sequence,
                           args: Tuple = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is not F.scaled_dot_product_attention:
            return func(*args, **kwargs)
        query, key, value = args[:3] if len(args) > 2 else (
            kwargs[name] for name in ('query', 'key', 'value'))
        pairs = query.shape[:-1].numel() * key.shape[-2]
        self.tally.here.attention_macs += pairs * (
            query.shape[-1] + value.shape[-1])
        return query.new_empty(*query.shape[:-1], value.shape[-1])


def _label_parts(model: nn.Module) -> Dict[str, str]:
    """The part that each labelled module begins, by module name."""
    labels = {}
    for name, module in model.named_modules():
        if getattr(module, 'point', None) is not None:
            labels[name] = type(module).__name__
        elif isinstance(module, SideCLIPViT):
            labels.update(_label_side(name, module))
        elif name and '.' not in name and name not in labels and any(
                True for _ in module.parameters()):
            labels[name] = name
    return labels


def _label_side(name: str, backbone: SideCLIPViT) -> Dict[str, str]:
    """Tell a frozen encoder and what runs inside its pass apart.

    The encoder calls the side network block by block, so each module of the
    latter begins its part anew.
    """
    inside = set(backbone.encoder.modules())
    labels = {child: 'side network'
              for child, module in backbone.named_modules(prefix=name)
              if module not in inside}
    labels[f'{name}.encoder' if name else 'encoder'] = 'encoder'
    return labels


def _part_of(name: str, labels: Dict[str, str]) -> str:
    while name and name not in labels:
        name = name.rpartition('.')[0]
    return labels.get(name, 'other')


def count_complexity(model: nn.Module,
                     shape: Sequence[int]) -> Complexity:
    """Count a recognizer on meta tensors; the model is not changed.

    Args:
        model (nn.Module): A recognizer of MMAction2, or any module.
        shape (Sequence[int]): Shape of its input, ``(1, 1, 3, T, H, W)`` for
            a recognizer.

    Returns:
        Complexity: Costs by part; adapters by their class name.
    """
    # Without this a deep copy would keep hooks and the weights of the model.
    model = copy.deepcopy(model).to('meta').eval()
    labels = _label_parts(model)
    tally = _Tally()
    seen = set()
    for name, module in model.named_modules():
        for param in module.parameters(recurse=False):
            if id(param) not in seen:
                seen.add(id(param))
                cost = tally.parts[_part_of(name, labels)]
                cost.params += param.numel()
                cost.trained_params += param.numel() * param.requires_grad

    def enter(label: str) -> Callable:
        return lambda *_: tally.stack.append(label)

    modules = dict(model.named_modules())
    for name, label in labels.items():
        modules[name].register_forward_pre_hook(enter(label))
        modules[name].register_forward_hook(
            lambda *_: [tally.stack.pop(), None][1])
    inputs = torch.empty(tuple(shape), device='meta')
    with ExitStack() as stack:
        # With gradients on, nn.MultiheadAttention takes no fused path that
        # would hide its parts in one operator.
        stack.enter_context(torch.enable_grad())
        stack.enter_context(_CountAttention(tally))
        stack.enter_context(_CountOps(tally))
        _forward(model, inputs)
    parts = {k: v for k, v in tally.parts.items() if v != Cost()}
    return Complexity(parts, tuple(shape))


def _forward(model: nn.Module, inputs: Tensor) -> None:
    if hasattr(model, 'cls_head'):
        feats, kwargs = model.extract_feat(inputs, test_mode=True)
        model.cls_head(feats, **kwargs)
    else:
        model(inputs)


def input_shape(cfg: Config) -> Tuple[int, ...]:
    """Shape of one view that a config feeds to its recognizer.

    Args:
        cfg (Config): A config with a test pipeline.

    Returns:
        tuple[int, ...]: ``(1, 1, 3, T, H, W)``.
    """
    from ..datasets.synthetic import synthetic_dataset
    dataset = synthetic_dataset(cfg.test_dataloader.dataset, 1, 1)
    pipeline = Compose([TRANSFORMS.build(t) for t in dataset['pipeline']])
    sample = pipeline(dict(
        filename='', video_index=0, hue=0, label=0, modality='RGB',
        start_index=0))
    return (1, 1, *sample['inputs'].shape[1:])


def config_complexity(cfg: Config,
                      shape: Sequence[int] = ()) -> Complexity:
    """Count the model of a config.

    Args:
        cfg (Config): The config.
        shape (Sequence[int]): Input shape; that of the test pipeline if not
            given.

    Returns:
        Complexity: Costs by part, for one view.
    """
    model_cfg = copy.deepcopy(cfg.model)
    # Blending draws from distributions, which meta tensors do not have.
    model_cfg.pop('data_preprocessor', None)
    with torch.device('meta'):
        model = MODELS.build(model_cfg)
    return count_complexity(model, shape or input_shape(cfg))
