"""Parts of a side network: stem, temporal branch, block.

*TDS-CLIP: Temporal Difference Side Network for Efficient Video Action
Recognition*, arXiv 2408.10688, on *Side4Video: Spatial-Temporal Side Network
for Memory-Efficient Image-to-Video Transfer Learning*, arXiv 2311.15769.
TDS-CLIP's repository carries no licence; everything here is written from the
papers and from facts about the released program.
"""

from .block import SideBlock, Tap
from .stem import SideStem
from .switches import side_switches
from .temporal import DifferenceGate, TemporalBranch

__all__ = [
    'DifferenceGate', 'SideBlock', 'SideStem', 'Tap', 'TemporalBranch',
    'side_switches'
]
