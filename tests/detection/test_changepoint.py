from __future__ import annotations

import numpy as np
import pytest
from curves import healthy_run

from pretrain_monitor.detection.changepoint import freeze, raised_segments, segments, span


def event(seed: int, height_sd: float, length: int, at: int = 300, n: int = 420) -> tuple[np.ndarray, np.ndarray]:
    x = np.log(healthy_run(n, seed=seed, autocorrelation=0.0)["loss"])
    x[at : at + length] += 0.02 * height_sd
    return np.arange(n), x


@pytest.mark.parametrize(("height", "length"), [(3, 30), (5, 8), (4, 120), (8, 5)])
def test_onset_is_placed_within_two_steps_for_nine_of_ten_events(height: float, length: int):
    errors = []
    for seed in range(40):
        rows, x = event(seed, height, length)
        baseline = freeze(rows[:304], x[:304], 304)
        y = baseline.residuals(rows, x)
        first, _ = span(y, raised_segments(y, segments(y), 304), 304, is_shift=True)
        errors.append(abs(first - 300))
    assert np.median(errors) <= 1
    assert np.quantile(errors, 0.9) <= 2


def test_the_end_of_a_spike_is_placed_too():
    rows, x = event(3, 6, 20)
    y = freeze(rows[:304], x[:304], 304).residuals(rows, x)
    _, last = span(y, raised_segments(y, segments(y), 304), 304, is_shift=True)
    assert abs(last - 319) <= 2


def test_a_single_outlier_never_makes_a_segment():
    rows, x = event(4, 30, 1)
    y = freeze(rows[:300], x[:300], 300).residuals(rows, x)
    assert raised_segments(y, segments(y), 300) == []
    assert span(y, [], 300, is_shift=False) == (300, 300)


def test_the_frozen_trend_follows_a_falling_loss_but_not_for_ever():
    t = np.arange(600.0)
    x = np.log(2 + 6 * (t + 20) ** -0.45)
    baseline = freeze(t[:300].astype(int), x[:300], 300)
    assert abs(baseline.expected(320) - x[320]) < 0.01
    assert baseline.expected(500) == baseline.expected(599), "no straight line holds for that long"


def test_a_handful_of_samples_gives_a_flat_baseline_at_the_reference():
    rows, x = np.arange(5), np.log([7.0, 6.9, 6.8, 6.7, 20.0])
    baseline = freeze(rows[:4], x[:4], 4, reference=float(np.log(6.8)))
    assert baseline.expected(4) == pytest.approx(np.log(6.8))
    assert baseline.residual(4, x[4]) > 5


def test_segments_of_nothing_and_of_little_are_legal():
    assert segments(np.array([])) == []
    assert len(segments(np.array([1.0, 2.0]))) == 1
