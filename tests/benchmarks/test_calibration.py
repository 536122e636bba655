from __future__ import annotations

import math

import numpy as np
import pytest

from benchmarks.detection import calibration
from benchmarks.detection.calibration import NULLS, null_curve, poisson_interval


@pytest.mark.parametrize(("count", "low", "high"), [(0, 0.0, 3.689), (1, 0.0253, 5.572), (10, 4.795, 18.39)])
def test_poisson_intervals_are_those_of_the_tables(count, low, high):
    assert poisson_interval(count) == pytest.approx((low, high), rel=1e-3, abs=1e-9)


def test_null_curves_are_logged_as_their_name_says():
    two = null_curve("two decimals", 0, 500)
    assert np.array_equal(two.loss, np.round(two.loss, 2))
    smooth, rough = (np.log(null_curve(name, 1, 5000).loss[2000:]) for name in ("running mean of ten", "Gaussian"))
    assert np.diff(smooth).std() < 0.4 * np.diff(rough).std()


def test_the_running_mean_is_that_of_the_last_ten():
    values = np.arange(20.0)
    assert calibration._running_mean(values)[9:].tolist() == [values[k - 9 : k + 1].mean() for k in range(9, 20)]


def test_rates_cover_every_noise_and_every_setting_of_the_knob(monkeypatch):
    monkeypatch.setattr(calibration, "_RUN_STEPS", 400)
    monkeypatch.setattr(calibration, "STEPS", {1.0: 800, 10.0: 400})
    rates = calibration.calibration([])
    assert {(rate.noise, rate.asked) for rate in rates} == {(noise, asked) for noise in NULLS for asked in (1.0, 10.0)}
    assert all(math.isclose(rate.per_10k, 1e4 * rate.alerts / rate.rows) for rate in rates)
