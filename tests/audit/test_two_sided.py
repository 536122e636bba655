from __future__ import annotations

import numpy as np
import pytest

from pretrain_monitor.audit.regular import period_of
from pretrain_monitor.audit.two_sided import running_median, two_sided


def steep(n: int) -> np.ndarray:
    return 2.2 + 8 * (np.arange(n) + 10.0) ** -0.5


def test_the_trend_follows_a_steep_start_without_lag():
    run = two_sided(np.arange(2000), steep(2000))
    assert np.abs(run.trend - run.x)[4:].max() < 0.02  # of the log, where ten rows change it by as much


def test_neither_a_spike_of_forty_rows_nor_single_rows_move_the_trend():
    loss = steep(2000) * np.exp(0.01 * np.random.default_rng(0).standard_normal(2000))
    high = loss.copy()
    high[1000:1040] *= 2
    high[[700, 1300]] *= 5
    plain, moved = (two_sided(np.arange(2000), values) for values in (loss, high))
    assert np.abs(moved.trend - plain.trend).max() < 0.01
    assert moved.z[1000:1040].min() > 40
    assert moved.sd == pytest.approx(plain.sd, rel=0.2)


def test_a_rise_in_the_last_rows_is_not_its_own_trend():
    loss = np.exp(0.01 * np.random.default_rng(0).standard_normal(2000))
    loss[-10:] *= 1.5
    assert two_sided(np.arange(2000), loss).z[-10:].min() > 20


def test_the_noise_follows_a_run_whose_noise_halves():
    rng = np.random.default_rng(0)
    sd = np.where(np.arange(6000) < 3000, 0.04, 0.02)
    run = two_sided(np.arange(6000), 3 * np.exp(sd * rng.standard_normal(6000)))
    assert np.median(run.sd[:2500]) == pytest.approx(0.04, rel=0.1)
    assert np.median(run.sd[3500:]) == pytest.approx(0.02, rel=0.1)


def test_the_noise_of_few_decimals_is_not_below_half_of_the_last():
    loss = np.round(3 + 0.001 * np.random.default_rng(0).standard_normal(2000), 2)
    loss[1000] = 3.01
    assert two_sided(np.arange(2000), loss).z.max() <= 2.0 + 1e-6


def test_rows_point_into_the_series_with_what_is_not_finite():
    run = two_sided(np.arange(10, 15), np.array([np.nan, 2.0, np.inf, 3.0, 2.0]))
    assert run.rows.tolist() == [1, 3, 4]
    assert run.steps.tolist() == [11, 13, 14]


@pytest.mark.parametrize(("values", "width", "expected"), [([], 5, []), ([4.0], 5, [4.0]), ([3.0, 1.0], 5, [3.0, 1.0])])
def test_a_running_median_of_few_values_is_these(values: list[float], width: int, expected: list[float]):
    assert running_median(np.array(values), width).tolist() == expected


def test_a_period_is_told_where_every_turn_of_it_shows():
    turns = [250, 1248, 2252, 3250, 4249]
    assert period_of(2252, turns, 32, 5000) == pytest.approx(1000, abs=4)
    assert period_of(250, turns, 32, 5000) == pytest.approx(1000, abs=4)
    assert period_of(2252, turns[:2] + turns[2:4], 32, 5000) is None  # the last one is missing
    assert period_of(2252, [250, 1748, 2252, 3900, 4249], 32, 5000) is None
    assert period_of(1000, [1000, 2000, 3000], 32, 3500) is None  # three are chance
