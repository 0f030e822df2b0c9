"""A feed-forward layer whose linear layers are experts, and their merging.

Source: *MoTE: Reconciling Generalization with Specialization for
Visual-Language to Video Knowledge Transfer*, NeurIPS 2024, Sec. 3.2, Eq. 6
and 7, Table 7a. Written from the paper and from facts about the released
program (no code of it is used).
"""

import math
import re
from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..clip.block import build_activation

#: By design, whether the first and the second linear layer are experts.
DESIGNS = dict(ffn=(True, True), both=(True, True), up=(True, False),
               down=(False, True))

#: Weight and bias of a linear layer.
Affine = tuple[Tensor, Tensor]
#: The two linear layers that a batch goes through.
Path = tuple[Affine, Affine]
#: How experts are merged: None, a temperature, a weight for each expert, or
#: such weights for each layer.
MergeWeights = None | float | Sequence[float] | Sequence[Sequence[float]]


class ExpertMLP(nn.Module):
    """Two linear layers with an activation between; one or both are experts.

    It does not decide which expert works: :meth:`pick` and :meth:`merge`
    give the weights of a path, and :meth:`forward` runs along one. Without
    experts its parameters are those of the plain ``MLP``.

    Args:
        embed_dims (int): Channels ``D``.
        hidden_dims (int): Channels between the layers.
        act (str): Activation name.
        num_experts (int): Experts ``E``; 0 for a plain layer.
        design (str): Key of :data:`DESIGNS`.
    """

    def __init__(self, embed_dims: int, hidden_dims: int, act: str,
                 num_experts: int, design: str) -> None:
        super().__init__()
        up, down = DESIGNS[design]
        self.c_fc = _experts(embed_dims, hidden_dims, num_experts * up)
        self.gelu = build_activation(act)
        self.c_proj = _experts(hidden_dims, embed_dims, num_experts * down)

    def copy_first_expert(self) -> None:
        """Give all experts the weights of the first."""
        for layer in (self.c_fc, self.c_proj):
            if isinstance(layer, nn.ModuleList):
                for expert in layer[1:]:
                    expert.load_state_dict(layer[0].state_dict())

    def pick(self, up: int, down: int) -> Path:
        """The path of one expert of each linear layer.

        Args:
            up (int): Expert of the first layer; no matter if it has none.
            down (int): Expert of the second.

        Returns:
            Path: Their parameters.
        """
        first, second = (
            layer[index] if isinstance(layer, nn.ModuleList) else layer
            for layer, index in ((self.c_fc, up), (self.c_proj, down)))
        return (first.weight, first.bias), (second.weight, second.bias)

    def merge(self, weights: Sequence[float]) -> Path:
        """Eq. 7: the path of all experts as one.

        Args:
            weights (Sequence[float]): One for each expert.

        Returns:
            Path: Weighted sums, through which gradients reach each expert.
        """
        first, second = (
            (merge_tensors([expert.weight for expert in layer], weights),
             merge_tensors([expert.bias for expert in layer], weights))
            if isinstance(layer, nn.ModuleList) else
            (layer.weight, layer.bias) for layer in (self.c_fc, self.c_proj))
        return first, second

    def forward(self, x: Tensor, path: Path) -> Tensor:
        """Run along a path.

        Args:
            x (Tensor): ``(B, T, D)``.
            path (Path): Parameters of the two linear layers.

        Returns:
            Tensor: ``(B, T, D)``.
        """
        up, down = path
        return F.linear(self.gelu(F.linear(x, *up)), *down)


def _experts(in_dims: int, out_dims: int, number: int) -> nn.Module:
    if not number:
        return nn.Linear(in_dims, out_dims)
    return nn.ModuleList(nn.Linear(in_dims, out_dims) for _ in range(number))


def merge_tensors(tensors: Sequence[Tensor],
                  weights: Sequence[float]) -> Tensor:
    """Weighted sum of tensors of one shape.

    Args:
        tensors (Sequence[Tensor]): At least one.
        weights (Sequence[float]): One for each.

    Returns:
        Tensor: The sum.
    """
    merged = tensors[0] * weights[0]
    for tensor, weight in zip(tensors[1:], weights[1:], strict=True):
        merged = torch.add(merged, tensor, alpha=weight)
    return merged


def softmax_weights(num_experts: int, temperature: float) -> list[float]:
    """The weights of Eq. 7, ``softmax((1 .. E) / temperature)``.

    Args:
        num_experts (int): Experts ``E``.
        temperature (float): Positive favours the last experts, negative the
            first; infinity gives all the same weight (Eq. 6).

    Returns:
        list[float]: One weight for each expert.

    Raises:
        ValueError: If the temperature is zero or not a number.
    """
    if temperature == 0 or math.isnan(temperature):
        raise ValueError(
            f'the temperature {temperature:g} gives experts no weights: give '
            'a number that is not zero, inf for equal weights')
    ranks = torch.arange(
        1, num_experts + 1, dtype=torch.float64, device='cpu')
    return torch.softmax(ranks / temperature, dim=0).tolist()


def layer_weights(weights: MergeWeights, num_experts: int,
                  num_layers: int) -> list[list[float]]:
    """The weights of experts by layer, checked.

    Args:
        weights (MergeWeights): None for equal weights, a temperature of Eq.
            7, a weight for each expert, or for each layer such a list.
        num_experts (int): Experts ``E``.
        num_layers (int): Layers.

    Returns:
        list[list[float]]: ``E`` weights for each layer.

    Raises:
        ValueError: If they are not as many, or do not sum up to 1.
    """
    if weights is None:
        weights = math.inf
    if isinstance(weights, (int, float)):
        return [softmax_weights(num_experts, weights)] * num_layers
    rows: list = list(weights)
    if all(isinstance(value, (int, float)) for value in rows):
        rows = [rows] * num_layers
    if len(rows) != num_layers:
        raise ValueError(
            f'{len(rows)} lists of weights do not fit {num_layers} layers: '
            f'give one for each layer, or {num_experts} numbers for all')
    for row in rows:
        if len(row) != num_experts:
            raise ValueError(
                f'{len(row)} weights do not fit {num_experts} experts: give '
                'one for each')
        check_sum(row)
    return [[float(value) for value in row] for row in rows]


def check_sum(weights: Sequence[float]) -> None:
    """Refuse weights that would scale what they average.

    Args:
        weights (Sequence[float]): The weights.

    Raises:
        ValueError: If they do not sum up to 1.
    """
    if not math.isclose(sum(weights), 1, abs_tol=1e-3):
        raise ValueError(
            f'the weights {", ".join(f"{value:g}" for value in weights)} sum '
            f'up to {sum(weights):g}: give weights whose sum is 1')


_EXPERT = re.compile(
    r'((?:.*\.)?resblocks\.(\d+)\.mlp\.c_(?:fc|proj))\.(\d+)\.(weight|bias)')


def count_experts(state_dict: Mapping[str, Tensor]) -> int:
    """How many experts a state dict of ``MoTE`` has.

    Args:
        state_dict (Mapping[str, Tensor]): Of any model.

    Returns:
        int: Experts ``E`` of each layer; 0 if there are none.
    """
    found = map(_EXPERT.fullmatch, state_dict)
    return max((1 + int(match[3]) for match in found if match), default=0)


def has_experts(state_dict: Mapping[str, Tensor]) -> bool:
    """Whether a state dict has experts of ``MoTE``.

    Args:
        state_dict (Mapping[str, Tensor]): Of any model.

    Returns:
        bool: Whether :func:`merge_state_dict` can merge it.
    """
    return count_experts(state_dict) > 0


def merge_state_dict(state_dict: Mapping[str, Tensor],
                     weights: MergeWeights = None) -> dict[str, Tensor]:
    """A state dict with experts as one without.

    Args:
        state_dict (Mapping[str, Tensor]): Of a model with a ``MoTE`` neck,
            or of the neck; it is left as it is.
        weights (MergeWeights): As in :func:`layer_weights`.

    Returns:
        dict[str, Tensor]: What the same model with ``num_experts=0`` loads.

    Raises:
        ValueError: If there are no experts, experts are missing, their
            shapes differ, or the weights do not fit.
    """
    experts: dict[str, dict[int, str]] = {}
    layers: dict[str, int] = {}
    for key in state_dict:
        found = _EXPERT.fullmatch(key)
        if found:
            name = f'{found[1]}.{found[4]}'
            experts.setdefault(name, {})[int(found[3])] = key
            layers[name] = int(found[2])
    if not experts:
        raise ValueError('the state dict has no experts of MoTE: give a '
                         'checkpoint that was trained with num_experts > 0')
    number = 1 + max(index for keys in experts.values() for index in keys)
    lacking = [f'{name} has {sorted(keys)}' for name, keys in experts.items()
               if len(keys) != number]
    if lacking:
        raise ValueError(f'experts are missing, {"; ".join(lacking)} of '
                         f'{number}: give a whole checkpoint')
    rows = layer_weights(weights, number, 1 + max(layers.values()))
    names = {key: name for name, keys in experts.items()
             for key in keys.values()}
    merged: dict[str, Tensor] = {}
    for key, value in state_dict.items():
        if key not in names:
            merged[key] = value
        elif names[key] not in merged:
            name = names[key]
            tensors = [state_dict[experts[name][i]] for i in range(number)]
            _check_shapes(name, tensors)
            merged[name] = merge_tensors(
                [tensor.float() for tensor in tensors],
                rows[layers[name]]).to(value.dtype)
    return merged


def _check_shapes(name: str, tensors: Sequence[Tensor]) -> None:
    shapes = {tuple(tensor.shape) for tensor in tensors}
    if len(shapes) > 1:
        raise ValueError(
            f'the experts of {name} have the shapes '
            f'{" and ".join(map(str, sorted(shapes)))}: give a checkpoint of '
            'one training')


def without_experts(config: str) -> str:
    """The text of a config that builds the model of a merged state dict.

    The text is edited, not run: it may come from a checkpoint.

    Args:
        config (str): As MMEngine writes a config into a checkpoint.

    Returns:
        str: The same with ``num_experts=0`` in each ``MoTE``.
    """
    config = re.sub(r'\bnum_experts=\d+,\s*|,\s*num_experts=\d+\b', '',
                    config)
    return re.sub(r"\btype='((?:\w+\.)?MoTE)'",
                  r"type='\1', num_experts=0", config)
