"""The quickstart's pictures: what models see, and how they learned."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Dict, NamedTuple

import matplotlib.pyplot as plt
import numpy as np
from torch import Tensor, nn

from ..apis.inti_weights import pair_weights
from ..apis.run_logs import scalar_entries
from ..apis.side_activations import side_activations
from ..visualization.canvas import add_scale, save_figure
from ..visualization.inti import draw_weights
from ..visualization.side import draw_activations
from .transfer import Transfer


class Look(NamedTuple):
    """A trained model, and the clip that it is shown.

    Args:
        recognizer (nn.Module): The model, in eval mode.
        frames (np.ndarray): ``(T, H, W, 3)`` RGB, uint8: the frames that
            were sampled, cropped as the model sees them.
        clip (Tensor): What the backbone reads, normalised: these frames, or
            a window around each of them.
    """

    recognizer: nn.Module
    frames: np.ndarray
    clip: Tensor

    @property
    def backbone(self) -> nn.Module:
        """The backbone of the model."""
        return self.recognizer.backbone


class Findings(NamedTuple):
    """What there is to draw of the models of a method.

    Args:
        looks (dict[str, Look]): By name of the model.
        text (str): What the clip of the looks shows.
        results (dict[str, Any]): What was measured, by row of the table.
    """

    looks: Dict[str, Look]
    text: str
    results: Dict[str, Any]


# -- InTI's weights over the frames ----------------------------------------


def draw_inti(found: Findings, path: Path) -> None:
    """Draw what InTI does to a clip.

    Args:
        found (Findings): With the model ``'InTI'``.
        path (Path): PNG file.
    """
    look = found.looks['InTI']
    weights = [found[0].cpu().numpy()
               for found in pair_weights(look.backbone, look.clip)]
    draw_weights(
        look.frames, weights,
        look.backbone.encoder.arch.grid_size,
        f'What InTI keeps of "{found.text}"', path)


# -- activations of a side network -----------------------------------------


def draw_tds_clip(found: Findings, path: Path) -> None:
    """Draw the tokens at the entrance of the side network.

    The SME-Adapter works there. Deeper tokens have seen all places of a frame
    through attention, and tell less and less of what stands where.

    Args:
        found (Findings): With the models ``'+ TD-Adapter'`` and
            ``'+ SME-Adapter'``.
        path (Path): PNG file.
    """
    looks = found.looks
    norms = {
        f'entering the\nside network,\n{how}\nSME-Adapter': side_activations(
            looks[name].backbone, looks[name].clip)['stem'][0].cpu().numpy()
        for name, how in (('+ TD-Adapter', 'without'),
                          ('+ SME-Adapter', 'with'))}
    draw_activations(looks['+ TD-Adapter'].frames, norms,
                     f'What is large in the side network: "{found.text}"',
                     path)


# -- accuracy of classes ----------------------------------------------------


def draw_classes(results: Dict[str, Transfer], title: str,
                 path: Path) -> None:
    """Accuracy on each class, seen classes beside unseen ones.

    The idea is MoTE's Fig. 3 and 4: experts that are alike on average differ
    between classes.

    Args:
        results (Dict[str, Transfer]): What was measured, by name of the row.
        title (str): Headline.
        path (Path): PNG file.
    """
    groups = next(iter(results.values())).by_class
    counts = [len(classes) for classes in groups.values()]
    figure, places = plt.subplots(
        1, len(groups), sharey=True, layout='constrained',
        figsize=(.5 * sum(counts) + 3.6, .42 * len(results) + 3.4),
        width_ratios=counts)
    figure.suptitle(title, fontsize=13)
    for axes, (group, classes) in zip(places, groups.items(), strict=True):
        values = np.array([list(found.by_class[group].values())
                           for found in results.values()])
        image = axes.imshow(100 * values, cmap='viridis', vmin=0, vmax=100,
                            aspect='auto')
        for row, column in np.ndindex(*values.shape):
            value = values[row, column]
            axes.text(column, row, f'{100 * value:.0f}', ha='center',
                      va='center', fontsize=8,
                      color='black' if value > .6 else 'white')
        axes.set_xticks(range(len(classes)), list(classes), rotation=45,
                        ha='right', rotation_mode='anchor', fontsize=9)
        axes.set_yticks(range(len(results)), list(results))
        mean = [f'{100 * v:.0f}' for v in values.mean(axis=1)]
        axes.set_title(f'{group} classes, mean {min(mean, key=int)} to '
                       f'{max(mean, key=int)}', fontsize=11)
    add_scale(figure, image, 'accuracy on the clips of the class, %')
    save_figure(figure, path)


def draw_transfer(found: Findings, path: Path) -> None:
    """Draw what each row of the table knows of each class.

    Args:
        found (Findings): With results on seen and unseen classes.
        path (Path): PNG file.
    """
    draw_classes(found.results, 'Which classes they know', path)


# -- how it learned --------------------------------------------------------


@dataclass
class History:
    """What a training wrote to its log.

    Args:
        loss (dict[int, float]): By optimiser step.
        seconds (dict[int, float]): Seconds of a step without the wait for
            data, by optimiser step.
        accuracy (dict[int, float]): On the validation clips, by epoch.
    """

    loss: Dict[int, float] = field(default_factory=dict)
    seconds: Dict[int, float] = field(default_factory=dict)
    accuracy: Dict[int, float] = field(default_factory=dict)

    @property
    def seconds_per_step(self) -> float:
        """Median over the run, which forgets the start and other load."""
        return float(np.median(list(self.seconds.values())))


def read_history(work_dir: Path) -> History:
    """Read the scalars that mmengine logs, resumed runs included.

    Args:
        work_dir (Path): Work folder of ``tools/train.py``.

    Returns:
        History: The curves.

    Raises:
        FileNotFoundError: If there is no log.
    """
    history = History()
    for entry in scalar_entries(work_dir):
        step = entry['step']
        if 'loss' in entry:
            history.loss[step] = entry['loss']
            history.seconds[step] = entry['time'] - entry['data_time']
        elif 'acc/top1' in entry:
            history.accuracy[step] = entry['acc/top1']
    return history


def draw_curves(histories: Dict[str, History], order_blind: float,
                num_classes: int, path: Path) -> None:
    """Loss and accuracy of the models side by side.

    Args:
        histories (Dict[str, History]): By name of the model.
        order_blind (float): The best accuracy without the order of frames.
        num_classes (int): Classes, for the accuracy of guessing.
        path (Path): PNG file.
    """
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4),
                                         layout='constrained')
    colours = plt.get_cmap('viridis')(np.linspace(0, .85, len(histories)))
    for colour, (name, history) in zip(colours, histories.items(),
                                       strict=True):
        left.plot(list(history.loss), list(history.loss.values()),
                  color=colour, label=name, lw=1.6)
        # Before the first step a model can only guess.
        accuracy = {0: 1 / num_classes, **history.accuracy}
        right.plot(list(accuracy), [100 * a for a in accuracy.values()],
                   color=colour, marker='o', ms=4, label=name)
    left.set(xlabel='optimiser step', ylabel='training loss',
             title='Loss (running mean)')
    left.set_ylim(bottom=0)
    right.axhline(100 * order_blind, color='0.4', ls='--', lw=1,
                  label='best without the order of frames')
    right.set(xlabel='epoch', ylabel='top-1 on validation clips, %',
              title='Accuracy', ylim=(0, 103))
    for axes in (left, right):
        axes.grid(alpha=.3)
        axes.set_xlim(left=0)
    left.legend(frameon=False)
    right.legend(frameon=False, loc='best')
    save_figure(figure, path)
