"""Learning rate: linear warm-up and a cosine that runs beneath it."""

import math
from typing import Any

from mmaction.registry import PARAM_SCHEDULERS
from mmengine.optim import _ParamScheduler

__all__ = ['WarmupCosineLR']

# MMEngine's value of ``end`` for a scheduler that never ends.
INF = int(1e9)


@PARAM_SCHEDULERS.register_module()
class WarmupCosineLR(_ParamScheduler):
    r"""Linear warm-up, then a cosine counted from step 0 or from its end.

    With base value :math:`\eta`, floor :math:`\eta_{min}`, :math:`W` steps
    of warm-up and :math:`S` steps in all:

    .. math::
        \eta_s = \begin{cases}
        \eta_0 + (\eta - \eta_0) \, s / W & s < W \\
        \eta_{min} + \frac{1}{2} (\eta - \eta_{min})
        (1 + \cos(\pi \, (s - o) / (S - o))) & s \ge W
        \end{cases}

    where the offset :math:`o` is 0, so that the cosine has already come down
    a little when the warm-up ends (the schedule of X-CLIP's family, which
    InTI and MSTA train by), or :math:`W` (``cosine_from='warmup_end'``, the
    schedule of UniFormerV2, TDS-CLIP and MoTE).

    Of MMEngine's pairs, ``LinearLR`` cannot start from 0, arrives one step
    early, and is followed by a cosine that starts from the full value. The
    values here are computed from the step, not from the step before, so that
    nothing is lost on resuming. Steps are what MMEngine counts: with
    gradient accumulation, iterations and not updates.

    Args:
        optimizer (Any): Optimizer or its wrapper, whose learning rate is
            set.
        warmup (int | float): Length of the warm-up, in epochs if
            ``by_epoch``, else in iterations. Defaults to 0.
        start_factor (float): The warm-up starts from this share of the base
            value. Defaults to 0.0.
        start_lr (float | None): The warm-up starts from this value
            instead.
        eta_min (float | None): Value at the end.
        eta_min_ratio (float | None): Value at the end as a share of the
            base value. Defaults to 0.0 if ``eta_min`` is not given either.
        cosine_from (str): ``'start'`` or ``'warmup_end'``. Defaults to
            ``'start'``.
        hold (int): The value is set at the first iteration of each epoch
            and at every ``hold``-th, and holds in between: 10 in the
            programs of TDS-CLIP and MoTE, whose first 9 iterations have the
            value 0. Defaults to 1, a value for each iteration.
        epoch_length (int | None): Iterations of an epoch, which ``hold``
            needs; the runner gives it with ``convert_to_iter_based=True``.
        T_max (int | None): :math:`S`, counted from ``begin``; after it
            the floor holds. Defaults to ``end - begin``.
        begin (int): First step. Defaults to 0.
        end (int): Step after the last. The runner gives the length of the
            training.
        last_step (int): As in MMEngine. Defaults to -1.
        by_epoch (bool): Whether a step is an epoch. The published schedules
            are stepped by iteration: leave it ``True``, give the lengths in
            epochs and set ``convert_to_iter_based=True`` in the config.
            Defaults to True.
        verbose (bool): Whether to log every value. Defaults to False.

    Raises:
        ValueError: If the end is not known, the warm-up does not fit, both
            forms of a value are given, ``cosine_from`` is unknown, or
            ``hold`` is not positive or lacks the length of an epoch.
    """

    def __init__(self,
                 optimizer: Any,
                 warmup: int | float = 0,
                 start_factor: float = 0.0,
                 start_lr: float | None = None,
                 eta_min: float | None = None,
                 eta_min_ratio: float | None = None,
                 cosine_from: str = 'start',
                 hold: int = 1,
                 epoch_length: int | None = None,
                 T_max: int | None = None,
                 begin: int = 0,
                 end: int = INF,
                 last_step: int = -1,
                 by_epoch: bool = True,
                 verbose: bool = False) -> None:
        if T_max is None and end >= INF:
            raise ValueError(
                'WarmupCosineLR does not know where the cosine ends: give '
                'T_max or end, the length of the training.')
        total = end - begin if T_max is None else T_max
        if not 0 <= warmup < total:
            raise ValueError(
                f'warmup is {warmup}, but the schedule has {total} steps: '
                'make it shorter, or the training longer.')
        if start_lr is not None and start_factor:
            raise ValueError(
                f'start_lr={start_lr} and start_factor={start_factor} both '
                'say where the warm-up starts: give one of them.')
        if eta_min is not None and eta_min_ratio is not None:
            raise ValueError(
                f'eta_min={eta_min} and eta_min_ratio={eta_min_ratio} both '
                'say where the cosine ends: give one of them.')
        if cosine_from not in ('start', 'warmup_end'):
            raise ValueError(
                f"cosine_from is {cosine_from!r}: choose 'start' or "
                "'warmup_end'.")
        if hold < 1:
            raise ValueError(
                f'hold={hold} is no number of iterations: give 1 or more.')
        if hold > 1 and (by_epoch or not epoch_length):
            raise ValueError(
                f'hold={hold} counts iterations within an epoch: set '
                'by_epoch=True and convert_to_iter_based=True.')
        self.warmup = warmup
        self.total = total
        self.start_factor = start_factor
        self.start_lr = start_lr
        self.eta_min = eta_min
        self.eta_min_ratio = eta_min_ratio
        self.cosine_from = cosine_from
        self.hold = hold
        self.epoch_length = epoch_length
        super().__init__(
            optimizer, 'lr', begin=begin, end=end, last_step=last_step,
            by_epoch=by_epoch, verbose=verbose)

    @classmethod
    def build_iter_from_epoch(cls,
                              optimizer: Any,
                              *,
                              warmup: int | float = 0,
                              T_max: int | None = None,
                              begin: int = 0,
                              end: int = INF,
                              by_epoch: bool = True,
                              epoch_length: int | None = None,
                              **kwargs: Any) -> 'WarmupCosineLR':
        """Build a schedule by iteration from lengths in epochs.

        ``warmup``, ``T_max``, ``begin`` and ``end`` are multiplied by
        ``epoch_length``, which the runner gives; the rest is passed on.
        ``by_epoch=False`` is a ``ValueError``: there is nothing to convert.
        """
        if not by_epoch or not epoch_length:
            raise ValueError(
                f'convert_to_iter_based with by_epoch={by_epoch} and '
                f'epoch_length={epoch_length}: it converts epochs, set '
                'by_epoch=True and let the runner give epoch_length.')
        if end < INF:
            end = int(end * epoch_length)
        if T_max is not None:
            T_max = int(T_max * epoch_length)
        return cls(optimizer, warmup=int(warmup * epoch_length),
                   T_max=T_max, begin=int(begin * epoch_length), end=end,
                   by_epoch=False, epoch_length=epoch_length, **kwargs)

    def _get_value(self) -> list[float]:
        """Value of each parameter group at ``last_step``."""
        return [self._value(base) for base in self.base_values]

    def _set_at(self) -> int:
        """Step at which the value that holds now was set."""
        if self.hold == 1 or self.epoch_length is None:
            return self.last_step
        within = self.last_step % self.epoch_length
        latest = max((within + 1) // self.hold * self.hold - 1, 0)
        return self.last_step - within + latest

    def _value(self, base: float) -> float:
        """Value at ``last_step`` of a group whose base value is ``base``."""
        step = self._set_at()
        if step < self.warmup:
            start = base * self.start_factor
            if self.start_lr is not None:
                start = self.start_lr
            return start + (base - start) * step / self.warmup
        floor = base * (self.eta_min_ratio or 0.0)
        if self.eta_min is not None:
            floor = self.eta_min
        offset = self.warmup if self.cosine_from == 'warmup_end' else 0
        part = min(1.0, (step - offset) / (self.total - offset))
        return floor + 0.5 * (base - floor) * (1 + math.cos(math.pi * part))
