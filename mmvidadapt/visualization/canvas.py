"""What pictures share: frames, heat maps over them, scales, files."""

from pathlib import Path

import matplotlib

matplotlib.use('Agg')  # before pyplot: there may be no display

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.gridspec import SubplotSpec
from matplotlib.image import AxesImage

from ..files import whole_file


def save_figure(figure: Figure, path: Path) -> None:
    """Write a PNG, whole or not at all.

    Args:
        figure (Figure): Closed afterwards.
        path (Path): File.
    """
    with whole_file(path) as part:
        figure.savefig(part, dpi=130, facecolor='white')
    plt.close(figure)


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
    """Show values from 0 to 1 over a grey picture.

    Args:
        axes (Axes): Where.
        picture (np.ndarray): ``(H, W, 3)``, from 0 to 1.
        values (np.ndarray): ``(rows, columns)``, one per patch or pixel.
        colours (str): Matplotlib's name of a colour map.

    Returns:
        AxesImage: For :func:`add_scale`.
    """
    tile(axes, picture.mean(axis=-1, keepdims=True).repeat(3, 2))
    height, width = picture.shape[:2]
    return axes.imshow(values, cmap=colours, vmin=0, vmax=1, alpha=.6,
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


def add_scale(figure: Figure, image: AxesImage, label: str) -> None:
    """Add a colour bar beside everything drawn so far.

    Args:
        figure (Figure): The figure.
        image (AxesImage): Of :func:`heat_map`.
        label (str): What the colours mean.
    """
    bar = figure.colorbar(image, ax=figure.axes, fraction=.02, pad=.01,
                          aspect=40)
    bar.set_label(label)
