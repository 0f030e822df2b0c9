"""Scenes of the quickstart: what is drawn, moment by moment."""

from typing import Callable, Dict, Tuple

import cv2
import numpy as np

#: Colours of the things that move, RGB.
COLOURS = {
    'red': (214, 40, 40),
    'green': (40, 160, 70),
    'blue': (45, 90, 215),
    'yellow': (240, 205, 50),
    'white': (245, 245, 245),
    'black': (20, 20, 20),
}
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


def _turned(shape: str, tilt: float) -> np.ndarray:
    """Corners of a shape around the origin; a ring has none."""
    turn = np.array([[np.cos(tilt), np.sin(tilt)],
                     [-np.sin(tilt), np.cos(tilt)]])
    return _POINTS.get(shape, np.empty((0, 2))) @ turn


def _outlined(canvas: np.ndarray, points: np.ndarray, x: float, y: float,
              radius: float, colour: Tuple[int, int, int]) -> None:
    """A shape with a black rim; a ring where there are no corners."""
    size = canvas.shape[0]
    if len(points):
        points = points * radius
        _polygon(canvas, points * 1.18 + (x, y), (0, 0, 0))
        _polygon(canvas, points + (x, y), colour)
    else:
        _disc(canvas, x, y, radius * .8, (0, 0, 0), int(.1 * size))
        _disc(canvas, x, y, radius * .8, colour, int(.07 * size))


def _drifter(shape: str,
             name: str) -> Callable[[np.random.Generator], Draw]:
    """A shape on a straight way between two places, in no fixed order."""

    def scene(rng: np.random.Generator) -> Draw:
        start, end = rng.uniform(.25, .75, 2), rng.uniform(.25, .75, 2)
        radius, tilt = rng.uniform(.17, .22), rng.uniform(-.3, .3)
        points = _turned(shape, tilt)

        def draw(canvas: np.ndarray, u: float) -> str:
            size = canvas.shape[0]
            x, y = (start + u * (end - start)) * size
            _outlined(canvas, points, x, y, radius * size, COLOURS[name])
            where = _third((x / size - .25) * 2, 'on the left',
                           'in the middle', 'on the right')
            return f'a {name} {shape} {where}'

        return draw

    return scene


def _mover(shape: str, name: str,
           axis: str) -> Callable[[np.random.Generator], Draw]:
    """A shape that moves to the right, rises, or becomes big."""

    def scene(rng: np.random.Generator) -> Draw:
        low, high = rng.uniform(.22, .34), rng.uniform(.66, .78)
        rest, tilt = rng.uniform(.35, .65, 2), rng.uniform(-.3, .3)
        radius = rng.uniform(.17, .22)
        small, big = rng.uniform(.09, .13), rng.uniform(.24, .3)
        points = _turned(shape, tilt)

        def draw(canvas: np.ndarray, u: float) -> str:
            size = canvas.shape[0]
            place, across = rest.copy(), radius
            if axis == 'sideways':
                place[0] = low + u * (high - low)
            elif axis == 'upwards':
                place[1] = high - u * (high - low)
            else:
                across = small + u * (big - small)
            x, y = place * size
            _outlined(canvas, points, x, y, across * size, COLOURS[name])
            return f'a {name} {shape}'

        return draw

    return scene


_POINTS = {'star': _star_points(), 'cross': _cross_points(),
           'triangle': _triangle_points()}
#: Things that can be told apart by shape and by colour.
SHAPES = {'star': 'red', 'cross': 'green', 'triangle': 'blue',
          'ring': 'yellow'}
#: Ways in which each of them can move, or be moved backwards.
AXES = ('sideways', 'upwards', 'size')
SCENES: Dict[str, Callable[[np.random.Generator], Draw]] = {
    'tunnel': _tunnel,
    'jar': _jar,
    'balloon': _balloon,
    'door': _door,
    **{shape: _drifter(shape, name) for shape, name in SHAPES.items()},
    **{f'{shape}-{axis}': _mover(shape, name, axis)
       for shape, name in SHAPES.items() for axis in AXES},
}


def background(rng: np.random.Generator) -> np.ndarray:
    """A texture larger than the canvas: soft blobs, grain and stripes.

    Args:
        rng (np.random.Generator): Source of everything random.

    Returns:
        np.ndarray: ``(152, 152, 3)`` RGB, float32.
    """
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


def paint(rng: np.random.Generator, draw: Draw, texture: np.ndarray,
          progress: float, size: int) -> Tuple[np.ndarray, str]:
    """Draw one frame; its jitter and brightness are its own.

    Args:
        rng (np.random.Generator): Source of everything random.
        draw (Draw): Of a scene.
        texture (np.ndarray): Of :func:`background`.
        progress (float): The moment, from 0 to 1.
        size (int): Side of the frame.

    Returns:
        tuple[np.ndarray, str]: ``(size, size, 3)`` RGB, uint8, and a caption.
    """
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
    draw, texture = SCENES[scene](rng), background(rng)
    pace = rng.uniform(.75, 1.35)
    steps = np.arange(num_frames) * ROUNDS / max(num_frames - 1, 1)
    steps = np.where(steps < ROUNDS, steps % 1, 1)
    wobble = rng.uniform(-.3, .3, num_frames) / num_frames
    progress = np.clip(steps**pace + wobble, 0, 1)
    return np.stack([paint(rng, draw, texture, float(u), size)[0]
                     for u in progress])
