"""Mends of the installed stack, one small module for each fault.

A mend is a pair of functions: ``needed()`` looks at the installed stack and
says whether the fault is there, ``mend()`` makes up for it. Where
``needed()`` is false nothing is touched. ``docs/compatibility.md`` lists
every fault with its upstream report.
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

from . import (
    annotation_lists,
    averaging,
    checkpoints,
    cpu_distributed,
    decoders,
    inferencer,
    installed_packages,
    localizers,
    mixed_precision,
    multimodal,
    numpy_names,
    opencv,
    requirements,
    saving,
    torchvision_ops,
    wandb_import,
)
from .importing import replace_everywhere, when_imported

__all__ = ['MENDS', 'Mend', 'apply', 'replace_everywhere', 'when_imported']


class Mend(NamedTuple):
    """One fault of the stack and how to make up for it.

    Args:
        name (str): Short name of the fault, unique.
        needed (Callable): Returns whether the installed stack has it.
        mend (Callable): Makes up for it; called only where it is needed.
        after (str, optional): Module that must be loaded before the fault
            can be seen. Both functions are called right after its import
            (at once if it is loaded), so that a mend costs nothing until
            the module is used. ``None`` means at once.
    """

    name: str
    needed: Callable[[], bool]
    mend: Callable[[], None]
    after: str | None = None

    def apply(self) -> None:
        """Mend the fault if it is there."""
        if self.needed():
            self.mend()


# In this order: what stops an import first, then what fails at run time.
MENDS: tuple[Mend, ...] = (
    Mend('a requirement is missing', requirements.unmet,
         requirements.refuse),
    Mend('opencv cannot be imported', opencv.unusable, opencv.refuse),
    Mend('wandb is loaded unasked', wandb_import.needed, wandb_import.mend),
    Mend('pkg_resources is gone', installed_packages.needed,
         installed_packages.mend, after=installed_packages.HOME),
    Mend('torchvision has no operators', torchvision_ops.needed,
         torchvision_ops.mend, after=torchvision_ops.EXTENSION),
    Mend('mmcv is a fork', requirements.fork_needs_introduction,
         requirements.introduce_fork),
    Mend('mmaction2 lacks DRN', localizers.needed, localizers.mend,
         after='mmaction.registry'),
    Mend('VindLU fails on transformers 5', multimodal.needed,
         multimodal.mend, after='mmaction.utils.dependency'),
    *(Mend(f'removed numpy names in {module}',
           partial(numpy_names.needed, module),
           partial(numpy_names.mend, module), after=module)
      for module in numpy_names.USERS),
    Mend('mmengine cannot read its checkpoints', checkpoints.needed,
         checkpoints.mend, after='mmengine.runner.checkpoint'),
    Mend('mmengine writes checkpoints in place', saving.needed,
         saving.mend, after='mmengine.runner.checkpoint'),
    Mend('mmengine deletes checkpoints too early', saving.hook_needed,
         saving.hook_mend, after='mmengine.hooks.checkpoint_hook'),
    Mend('averages read state dicts', averaging.needed, averaging.mend,
         after='mmengine.hooks.ema_hook'),
    Mend('paths with spaces in video lists', annotation_lists.videos_needed,
         annotation_lists.videos_mend,
         after='mmaction.datasets.video_dataset'),
    Mend('paths with spaces in frame lists',
         annotation_lists.rawframes_needed, annotation_lists.rawframes_mend,
         after='mmaction.datasets.rawframe_dataset'),
    Mend('PyAVDecode hands out one array twice', decoders.pyav_needed,
         decoders.pyav_mend, after='mmaction.datasets.transforms.loading'),
    Mend('OpenCVDecode decodes a frame twice', decoders.opencv_needed,
         decoders.opencv_mend, after='mmaction.datasets.transforms.loading'),
    Mend('the inferencer reads with decord alone', inferencer.needed,
         inferencer.mend, after=inferencer.HOME),
    Mend('labels are not compared with classes',
         annotation_lists.labels_needed, annotation_lists.labels_mend,
         after='mmengine.runner.runner'),
    Mend('AmpOptimWrapper refuses the CPU', mixed_precision.wrapper_needed,
         mixed_precision.wrapper_mend,
         after='mmengine.optim.optimizer.amp_optimizer_wrapper'),
    Mend('heads answer in bfloat16', mixed_precision.heads_needed,
         mixed_precision.heads_mend, after='mmaction.models.heads.base'),
    Mend('the launcher wants a GPU', cpu_distributed.launcher_needed,
         cpu_distributed.launcher_mend, after='mmengine.dist.utils'),
    Mend('gloo aborts when a process ends', cpu_distributed.exit_needed,
         cpu_distributed.exit_mend, after='mmengine.dist.utils'),
    Mend('DDP gets device_ids on the CPU', cpu_distributed.cpu_only,
         cpu_distributed.wrapper_mend,
         after='mmengine.model.wrappers.distributed'),
)

_applied: set[str] = set()


def apply() -> None:
    """Apply every mend that this stack needs; safe to call twice."""
    for mend in MENDS:
        if mend.name in _applied:
            continue
        _applied.add(mend.name)
        if mend.after is None:
            mend.apply()
        else:
            when_imported(mend.after, mend.apply)
