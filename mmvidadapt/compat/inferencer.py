"""MMAction2's inferencer, which reads every video file with decord.

For a video file ``ActionRecogInferencer`` (and ``MMAction2Inferencer``, which
holds one) puts ``DecordInit`` in the place of a pipeline's first step and
``DecordDecode`` in that of each step that decodes, whatever the config
names: another reader and its options are lost, and decord must be installed.
Frame folders and arrays are none of this module's business.
"""

from functools import wraps
from types import SimpleNamespace
from typing import Any

#: The module with the fault.
HOME = 'mmaction.apis.inferencers.actionrecog_inferencer'
#: Steps that decode what is no video file.
_NO_VIDEO = frozenset(('RawFrameDecode', 'ArrayDecode'))


def needed() -> bool:
    """Return whether the inferencer replaces the reader of a config."""
    from mmaction.apis.inferencers.actionrecog_inferencer import (
        ActionRecogInferencer,
    )
    from mmengine.config import ConfigDict
    from mmengine.registry import DefaultScope
    probe = ConfigDict(
        model=dict(type='Recognizer2D'),
        test_dataloader=dict(dataset=dict(pipeline=[
            dict(type='OpenCVInit'), dict(type='OpenCVDecode')])))
    inferencer = SimpleNamespace(input_format='video', pack_cfg={})
    with DefaultScope.overwrite_default_scope('mmaction'):
        pipeline = ActionRecogInferencer._init_pipeline(inferencer, probe)
    return [type(step).__name__ for step in pipeline.transforms[1:]] != [
        'OpenCVInit', 'OpenCVDecode']


def mend() -> None:
    """Let a config's own reader open videos, ours where it has none."""
    from mmaction.apis.inferencers.actionrecog_inferencer import (
        ActionRecogInferencer,
    )
    old = ActionRecogInferencer._init_pipeline

    @wraps(old)
    def _init_pipeline(self: Any, cfg: Any) -> Any:
        if self.input_format != 'video':
            return old(self, cfg)
        dataset = cfg.test_dataloader.dataset
        dataset.pipeline = _reading_videos(dataset.pipeline)
        # Of the formats that the first step knows, this one leaves the
        # reader alone.
        self.input_format = 'dict'
        try:
            pipeline = old(self, cfg)
        finally:
            self.input_format = 'video'
        pipeline.transforms[0].input_format = 'video'
        return pipeline

    ActionRecogInferencer._init_pipeline = _init_pipeline


def _reading_videos(steps: list) -> list:
    """Return a pipeline that reads video files, as it is if it does so."""
    from mmaction.utils import get_str_type
    names = [get_str_type(step['type']) for step in steps]
    opens = any('Init' in name for name in names)
    if opens and any('Decode' in name and name not in _NO_VIDEO
                     for name in names):
        return steps
    decoding = [dict(type='VideoDecode') if 'Decode' in name else step
                for name, step in zip(names, steps, strict=True)]
    first = 1 if names and 'Init' in names[0] else 0
    return [dict(type='VideoInit'), *decoding[first:]]
