"""How a config reads a video: the one way in, for every tool.

::

    config --> steps that tools/test.py runs --> for files or for folders of
    frames, whichever the video is --> guarded --> inputs of the model
"""

import copy
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mmaction.utils import get_str_type
from mmengine.config import Config
from mmengine.registry import init_default_scope

from ..datasets.broken_video import BrokenVideoError, guarded_pipeline
from ..datasets.video_files import IMAGE_SUFFIXES

__all__ = ['VideoPipeline', 'test_set']


def test_set(cfg: Config) -> dict:
    """Config of the data set that testing reads, without wrappers.

    Args:
        cfg (Config): The config.

    Returns:
        dict: Empty if it has none.
    """
    loader = cfg.get('test_dataloader')
    dataset = loader.dataset if loader else {}
    while 'dataset' in dataset:
        dataset = dataset['dataset']
    return dataset


class VideoPipeline:
    """Read videos as ``tools/test.py`` does by a config.

    The steps are those of the test set, else ``test_pipeline``. A config for
    videos reads folders of frames as well, and the other way round: then
    ``VideoInit`` and ``VideoDecode``, or ``RawFrameDecode``, take the places
    of its own reader.

    Args:
        cfg (Config): The config.

    Raises:
        ValueError: If it has no test pipeline that decodes.
    """

    def __init__(self, cfg: Config) -> None:
        self._scope = cfg.get('default_scope', 'mmaction')
        self._dataset = test_set(cfg)
        self._config = _config_steps(cfg, self._dataset)
        self._built: dict[bool, Any] = {}

    def _pipeline(self, path: Path) -> Any:
        frames = path.is_dir()
        if frames not in self._built:
            init_default_scope(self._scope)
            self._built[frames] = guarded_pipeline(
                _for_frames(self._config) if frames else
                _for_files(self._config))
        return self._built[frames]

    def steps(self, path: str | os.PathLike) -> Sequence[Any]:
        """Transforms for a video, those that read guarded.

        Args:
            path (str | os.PathLike): A file or a folder of frames.

        Returns:
            Sequence[Any]: In their order.
        """
        return self._pipeline(Path(path)).transforms

    def read(self, path: str | os.PathLike) -> dict:
        """Views of one video.

        Args:
            path (str | os.PathLike): A file or a folder of frames.

        Returns:
            dict: ``inputs`` ``(V, 3, T, H, W)`` uint8 and ``data_samples``.

        Raises:
            BrokenVideoError: If it cannot be read.
        """
        return self._pipeline(Path(path))(self.start(path))

    def start(self, path: str | os.PathLike) -> dict:
        """What the steps start from, as MMAction2's data sets do.

        Args:
            path (str | os.PathLike): A file or a folder of frames.

        Returns:
            dict: A sample without pictures.

        Raises:
            BrokenVideoError: If frames are not named as the config says.
        """
        path = Path(path)
        if not path.is_dir():
            return dict(filename=str(path), label=-1, start_index=0,
                        modality='RGB')
        template = self._dataset.get('filename_tmpl', 'img_{:05}.jpg')
        first = self._dataset.get('start_index', 1)
        total = sum(file.suffix.lower() in IMAGE_SUFFIXES
                    and not file.name.startswith('.')
                    for file in path.iterdir())
        for number in (first, first + total - 1):
            if not (path / template.format(number)).is_file():
                raise BrokenVideoError(
                    f'{path} holds {total} frames and none is called '
                    f'{template.format(number)}: set filename_tmpl='
                    f'{template!r} and start_index={first} of the test set '
                    'to what its frames are called', str(path))
        return dict(frame_dir=str(path), filename_tmpl=template, label=-1,
                    total_frames=total, start_index=first, modality='RGB')


def _config_steps(cfg: Config, dataset: dict) -> list[dict]:
    """The steps that ``tools/test.py`` runs, else ``test_pipeline``."""
    steps = dataset.get('pipeline') or cfg.get('test_pipeline')
    if not steps:
        raise ValueError(
            'the config has no test_dataloader with a pipeline, and no '
            'test_pipeline: give a config that tools/test.py runs')
    if any(get_str_type(step['type']) == 'SyntheticFrames' for step in steps):
        raise ValueError(
            'the config is that of a run with --synthetic, which reads no '
            'videos: give the config that the run was started with')
    if not any(map(_decodes, steps)):
        raise ValueError(
            'the test pipeline has no step that decodes frames: name one '
            'whose type ends in Decode')
    return copy.deepcopy(list(steps))


def _decodes(step: dict) -> bool:
    return get_str_type(step['type']).endswith('Decode')


def _decodes_frames(step: dict) -> bool:
    return get_str_type(step['type']) == 'RawFrameDecode'


def _for_files(steps: list[dict]) -> list[dict]:
    """The pipeline for video files, whatever it was written for."""
    if not any(map(_decodes_frames, steps)):
        return steps
    return [dict(type='VideoInit')] + [
        dict(type='VideoDecode') if _decodes_frames(step) else step
        for step in steps]


def _for_frames(steps: list[dict]) -> list[dict]:
    """The pipeline for folders of frames, whatever it was written for."""
    return [dict(type='RawFrameDecode')
            if _decodes(step) and not _decodes_frames(step) else step
            for step in steps
            if not get_str_type(step['type']).endswith('Init')]
