"""The published learning rates, to the printed digit."""

import copy
import math

import pytest
import torch
from mmaction.registry import PARAM_SCHEDULERS
from mmengine.optim import OptimWrapper

import mmvidadapt  # noqa: F401
from mmvidadapt.engine import WarmupCosineLR


def wrapper(*rates: float, **kwargs) -> OptimWrapper:
    """An optimizer with one parameter group for each learning rate."""
    groups = [dict(params=[torch.nn.Parameter(torch.ones(1))], lr=rate)
              for rate in rates]
    return OptimWrapper(torch.optim.SGD(groups, lr=1.0), **kwargs)


def build(optim: OptimWrapper, epoch_length: int = 13, **kwargs) -> object:
    """Build from config as the runner does."""
    cfg = dict(dict(type='WarmupCosineLR', convert_to_iter_based=True),
               **kwargs)
    return PARAM_SCHEDULERS.build(cfg, default_args=dict(
        optimizer=optim, epoch_length=epoch_length))


def run(scheduler: object, optim: OptimWrapper, steps: int,
        group: int = 0) -> list[float]:
    """Learning rates of the next ``steps`` iterations."""
    rates = []
    for _ in range(steps):
        rates.append(optim.param_groups[group]['lr'])
        optim.step()
        scheduler.step()
    return rates


# The learning rates in MSTA's training logs: 50 epochs of 13 iterations,
# warm-up over 5 epochs, 1e-3 down to 1e-5.
LOGGED = {0: '0', 1: '2.0e-4', 5: '9.75773e-4', 10: '9.05463e-4',
          25: '5.05e-4', 49: '1.0977e-5'}


def test_the_cosine_from_step_0_gives_the_logged_rates_to_the_digit():
    optim = wrapper(1e-3)
    scheduler = build(optim, warmup=5, end=50, eta_min_ratio=0.01)
    assert not scheduler.by_epoch
    rates = run(scheduler, optim, 50 * 13)
    for epoch, printed in LOGGED.items():
        digits = len(printed.split('e')[0].replace('.', ''))
        assert f'{rates[13 * epoch]:.{digits - 1}e}' == \
            f'{float(printed):.{digits - 1}e}'
    # Up to the end of the warm-up it rises by the same amount each step ...
    assert rates[64] == pytest.approx(1e-3 * 64 / 65, rel=1e-12)
    # ... and then jumps down onto the cosine.
    assert rates[65] < rates[64]


def test_no_pair_of_stock_schedulers_gives_it():
    optim = wrapper(1e-3)
    pair = [PARAM_SCHEDULERS.build(dict(cfg, convert_to_iter_based=True),
                                   default_args=dict(optimizer=optim,
                                                     epoch_length=13))
            for cfg in (dict(type='LinearLR', start_factor=1e-9, end=5),
                        dict(type='CosineAnnealingLR', begin=5, end=50,
                             T_max=45, eta_min_ratio=0.01))]
    rates = []
    for _ in range(50 * 13):
        rates.append(optim.param_groups[0]['lr'])
        optim.step()
        for scheduler in pair:
            scheduler.step()
    assert abs(rates[13 * 10] - float(LOGGED[10])) > 5e-5


def test_the_cosine_after_the_warm_up_is_uniformerv2s():
    length, epochs, warm = 11, 22, 5
    optim = wrapper(2e-5)
    rates = run(build(optim, length, warmup=warm, end=epochs, start_lr=1e-6,
                      eta_min=1e-6, cosine_from='warmup_end'),
                optim, length * epochs)
    for step, rate in enumerate(rates):
        epoch = step / length
        if epoch < warm:
            expected = 1e-6 + (2e-5 - 1e-6) * epoch / warm
        else:
            part = (epoch - warm) / (epochs - warm)
            expected = 1e-6 + (2e-5 - 1e-6) * (
                math.cos(math.pi * part) + 1) / 2
        assert rate == pytest.approx(expected, rel=1e-9)


def test_the_stock_pair_for_it_arrives_one_step_early():
    length = 11
    optim = wrapper(2e-5)
    linear = PARAM_SCHEDULERS.build(
        dict(type='LinearLR', start_factor=0.05, end=5,
             convert_to_iter_based=True),
        default_args=dict(optimizer=optim, epoch_length=length))
    rates = run(linear, optim, 5 * length)
    assert rates[-1] == pytest.approx(2e-5)
    expected = 1e-6 + (2e-5 - 1e-6) * 54 / 55
    assert abs(rates[-1] - expected) / expected > 0.01


def test_a_held_value_changes_when_the_published_programs_change_it():
    length, epochs = 24, 6
    every = dict(warmup=2, end=epochs, cosine_from='warmup_end')
    smooth = run(build(optim := wrapper(1.0), length, **every), optim,
                 length * epochs)
    held = run(build(optim := wrapper(1.0), length, hold=10, **every), optim,
               length * epochs)
    expected, value = [], None
    for step, rate in enumerate(smooth):
        number = step % length + 1  # of the iteration, in its epoch
        if number == 1 or number % 10 == 0:
            value = rate
        expected.append(value)
    assert held == expected
    assert held[:10] == [0.0] * 9 + [smooth[9]]


def test_every_parameter_group_follows_its_own_base_value():
    optim = wrapper(1e-3, 1e-5)
    first, second = copy.deepcopy(optim), optim
    slow = run(build(second, warmup=5, end=50, eta_min_ratio=0.01), second,
               650, group=1)
    fast = run(build(first, warmup=5, end=50, eta_min_ratio=0.01), first,
               650)
    assert slow == pytest.approx([rate / 100 for rate in fast])


def test_it_counts_epochs_if_not_converted():
    optim = wrapper(1.0)
    scheduler = build(optim, convert_to_iter_based=False, warmup=2, end=4)
    assert scheduler.by_epoch
    assert run(scheduler, optim, 5) == pytest.approx(
        [0, 0.5, 0.5, 0.5 * (1 + math.cos(0.75 * math.pi)),
         0.5 * (1 + math.cos(0.75 * math.pi))])


def test_it_can_begin_later():
    optim = wrapper(1.0)
    rates = run(build(optim, 2, warmup=1, begin=1, end=3), optim, 6)
    assert rates == pytest.approx([1, 1, 0, 0.5, 0.5, 0.5 * (
        1 + math.cos(0.75 * math.pi))])


def test_the_floor_holds_after_t_max():
    optim = wrapper(1.0)
    rates = run(build(optim, 2, T_max=2, end=4, eta_min=0.25), optim, 8)
    assert rates[:4] == run(build(optim := wrapper(1.0), 2, end=2,
                                  eta_min=0.25), optim, 4)
    assert rates[4:] == [0.25] * 4


def test_a_resumed_schedule_goes_on_as_if_it_had_not_stopped():
    whole = wrapper(1e-3)
    expected = run(build(whole, warmup=5, end=50, eta_min_ratio=0.01),
                   whole, 650)
    optim = wrapper(1e-3)
    scheduler = build(optim, warmup=5, end=50, eta_min_ratio=0.01)
    run(scheduler, optim, 40)
    state = scheduler.state_dict()
    assert all(isinstance(value, (int, float, str, list, type(None)))
               for value in state.values())
    optimizer_state = optim.state_dict()

    again = wrapper(1e-3)
    again.load_state_dict(optimizer_state)
    resumed = build(again, warmup=5, end=50, eta_min_ratio=0.01)
    resumed.load_state_dict(state)
    again.load_state_dict(optimizer_state)
    assert run(resumed, again, 610) == expected[40:]


def test_accumulated_iterations_count_as_steps():
    optim = wrapper(1.0, accumulative_counts=4)
    model = torch.nn.Linear(1, 1)
    optim.initialize_count_status(model, 0, 40)
    scheduler = build(optim, 10, warmup=1, end=4)
    rates = []
    for _ in range(40):
        rates.append(optim.param_groups[0]['lr'])
        optim.update_params(sum(group['params'][0].sum()
                                for group in optim.param_groups))
        scheduler.step()
    assert rates[:11] == pytest.approx(
        [step / 10 for step in range(10)]
        + [0.5 * (1 + math.cos(math.pi / 4))])


@pytest.mark.parametrize('kwargs, message', [
    (dict(), 'does not know where the cosine ends: give T_max or end'),
    (dict(end=5, warmup=5), 'warmup is 65, but the schedule has 65 steps'),
    (dict(end=5, warmup=-1), 'warmup is -13, but'),
    (dict(end=5, start_lr=1e-6, start_factor=.1), 'give one of them'),
    (dict(end=5, eta_min=1e-6, eta_min_ratio=.1), 'give one of them'),
    (dict(end=5, cosine_from='end'), "cosine_from is 'end': choose 'start'"),
    (dict(end=5, hold=0), 'hold=0 is no number of iterations'),
    (dict(end=5, hold=10, convert_to_iter_based=False),
     'hold=10 counts iterations within an epoch: set by_epoch=True and conv'),
    (dict(end=5, by_epoch=True, epoch_length=0), 'epoch_length=0'),
])
def test_senseless_arguments_are_refused_with_the_remedy(kwargs, message):
    with pytest.raises(ValueError, match=message):
        build(wrapper(1.0), **kwargs)


def test_it_is_registered_for_configs():
    assert PARAM_SCHEDULERS.get('WarmupCosineLR') is WarmupCosineLR
