"""What pictures share: frames, heat maps over them, scales, files."""

import textwrap
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from unicodedata import east_asian_width

import matplotlib

matplotlib.use('Agg')  # before pyplot: there may be no display

import matplotlib.pyplot as plt
import numpy as np
from matplotlib import font_manager
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.gridspec import SubplotSpec
from matplotlib.image import AxesImage

from ..files import whole_file

#: Fonts with Chinese, Japanese and Korean letters, as Linux, Windows and
#: macOS have them; the one of matplotlib has none.
_EASTERN = (
    'Noto Sans CJK SC', 'Noto Sans CJK JP', 'Noto Sans CJK KR',
    'Noto Sans SC', 'Source Han Sans SC', 'WenQuanYi Micro Hei',
    'WenQuanYi Zen Hei', 'Droid Sans Fallback', 'Microsoft YaHei', 'SimHei',
    'Yu Gothic', 'Malgun Gothic', 'PingFang SC', 'Hiragino Sans GB',
    'Heiti TC', 'Arial Unicode MS')

#: Long names would leave no room for the picture: so many letters, and how
#: many of them from the end (most of Something-Something's stay apart).
_LONGEST, _END = 34, 13
#: How much of the colour of a heat map covers the picture below.
_COVER = .6
#: Grey of the darkest and the brightest pixel below it: colours would look
#: like other values if a picture were as dark or as bright as it likes.
_DARK, _BRIGHT = .38, .68


def fonts() -> list[str]:
    """Families to write names with: the user's, then what they may lack.

    Matplotlib's own is among them, in case the user's is not installed.

    Returns:
        list[str]: As matplotlib's ``font.family``.
    """
    installed = set(font_manager.fontManager.get_font_names())
    eastern = (name for name in _EASTERN if name in installed)
    return list(dict.fromkeys(
        [*plt.rcParams['font.family'], 'DejaVu Sans', *eastern]))


def font_for(text: str) -> str:
    """File of the font that has the most letters of a text.

    Args:
        text (str): What is to be written in one font.

    Returns:
        str: Path of the first such font among :func:`fonts`.
    """
    files = [font_manager.findfont(font_manager.FontProperties(family=[name]))
             for name in fonts()]  # a bare string would be a pattern
    return max(files, key=lambda file: sum(
        font_manager.get_font(file).get_char_index(ord(letter)) > 0
        for letter in set(text)))


@contextmanager
def _names_as_written() -> Iterator[None]:
    with plt.rc_context({'text.parse_math': False, 'font.family': fonts()}):
        yield


#: Decorates what draws names of classes and files: dollars in them are no
#: formulas, and letters are looked for in several fonts. Figures of whoever
#: imports this package stay as they are.
names_as_written = _names_as_written()


def short(name: str) -> str:
    """A name, or its beginning and its end if it is long.

    Names of classes often begin alike: "Moving something across a surface
    until it falls down", "... without it falling down".

    Args:
        name (str): Of a class or a file.

    Returns:
        str: At most 34 letters.
    """
    if len(name) <= _LONGEST:
        return name
    return f'{name[:_LONGEST - 1 - _END]}…{name[-_END:]}'


def numbered(number: int, what: str) -> str:
    """A number of things, one or several.

    Args:
        number (int): How many.
        what (str): One of them.

    Returns:
        str: As "1 frame", "2 frames", "3 classes".
    """
    several = f'{what}es' if what.endswith('s') else f'{what}s'
    return f'{number} {what if number == 1 else several}'


def strip(frames: np.ndarray | Sequence[np.ndarray]) -> np.ndarray:
    """Frames side by side with white between them.

    Args:
        frames (np.ndarray | Sequence[np.ndarray]): ``(H, W, 3)`` each,
            bytes.

    Returns:
        np.ndarray: ``(H, W', 3)``.
    """
    gap: np.ndarray = np.full((len(frames[0]), 3, 3), 255, np.uint8)
    parts = [part for frame in frames for part in (frame, gap)]
    return np.concatenate(parts[:-1], axis=1)


def save_figure(figure: Figure, path: Path) -> None:
    """Write a PNG, whole or not at all.

    Args:
        figure (Figure): Closed afterwards.
        path (Path): File.
    """
    with whole_file(path) as part:
        part.write_bytes(png(figure))


def png(figure: Figure) -> bytes:
    """The content of a PNG file.

    Args:
        figure (Figure): Closed afterwards.

    Returns:
        bytes: Of the file.
    """
    buffer = BytesIO()
    figure.savefig(buffer, format='png', dpi=130, facecolor='white')
    plt.close(figure)
    return buffer.getvalue()


def tile(axes: Axes, picture: np.ndarray, colour: str = '0.75') -> None:
    """Show a picture without ticks.

    Args:
        axes (Axes): Where.
        picture (np.ndarray): ``(H, W, 3)``, uint8 or from 0 to 1.
        colour (str): Of the frame around it.
    """
    axes.imshow(picture)
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_color(colour)


def heat_map(axes: Axes, picture: np.ndarray, values: np.ndarray,
             colours: str) -> AxesImage:
    """Show values from 0 to 1 over a picture that is pale and grey.

    Args:
        axes (Axes): Where.
        picture (np.ndarray): ``(H, W, 3)``, from 0 to 1.
        values (np.ndarray): ``(rows, columns)``, one per patch or pixel.
        colours (str): Matplotlib's name of a colour map.

    Returns:
        AxesImage: For :func:`add_scale`.
    """
    grey = picture.clip(0, 1).mean(axis=-1, keepdims=True).repeat(3, 2)
    tile(axes, _DARK + (_BRIGHT - _DARK) * grey)
    height, width = picture.shape[:2]
    return axes.imshow(values, cmap=colours, vmin=0, vmax=1, alpha=_COVER,
                       extent=(-.5, width - .5, height - .5, -.5))


def row_name(figure: Figure, cell: SubplotSpec, text: str) -> None:
    """Write what a row of pictures is, left of it.

    Args:
        figure (Figure): The figure.
        cell (SubplotSpec): First place of the row.
        text (str): A few short lines.
    """
    axes = figure.add_subplot(cell)
    axes.axis('off')
    axes.text(1, .5, text, ha='right', va='center', fontsize=11)


def add_scale(figure: Figure, image: AxesImage, label: str = '',
              place: Axes | None = None) -> None:
    """Add a colour bar beside everything drawn so far.

    Args:
        figure (Figure): The figure.
        image (AxesImage): What the colours are of.
        label (str): What they mean.
        place (Axes | None): Where to draw it instead.
    """
    where: dict = dict(cax=place) if place else dict(
        ax=figure.axes, fraction=.02, pad=.01, aspect=40)
    bar = figure.colorbar(image, label=label, **where)
    if image.get_alpha():  # as over a picture that is neither dark nor bright
        bar.ax.set_facecolor(str((_DARK + _BRIGHT) / 2))


def _inches(title: str) -> float:
    """Room for a line of a title; no letter of either kind is wider."""
    return sum(.19 if east_asian_width(letter) in 'WF' else .11
               for letter in title)


class FrameTable:
    """Rows of pictures below the frames of a clip, one column per frame.

    ::

        8 frames     | 1 | 2 | 3 | 4 | 5 | 6 | 7 | 8 |
        a row of 8   | a | b | c | d | e | f | g | h |
        a row of 4   |   a   |   b   |   c   |   d   |

    Args:
        frames (np.ndarray): ``(T, H, W, 3)`` RGB, uint8.
        num_rows (int): Rows below the frames.
        title (str): Headline.
    """

    #: Inches: names on the left, a gap between pictures, a line of text, the
    #: place of the colour bar, that of the lines at the foot.
    _NAMES, _GAP, _LINE, _BAR, _FOOT = 2.1, .07, .19, .8, .7

    def __init__(self, frames: np.ndarray, num_rows: int, title: str) -> None:
        self.frames = frames / np.float32(255)
        self.count = len(frames)
        # Long clips stay legible.
        self.width = min(1.35, 24 / self.count)
        self.height = self.width * frames.shape[1] / frames.shape[2]
        self.right = self._NAMES + self.count * (self.width + self._GAP)
        least = max(map(_inches, title.splitlines()))
        self.size = (
            max(self.right + self._BAR, least),
            (1 + num_rows) * (self.height + 2 * self._LINE) + .7 + self._FOOT)
        # Constrained layout would push narrow pictures of a wide cell aside.
        self.figure = plt.figure(figsize=self.size)
        self.figure.suptitle(title, fontsize=13, y=1 - .1 / self.size[1],
                             va='top')
        self.rows = 0
        self.image: AxesImage | None = None
        self.row(numbered(self.count, 'frame'), self.frames,
                 [str(t + 1) for t in range(self.count)])

    def _place(self, left: float, top: float, width: float,
               height: float) -> Axes:
        """Axes at a place in inches from the left and from the top."""
        return self.figure.add_axes((
            left / self.size[0], 1 - (top + height) / self.size[1],
            width / self.size[0], height / self.size[1]))

    def merged(self, number: int) -> np.ndarray:
        """The frames that each picture of a row stands for, averaged.

        Args:
            number (int): Pictures of the row.

        Returns:
            np.ndarray: ``(number, H, W, 3)``, from 0 to 1.
        """
        return np.stack([self.frames[first:end].mean(axis=0)
                         for first, end in self.spans(number)])

    def spans(self, number: int) -> list[tuple[int, int]]:
        """First frame of each picture of a row, and the one behind its last.

        Args:
            number (int): Pictures: frames that were merged in pairs, once
                or several times; the last one may stand for fewer.

        Returns:
            list[tuple[int, int]]: Counted from 0.
        """
        width = 1
        while -(-self.count // width) > number:
            width *= 2
        return [(t * width, min((t + 1) * width, self.count))
                for t in range(number)]

    def row(self, name: str, pictures: np.ndarray,
            captions: Sequence[str] = (), values: np.ndarray | None = None,
            colours: str = 'inferno') -> None:
        """Add a row.

        Args:
            name (str): A few short lines, written left of it.
            pictures (np.ndarray): ``(n, H, W, 3)``, from 0 to 1.
            captions (Sequence[str]): Written below each picture.
            values (np.ndarray | None): ``(n, rows, columns)``, from 0 to 1:
                drawn over the pictures, which turn grey.
            colours (str): Matplotlib's name of their colour map.
        """
        step = self.width + self._GAP
        top = .7 + self.rows * (self.height + 2 * self._LINE)
        self.figure.text(
            (self._NAMES - .12) / self.size[0],
            1 - (top + self.height / 2) / self.size[1], name, ha='right',
            va='center', fontsize=11)
        for t, (first, end) in enumerate(self.spans(len(pictures))):
            middle = (first + end - 1) / 2
            axes = self._place(self._NAMES + middle * step, top, self.width,
                               self.height)
            if values is None:
                tile(axes, pictures[t])
            else:
                self.image = heat_map(axes, pictures[t], values[t], colours)
            if len(captions):
                axes.set_xlabel(captions[t], fontsize=9, labelpad=2)
        self.rows += 1

    def save(self, path: Path, scale: str) -> None:
        """Write the picture.

        Args:
            path (Path): PNG file.
            scale (str): What the colours of the values mean.
        """
        if self.image is not None:
            add_scale(self.figure, self.image, place=self._place(
                self.right + .1, .7, .16,
                min(self.size[1] - .7 - self._FOOT, 5)))
            lines = textwrap.wrap(f'colours: {scale}',
                                  int((self.size[0] - .3) / .085))
            self.figure.text(.15 / self.size[0], .1 / self.size[1],
                             '\n'.join(lines), fontsize=10, va='bottom')
        save_figure(self.figure, path)


def stretched(values: np.ndarray) -> np.ndarray:
    """Values on a scale from their smallest (0) to their largest (1).

    Args:
        values (np.ndarray): Any shape; zeros come of equal values.

    Returns:
        np.ndarray: The same shape.
    """
    values = np.asarray(values, dtype=np.float64)
    return (values - values.min()) / max(np.ptp(values), 1e-12)
