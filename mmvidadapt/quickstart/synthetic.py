"""Small video data sets whose motion classes no single frame tells apart.

Twelve classes (:data:`CLASSES`) over textured backgrounds that jitter from
frame to frame:

* four pairs of reversed motions (a ball at a tunnel, the level in a jar, a
  balloon's size, a door). What moves and along which axis is visible in every
  frame, the direction in none: a clip of the second class of a pair *is* a
  clip of the first played backwards, so that the frames of both classes have
  the same distribution, and only their order differs;
* four shapes that drift anywhere; one frame is enough.

And combinations of these shapes with motions (:data:`SEEN`, :data:`UNSEEN`),
of which a model is trained on some and tested on the others as well.
"""

import hashlib
import json
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import (
    Any,
    Dict,
    Iterator,
    List,
    NamedTuple,
    Sequence,
    Tuple,
)

import cv2
import numpy as np

from ..files import whole_file
from . import scenes
from .scenes import SCENES, render_scene

SPLITS = ('train', 'val', 'test')
#: The motion clips of ``test``, played backwards, labelled with the reverse.
REVERSED = 'test_reversed'


class ActionClass(NamedTuple):
    """A class of the data set.

    Args:
        text (str): Its name, a text that a text encoder can read.
        scene (str): Which scene draws it, a key of
            :data:`~.scenes.SCENES`.
        backwards (bool): Whether its clips are those of the scene played
            backwards.
    """

    text: str
    scene: str
    backwards: bool = False


CLASSES = (
    ActionClass('a ball rolling into a tunnel', 'tunnel'),
    ActionClass('a ball rolling out of a tunnel', 'tunnel', True),
    ActionClass('a jar filling up', 'jar'),
    ActionClass('a jar running empty', 'jar', True),
    ActionClass('a balloon growing', 'balloon'),
    ActionClass('a balloon shrinking', 'balloon', True),
    ActionClass('a door opening', 'door'),
    ActionClass('a door closing', 'door', True),
    ActionClass('a red star drifting', 'star'),
    ActionClass('a green cross drifting', 'cross'),
    ActionClass('a blue triangle drifting', 'triangle'),
    ActionClass('a yellow ring drifting', 'ring'),
)


def reverse_labels(classes: Sequence[ActionClass] = CLASSES) -> List[int]:
    """Label of each class when it is played backwards.

    Args:
        classes (Sequence[ActionClass]): The classes in the order of their
            labels.

    Returns:
        list[int]: Entry ``k`` is the reverse of class ``k``; a class whose
        motion does not matter is its own reverse.
    """
    place = {(c.scene, c.backwards): k for k, c in enumerate(classes)}
    return [place.get((c.scene, not c.backwards), k)
            for k, c in enumerate(classes)]


def motion_pairs(classes: Sequence[ActionClass] = CLASSES
                 ) -> List[Tuple[int, int]]:
    """Labels of the classes that differ by the order of frames only.

    Args:
        classes (Sequence[ActionClass]): The classes in the order of their
            labels.

    Returns:
        list[tuple[int, int]]: Pairs of labels.
    """
    return [(k, other) for k, other in enumerate(reverse_labels(classes))
            if k < other]


#: How each axis of motion reads, forwards and backwards. The captions of the
#: still pictures know right, left, big and small, not what rising is.
_MOTIONS = {
    'sideways': ('moving right', 'moving left'),
    'upwards': ('rising', 'falling'),
    'size': ('becoming big', 'becoming small'),
}
#: The one axis of each shape that no model is trained on.
_UNSEEN_AXES = {'star': 'size', 'cross': 'upwards', 'triangle': 'sideways',
                'ring': 'sideways'}


def _combinations(unseen: bool) -> Tuple[ActionClass, ...]:
    """Shapes with their motions, those of training or the others."""
    return tuple(
        ActionClass(f'a {colour} {shape} {motion}', f'{shape}-{axis}',
                    backwards)
        for shape, colour in scenes.SHAPES.items()
        for axis, motions in _MOTIONS.items()
        if (_UNSEEN_AXES[shape] == axis) == unseen
        for motion, backwards in zip(motions, (False, True), strict=True))


#: Combinations of a shape and a motion. All of them are pairs of reversed
#: motions, and each shape and each motion of the unseen ones is seen with
#: others: who knows both words can tell a clip that nobody trained on.
SEEN, UNSEEN = _combinations(unseen=False), _combinations(unseen=True)


@dataclass(frozen=True)
class VideoSettings:
    """Sizes of the data set.

    Args:
        seed (int): Every clip is drawn from (seed, split, class, index).
        train (int): Training clips of each class.
        val (int): Validation clips of each class.
        test (int): Test clips of each class.
        num_frames (int): Frames of a clip. ``UniformSample`` of 8 frames in
            test mode takes frames 1, 3, ..., 15 of 17, which are the same
            frames when the video is played backwards.
        size (int): Side of a frame in pixels, an even number as mp4 needs.
        fps (int): Frames per second.
        classes (Tuple[ActionClass, ...]): In the order of their labels.
        backwards (bool): Write the motion clips of the test once more,
            played backwards.

    Raises:
        ValueError: If ``size`` is odd.
    """

    seed: int = 0
    train: int = 100
    val: int = 5
    test: int = 25
    num_frames: int = 17
    size: int = 64
    fps: int = 8
    classes: Tuple[ActionClass, ...] = CLASSES
    backwards: bool = True

    def __post_init__(self) -> None:
        if self.size % 2:
            raise ValueError(f'mp4 cannot hold videos of {self.size} pixels '
                             'width: use an even number for size')

    @property
    def num_clips(self) -> int:
        """Video files of the whole data set."""
        moving = 2 * len(motion_pairs(self.classes)) * self.backwards
        return (len(self.classes) * (self.train + self.val + self.test) +
                moving * self.test)


def render_clip(cls: ActionClass, key: Tuple[int, ...], num_frames: int,
                size: int) -> np.ndarray:
    """Draw a clip of a class.

    Args:
        cls (ActionClass): The class.
        key (Tuple[int, ...]): Seed of the clip.
        num_frames (int): Frames.
        size (int): Side of a frame.

    Returns:
        np.ndarray: ``(T, size, size, 3)`` RGB, uint8.
    """
    frames = render_scene(np.random.default_rng(key), cls.scene, num_frames,
                          size)
    return frames[::-1] if cls.backwards else frames


def render_still(rng: np.random.Generator,
                 size: int) -> Tuple[np.ndarray, str]:
    """Draw a picture of any scene at any moment.

    Args:
        rng (np.random.Generator): Source of everything random.
        size (int): Side of the picture.

    Returns:
        tuple[np.ndarray, str]: ``(size, size, 3)`` RGB and its caption, which
        says what is seen and where, and knows nothing of motion.
    """
    scene = str(rng.choice([c.scene for c in CLASSES]))
    return scenes.paint(rng, SCENES[scene](rng), scenes.background(rng),
                        float(rng.uniform()), size)


def write_video(path: Path, frames: np.ndarray, fps: int) -> None:
    """Encode RGB frames as an mp4 file with OpenCV.

    Args:
        path (Path): File to write; a half-written one never has this name.
        frames (np.ndarray): ``(T, H, W, 3)`` RGB, uint8.
        fps (int): Frames per second.

    Raises:
        ValueError: If this build of OpenCV cannot encode mp4.
    """
    height, width = frames.shape[1:3]
    with whole_file(path) as part:
        writer = cv2.VideoWriter(str(part), cv2.VideoWriter.fourcc(*'mp4v'),
                                 float(fps), (width, height))
        if not writer.isOpened():
            raise ValueError(
                f'OpenCV {cv2.__version__} cannot encode {path.name} as mp4 '
                '(codec mp4v): install opencv-contrib-python-headless, whose '
                'wheels bring the encoder')
        for frame in frames:
            writer.write(np.ascontiguousarray(frame[..., ::-1]))
        writer.release()


def _file_name(split: str, cls: ActionClass, index: int) -> str:
    way = 'backwards' if cls.backwards else 'forwards'
    return f'{split}/{cls.scene}_{way}_{index:03d}.mp4'


def _clips(settings: VideoSettings) -> Iterator[Tuple[str, int, int]]:
    """Split, label and index of every clip that is drawn."""
    for split in SPLITS:
        for index in range(getattr(settings, split)):
            for label in range(len(settings.classes)):
                yield split, label, index


def _backwards_label(split: str, label: int, settings: VideoSettings) -> int:
    """Label of a clip played backwards; its own where nobody needs that."""
    if split != 'test' or not settings.backwards:
        return label
    return reverse_labels(settings.classes)[label]


def _write_clip(clip: Tuple[str, int, int], root: Path,
                settings: VideoSettings) -> int:
    """Draw and encode a clip, and its reverse where the test needs it."""
    split, label, index = clip
    cls = settings.classes[label]
    frames = render_clip(
        cls, (settings.seed, SPLITS.index(split), label, index),
        settings.num_frames, settings.size)
    write_video(root / _file_name(split, cls, index), frames, settings.fps)
    if _backwards_label(split, label, settings) == label:
        return 1
    write_video(root / _file_name(REVERSED, cls, index), frames[::-1],
                settings.fps)
    return 2


def _write_lists(root: Path, settings: VideoSettings) -> None:
    """Lists in MMAction2's format, label file, and what pairs with what."""
    classes = settings.classes
    lists: Dict[str, List[str]] = {name: [] for name in (*SPLITS, REVERSED)}
    for split, label, index in _clips(settings):
        name = _file_name(split, classes[label], index)
        lists[split].append(f'{name} {label}')
        back = _backwards_label(split, label, settings)
        if back != label:
            name = _file_name(REVERSED, classes[label], index)
            lists[REVERSED].append(f'{name} {back}')
    for name, lines in lists.items():
        if lines:
            (root / f'{name}.txt').write_text('\n'.join(lines) + '\n')
    names = [c.text for c in classes]
    (root / 'labels.txt').write_text('\n'.join(names) + '\n')
    (root / 'classes.json').write_text(json.dumps(
        dict(classes=names, reverse=reverse_labels(classes),
             motion_pairs=motion_pairs(classes)), indent=2))


def fingerprint(settings: Any, sources: Sequence[Path]) -> str:
    """Key of a cached result: its settings and the code that makes it.

    Args:
        settings (Any): A dataclass of plain values.
        sources (Sequence[Path]): Files whose change makes the result stale.

    Returns:
        str: 16 hexadecimal digits.
    """
    digest = hashlib.sha256(
        json.dumps(asdict(settings), sort_keys=True).encode())
    for source in sources:
        digest.update(source.read_bytes())
    return digest.hexdigest()[:16]


def data_key(settings: VideoSettings) -> str:
    """Key of the data set with these settings, see :func:`fingerprint`."""
    return fingerprint(settings, [Path(__file__), Path(scenes.__file__)])


def is_complete(root: Path, settings: VideoSettings) -> bool:
    """Whether ``root`` holds the whole data set of these settings."""
    stamp = root / 'key.txt'
    return stamp.exists() and stamp.read_text() == data_key(settings)


def write_dataset(root: Path, settings: VideoSettings) -> Iterator[int]:
    """Write video files, lists and label file.

    ::

        root/{train,val,test,test_reversed}/*.mp4
        root/{train,val,test,test_reversed}.txt   "file label" per line,
                                                  those that have lines
        root/labels.txt                           class names by label
        root/classes.json                         names, reverses, pairs

    Args:
        root (Path): Folder; an older data set in it is replaced.
        settings (VideoSettings): Sizes and seed.

    Yields:
        int: Video files written since the last value.

    Raises:
        FileExistsError: If the folder holds something else than a data set.
        ValueError: If OpenCV cannot encode.
    """
    if root.exists() and any(root.iterdir()):
        if not (root / 'classes.json').exists():
            raise FileExistsError(
                f'{root} is not empty and holds no data set of the '
                'quickstart: give another --work-dir, or remove it')
        shutil.rmtree(root)
    root.mkdir(parents=True, exist_ok=True)
    # Lists first: they say whose folder this is if the drawing is stopped.
    _write_lists(root, settings)
    for clip in _clips(settings):
        yield _write_clip(clip, root, settings)
    with whole_file(root / 'key.txt') as stamp:
        stamp.write_text(data_key(settings))
