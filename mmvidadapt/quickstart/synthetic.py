"""A small video data set whose motion classes no single frame tells apart.

Twelve classes over textured backgrounds that jitter from frame to frame:

* four pairs of reversed motions (a ball along a rail, a box on a pole, a
  balloon's size, the hand of a dial). What moves and along which axis is
  visible in every frame, the direction in none: a clip of the second class of
  a pair *is* a clip of the first played backwards, so that the frames of both
  classes have the same distribution, and only their order differs;
* four shapes that drift anywhere; one frame is enough.
"""

import hashlib
import json
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import (
    Any,
    Callable,
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

#: Colours of the things that move, RGB.
COLOURS = {
    'red': (214, 40, 40),
    'green': (40, 160, 70),
    'blue': (45, 90, 215),
    'yellow': (240, 205, 50),
    'white': (245, 245, 245),
    'black': (20, 20, 20),
}
SPLITS = ('train', 'val', 'test')
#: The motion clips of ``test``, played backwards, labelled with the reverse.
REVERSED = 'test_reversed'


class ActionClass(NamedTuple):
    """A class of the data set.

    Args:
        text (str): Its name, a text that a text encoder can read.
        scene (str): Which scene draws it, a key of :data:`SCENES`.
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


def reverse_labels() -> List[int]:
    """Label of each class when it is played backwards.

    Returns:
        list[int]: Entry ``k`` is the reverse of class ``k``; a class whose
        motion does not matter is its own reverse.
    """
    place = {(c.scene, c.backwards): k for k, c in enumerate(CLASSES)}
    return [place.get((c.scene, not c.backwards), k)
            for k, c in enumerate(CLASSES)]


def motion_pairs() -> List[Tuple[int, int]]:
    """Labels of the classes that differ by the order of frames only."""
    return [(k, other) for k, other in enumerate(reverse_labels())
            if k < other]


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
        size (int): Side of a frame in pixels, a multiple of 32: decord 0.6
            refuses other widths ("The size must exactly match").
        fps (int): Frames per second.

    Raises:
        ValueError: If ``size`` is not a multiple of 32.
    """

    seed: int = 0
    train: int = 100
    val: int = 5
    test: int = 25
    num_frames: int = 17
    size: int = 64
    fps: int = 8

    def __post_init__(self) -> None:
        if self.size % 32:
            raise ValueError(f'decord cannot read videos of {self.size} '
                             'pixels width: use a multiple of 32 for size')

    @property
    def num_clips(self) -> int:
        """Video files of the whole data set."""
        motion = 2 * len(motion_pairs())
        return (len(CLASSES) * (self.train + self.val + self.test) +
                motion * self.test)


# A scene draws one moment of a clip: (canvas, progress in 0..1) -> caption.
Draw = Callable[[np.ndarray, float], str]
#: How often a clip shows its motion from start to end. Twice, neighbouring
#: frames differ more, and a direction takes fewer training steps to learn.
ROUNDS = 2
_CANVAS = 128  # drawn at this size and reduced, which smooths the edges
_FRACTION_BITS = 4


def _fixed(*points: float) -> Tuple[int, ...]:
    """Sub-pixel coordinates of OpenCV's drawing functions."""
    return tuple(int(round(p * (1 << _FRACTION_BITS))) for p in points)


def _disc(canvas: np.ndarray, x: float, y: float, radius: float,
          colour: Tuple[int, int, int], thickness: int = -1) -> None:
    cv2.circle(canvas, _fixed(x, y), _fixed(radius)[0], colour, thickness,
               cv2.LINE_AA, _FRACTION_BITS)


def _polygon(canvas: np.ndarray, points: np.ndarray,
             colour: Tuple[int, int, int]) -> None:
    cv2.fillPoly(canvas, [np.round(points * (1 << _FRACTION_BITS)).astype(
        np.int32)], colour, cv2.LINE_AA, _FRACTION_BITS)


def _line(canvas: np.ndarray, x0: float, y0: float, x1: float, y1: float,
          colour: Tuple[int, int, int], thickness: int) -> None:
    cv2.line(canvas, _fixed(x0, y0), _fixed(x1, y1), colour, thickness,
             cv2.LINE_AA, _FRACTION_BITS)


def _third(u: float, low: str, middle: str, high: str) -> str:
    return low if u < 1 / 3 else middle if u < 2 / 3 else high


def _colour(rng: np.random.Generator,
            but: str = '') -> Tuple[int, int, int]:
    """A colour; not the one that what lies behind has."""
    return COLOURS[str(rng.choice([c for c in COLOURS if c != but]))]


def _tunnel(rng: np.random.Generator) -> Draw:
    colour = _colour(rng)
    radius, height = rng.uniform(.13, .17), rng.uniform(.45, .65)
    entry, side = rng.uniform(.48, .58), int(rng.choice((-1, 1)))

    def draw(canvas: np.ndarray, u: float) -> str:
        size = canvas.shape[0]
        r, y = radius * size, height * size
        # Mirrored at random: where the tunnel lies tells nothing.
        def place(x: float) -> float:
            return x * size if side > 0 else (1 - x) * size

        x = place(entry - 1.15 * radius + u * 2.5 * radius)
        _disc(canvas, x, y, r, colour)
        _disc(canvas, x, y, r, (0, 0, 0), 2)
        left, right = sorted((place(entry), place(1.05)))
        corners = np.array([(left, y - 1.5 * r), (right, y - 1.5 * r),
                            (right, y + 1.5 * r), (left, y + 1.5 * r)])
        _polygon(canvas, corners, (70, 70, 70))
        for shift in (-1.5, 1.5):
            _line(canvas, left, y + shift * r, right, y + shift * r,
                  (235, 235, 235), 4)
        where = _third(u, 'in front of', 'half inside', 'hidden in')
        return f'a ball {where} a tunnel'

    return draw


def _jar(rng: np.random.Generator) -> Draw:
    colour = _colour(rng, but='white')
    across, half = rng.uniform(.36, .64), rng.uniform(.17, .24)
    top, bottom = rng.uniform(.14, .22), rng.uniform(.78, .88)

    def draw(canvas: np.ndarray, u: float) -> str:
        size = canvas.shape[0]
        left, right = (across - half) * size, (across + half) * size
        level = bottom - (.06 + .88 * u) * (bottom - top)

        def box(upper: float, ink: Tuple[int, int, int]) -> None:
            _polygon(canvas, np.array([
                (left, upper * size), (right, upper * size),
                (right, bottom * size), (left, bottom * size)]), ink)

        box(top, (215, 215, 215))
        box(level, colour)
        for x in (left, right):
            _line(canvas, x, top * size, x, bottom * size, (30, 30, 30), 3)
        _line(canvas, left, bottom * size, right, bottom * size,
              (30, 30, 30), 3)
        how = _third(u, 'an empty', 'a half full', 'a full')
        return f'{how} jar'

    return draw


def _balloon(rng: np.random.Generator) -> Draw:
    colour = _colour(rng)
    start, end = rng.uniform(.07, .11), rng.uniform(.26, .33)
    across, height = rng.uniform(.36, .64), rng.uniform(.36, .5)

    def draw(canvas: np.ndarray, u: float) -> str:
        size = canvas.shape[0]
        x, y = across * size, height * size
        radius = start + u * (end - start)
        _line(canvas, x, y, x, .97 * size, (240, 240, 240), 4)
        _disc(canvas, x, y, radius * size, colour)
        _disc(canvas, x, y, radius * size, (0, 0, 0), 2)
        _disc(canvas, x - radius * size * .35, y - radius * size * .35,
              radius * size * .18, (255, 255, 255))
        how = _third((radius - .09) / .21, 'small', 'medium-sized', 'big')
        return f'a {how} balloon'

    return draw


def _door(rng: np.random.Generator) -> Draw:
    colour = _colour(rng, but='black')
    across, half = rng.uniform(.4, .6), rng.uniform(.2, .27)
    top, bottom = rng.uniform(.1, .2), rng.uniform(.8, .92)
    side = int(rng.choice((-1, 1)))

    def draw(canvas: np.ndarray, u: float) -> str:
        size = canvas.shape[0]

        def box(x0: float, x1: float, ink: Tuple[int, int, int]) -> None:
            _polygon(canvas, np.array([
                (x0, top), (x1, top), (x1, bottom), (x0, bottom)]) * size,
                     ink)

        left, right = across - half, across + half
        box(left - .03, right + .03, (240, 240, 240))
        box(left, right, (15, 15, 15))
        gap = (.04 + .86 * u) * 2 * half
        # Hinged on either side: where it opens tells nothing.
        panel = (left + gap, right) if side > 0 else (left, right - gap)
        box(*panel, colour)
        how = _third(u, 'a closed', 'a half open', 'an open')
        return f'{how} door'

    return draw


def _star_points() -> np.ndarray:
    angles = np.arange(10) * np.pi / 5
    radii = np.where(np.arange(10) % 2, .42, 1.)
    return np.stack([np.sin(angles), -np.cos(angles)], 1) * radii[:, None]


def _cross_points() -> np.ndarray:
    a, b = .3, .95
    return np.array([(-a, -b), (a, -b), (a, -a), (b, -a), (b, a), (a, a),
                     (a, b), (-a, b), (-a, a), (-b, a), (-b, -a), (-a, -a)])


def _triangle_points() -> np.ndarray:
    angles = np.arange(3) * 2 * np.pi / 3
    return np.stack([np.sin(angles), -np.cos(angles)], 1)


def _drifter(shape: str,
             name: str) -> Callable[[np.random.Generator], Draw]:
    """A shape on a straight way between two places, in no fixed order."""

    def scene(rng: np.random.Generator) -> Draw:
        colour = COLOURS[name]
        start, end = rng.uniform(.25, .75, 2), rng.uniform(.25, .75, 2)
        radius, tilt = rng.uniform(.17, .22), rng.uniform(-.3, .3)
        turn = np.array([[np.cos(tilt), np.sin(tilt)],
                         [-np.sin(tilt), np.cos(tilt)]])

        def draw(canvas: np.ndarray, u: float) -> str:
            size = canvas.shape[0]
            x, y = (start + u * (end - start)) * size
            if shape == 'ring':
                _disc(canvas, x, y, radius * size * .8, (0, 0, 0),
                      int(.1 * size))
                _disc(canvas, x, y, radius * size * .8, colour,
                      int(.07 * size))
            else:
                points = _POINTS[shape] @ turn * radius * size
                _polygon(canvas, points * 1.18 + (x, y), (0, 0, 0))
                _polygon(canvas, points + (x, y), colour)
            where = _third((x / size - .25) * 2, 'on the left',
                           'in the middle', 'on the right')
            return f'a {name} {shape} {where}'

        return draw

    return scene


_POINTS = {'star': _star_points(), 'cross': _cross_points(),
           'triangle': _triangle_points()}
SCENES: Dict[str, Callable[[np.random.Generator], Draw]] = {
    'tunnel': _tunnel,
    'jar': _jar,
    'balloon': _balloon,
    'door': _door,
    'star': _drifter('star', 'red'),
    'cross': _drifter('cross', 'green'),
    'triangle': _drifter('triangle', 'blue'),
    'ring': _drifter('ring', 'yellow'),
}


def _background(rng: np.random.Generator) -> np.ndarray:
    """A texture larger than the canvas: soft blobs, grain and stripes."""
    side = _CANVAS + 24
    soft = rng.uniform(80, 175, (6, 6, 1)) + rng.normal(0, 14, (6, 6, 3))
    texture = cv2.resize(soft.astype(np.float32), (side, side),
                         interpolation=cv2.INTER_CUBIC)
    grain = rng.normal(0, 14, (side // 6, side // 6, 1)).astype(np.float32)
    texture += cv2.resize(grain, (side, side),
                          interpolation=cv2.INTER_CUBIC)[..., None]
    direction, period = rng.uniform(0, np.pi), rng.uniform(10, 30)
    rows, cols = np.mgrid[:side, :side]
    phase = rows * np.sin(direction) + cols * np.cos(direction)
    stripes = np.sin(phase * 2 * np.pi / period)[..., None]
    return texture + (stripes * rng.uniform(0, 12)).astype(np.float32)


def _paint(rng: np.random.Generator, draw: Draw, texture: np.ndarray,
           progress: float, size: int) -> Tuple[np.ndarray, str]:
    """One frame; its jitter and brightness are its own."""
    dy, dx = rng.integers(0, 25, 2)
    canvas = texture[dy:dy + _CANVAS, dx:dx + _CANVAS]
    canvas = np.clip(canvas, 0, 255).astype(np.uint8).copy()
    caption = draw(canvas, progress)
    frame = cv2.resize(canvas, (size, size), interpolation=cv2.INTER_AREA)
    bright = rng.uniform(.85, 1.15)
    return np.clip(frame * bright, 0, 255).astype(np.uint8), caption


def render_scene(rng: np.random.Generator, scene: str, num_frames: int,
                 size: int) -> np.ndarray:
    """Draw a clip in the direction in which its scene is written.

    Args:
        rng (np.random.Generator): Source of everything random.
        scene (str): Key of :data:`SCENES`.
        num_frames (int): Frames.
        size (int): Side of a frame.

    Returns:
        np.ndarray: ``(T, size, size, 3)`` RGB, uint8.
    """
    draw, texture = SCENES[scene](rng), _background(rng)
    pace = rng.uniform(.75, 1.35)
    steps = np.arange(num_frames) * ROUNDS / max(num_frames - 1, 1)
    steps = np.where(steps < ROUNDS, steps % 1, 1)
    wobble = rng.uniform(-.3, .3, num_frames) / num_frames
    progress = np.clip(steps**pace + wobble, 0, 1)
    return np.stack([_paint(rng, draw, texture, float(u), size)[0]
                     for u in progress])


def render_clip(label: int, key: Tuple[int, ...], num_frames: int,
                size: int) -> np.ndarray:
    """Draw a clip of a class.

    Args:
        label (int): Index into :data:`CLASSES`.
        key (Tuple[int, ...]): Seed of the clip.
        num_frames (int): Frames.
        size (int): Side of a frame.

    Returns:
        np.ndarray: ``(T, size, size, 3)`` RGB, uint8.
    """
    cls = CLASSES[label]
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
    return _paint(rng, SCENES[scene](rng), _background(rng),
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
    path.parent.mkdir(parents=True, exist_ok=True)
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


def _file_name(split: str, label: int, index: int) -> str:
    cls = CLASSES[label]
    way = 'backwards' if cls.backwards else 'forwards'
    return f'{split}/{cls.scene}_{way}_{index:03d}.mp4'


def _clips(settings: VideoSettings) -> Iterator[Tuple[str, int, int]]:
    """Split, label and index of every clip that is drawn."""
    for split in SPLITS:
        for index in range(getattr(settings, split)):
            for label in range(len(CLASSES)):
                yield split, label, index


def _write_clip(clip: Tuple[str, int, int], root: Path,
                settings: VideoSettings) -> int:
    """Draw and encode a clip, and its reverse where the test needs it."""
    split, label, index = clip
    frames = render_clip(
        label, (settings.seed, SPLITS.index(split), label, index),
        settings.num_frames, settings.size)
    write_video(root / _file_name(split, label, index), frames, settings.fps)
    if split != 'test' or reverse_labels()[label] == label:
        return 1
    write_video(root / _file_name(REVERSED, label, index), frames[::-1],
                settings.fps)
    return 2


def _write_lists(root: Path, settings: VideoSettings) -> None:
    """Lists in MMAction2's format, label file, and what pairs with what."""
    reverse = reverse_labels()
    lists: Dict[str, List[str]] = {name: [] for name in (*SPLITS, REVERSED)}
    for split, label, index in _clips(settings):
        lists[split].append(f'{_file_name(split, label, index)} {label}')
        if split == 'test' and reverse[label] != label:
            lists[REVERSED].append(
                f'{_file_name(REVERSED, label, index)} {reverse[label]}')
    for name, lines in lists.items():
        (root / f'{name}.txt').write_text('\n'.join(lines) + '\n')
    (root / 'labels.txt').write_text(
        '\n'.join(c.text for c in CLASSES) + '\n')
    (root / 'classes.json').write_text(json.dumps(
        dict(classes=[c.text for c in CLASSES], reverse=reverse,
             motion_pairs=motion_pairs()), indent=2))


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
    return fingerprint(settings, [Path(__file__)])


def is_complete(root: Path, settings: VideoSettings) -> bool:
    """Whether ``root`` holds the whole data set of these settings."""
    stamp = root / 'key.txt'
    return stamp.exists() and stamp.read_text() == data_key(settings)


def write_dataset(root: Path, settings: VideoSettings) -> Iterator[int]:
    """Write video files, lists and label file.

    ::

        root/{train,val,test,test_reversed}/*.mp4
        root/{train,val,test,test_reversed}.txt   "file label" per line
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
