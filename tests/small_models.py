"""One tiny model of each method, with a checkpoint that has seen nothing."""

from pathlib import Path
from typing import NamedTuple

import torch
from mmaction.apis import init_recognizer

from tests.tiny import write_tiny_config

#: A config of each method; all read video files, but the last one.
METHODS = dict(
    inti='inti/vitb_k400.py',
    tds_clip='tds_clip/vitb_ssv2.py',
    mote='mote/vitb_zeroshot_ucf101.py',
    msta='msta/vitb_fewshot_hmdb51.py',
    frames='tds_clip/vitb_ssv1.py')

#: The mixes of docs/mixing.md; all read video files.
MIXES = {name: f'mixed/vitb_k400_{name}.py' for name in (
    'inti-mote', 'inti-msta', 'msta-mote', 'tds-mote', 'tds-text')}

_DEPTH = 'model__backbone__encoder__arch__num_layers'
#: Changes that leave a layer or two of a method, for what takes long for each.
SHALLOW: dict[str, dict] = dict(
    inti={_DEPTH: 2, 'model__backbone__adapters__0__layers': [0]},
    tds_clip={_DEPTH: 2},
    mote={_DEPTH: 1, 'model__neck__num_layers': 1},
    msta={_DEPTH: 2, 'model__text_encoder__arch__num_layers': 2,
          'model__adapter__layers': [0, 1]})
_INTI = {'model__backbone__adapters__0__layers': [0]}
SHALLOW_MIXES: dict[str, dict] = {
    'inti-mote': {**SHALLOW['mote'], **_INTI, _DEPTH: 2},
    'inti-msta': {**SHALLOW['msta'], **_INTI},
    'msta-mote': {**SHALLOW['msta'], **SHALLOW['mote'], _DEPTH: 2},
    'tds-mote': {**SHALLOW['mote'], _DEPTH: 2},
    'tds-text': SHALLOW['tds_clip']}


class SmallModel(NamedTuple):
    """A config and a checkpoint that fits it.

    Args:
        config (str): Path of the config.
        checkpoint (str): Path of the checkpoint.
    """

    config: str
    checkpoint: str


def write_model(method: str, folder: Path, **changes: object) -> SmallModel:
    """Write a tiny config and a checkpoint of random weights.

    Args:
        method (str): Key of ``METHODS`` or ``MIXES``.
        folder (Path): Where to write.
        **changes (object): As in ``write_tiny_config``.

    Returns:
        SmallModel: Their paths.
    """
    config = write_tiny_config((METHODS | MIXES)[method], folder, **changes)
    generator = torch.Generator().manual_seed(0)
    model = init_recognizer(config, device='cpu')
    for param in model.parameters():
        # Zeroed parts come alive, and videos get scores of their own.
        param.data.add_(.05 * torch.randn(param.shape, generator=generator))
    checkpoint = folder / f'{method}.pth'
    torch.save(dict(state_dict=model.state_dict(), meta={}), checkpoint)
    return SmallModel(config, str(checkpoint))
