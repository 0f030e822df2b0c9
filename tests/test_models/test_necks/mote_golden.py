"""The numbers of the released MoTE, and our neck with its weights.

Names are restated here by hand, apart from the package's converter.
"""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mmvidadapt.models.necks import MoTE

#: Released weights of the tiny model: 2 layers of 4 experts, 8 frames.
SIZES = dict(embed_dims=128, num_layers=2, num_heads=2, num_experts=4)


def load_golden(goldens: Path) -> dict[str, Any]:
    """The file, in float32."""

    def whole(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: whole(inner) for key, inner in value.items()}
        if isinstance(value, list):
            return [whole(inner) for inner in value]
        half = torch.is_tensor(value) and value.dtype == torch.float16
        return value.float() if half else value

    return whole(torch.load(goldens / 'mote_tiny.pt', weights_only=True))


def our_name(name: str) -> str:
    """Our name of a released parameter of the temporal part."""
    return (name.replace('frame_position_embeddings.weight',
                         'positional_embedding')
            .replace('transformer.', '').replace('fc_up', 'c_fc')
            .replace('fc_dn', 'c_proj'))


def golden_neck(data: dict[str, Any], **options: Any) -> MoTE:
    """A neck with the released weights."""
    neck = MoTE(**{**SIZES, **options})
    neck.load_state_dict({
        our_name(name): value for name, value in data['state_dict'].items()
        if name != 'spe_cls_feature' and 'mote_fusion_weight' not in name})
    return neck.eval()


def cosines(features: Tensor, classes: Tensor) -> Tensor:
    """Score clips ``(B, T, D)`` as a text head does."""
    pooled = torch.nn.functional.normalize(features.mean(dim=1), dim=-1)
    return pooled @ classes.T
