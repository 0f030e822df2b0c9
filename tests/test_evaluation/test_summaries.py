"""The papers' averages, on the papers' numbers."""

import math

import pytest

from mmvidadapt.evaluation import (
    base_to_novel,
    harmonic_mean,
    mean_and_std,
    trade_off,
)


@pytest.mark.parametrize('k400,ucf,hmdb,k600,hm_zs,score', [
    (81.8, 83.4, 55.8, 70.2, 67.9, 74.2),  # ViT-B/16, 8 frames, 1x1
    (83.0, 83.4, 55.8, 70.2, 67.9, 74.7),  # 4x3
    (86.8, 88.7, 61.4, 78.4, 74.4, 80.1),  # ViT-L/14, 8 frames
])
def test_mote_table_4_follows_from_tables_1_and_3(k400, ucf, hmdb, k600,
                                                  hm_zs, score):
    zero_shot = [ucf, hmdb, k600]
    assert harmonic_mean(zero_shot) == pytest.approx(hm_zs, abs=.06)
    assert trade_off(k400, zero_shot) == pytest.approx(score, abs=.06)
    # Fractions do as well as percent.
    assert trade_off(k400 / 100, [value / 100 for value in zero_shot]) == \
        pytest.approx(trade_off(k400, zero_shot) / 100)


def test_base_and_novel_are_averaged_before_their_harmonic_mean():
    # MSTA, Table 2: K400, HMDB-51, UCF-101, SSv2; Table 6: their averages.
    found = base_to_novel([78.5, 77.5, 96.0, 22.2], [66.5, 57.9, 72.9, 16.5])
    assert found.base == pytest.approx(68.6, abs=.06)
    assert found.novel == pytest.approx(53.5, abs=.06)
    assert found.harmonic_mean == pytest.approx(60.1, abs=.06)
    # The mean of the harmonic means would be 60.0.
    assert found.harmonic_mean == pytest.approx(
        2 * found.base * found.novel / (found.base + found.novel))


def test_the_deviation_is_that_of_the_splits_at_hand():
    assert mean_and_std([1, 2, 3]) == (2, pytest.approx(math.sqrt(2 / 3)))
    assert mean_and_std([70.]) == (70, 0)


def test_a_task_that_fails_leaves_nothing():
    assert harmonic_mean([90, 0, 80]) == 0


@pytest.mark.parametrize('call,message', [
    (lambda: harmonic_mean([]), 'no accuracy to average: give at least one'),
    (lambda: mean_and_std([]), 'no accuracy to average'),
    (lambda: harmonic_mean([50, -1]), '-1 is no accuracy: give numbers'),
    (lambda: trade_off(math.nan, [50]), 'nan is no accuracy'),
    (lambda: mean_and_std([101]), '101 is no accuracy'),
    (lambda: base_to_novel([50, 60], [50]),
     '2 accuracies on base classes and 1 on novel ones'),
])
def test_what_is_no_accuracy_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
