from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from benchmarks.detection import calibration
from benchmarks.detection.calibration import NULLS, null_curve, poisson_interval
from benchmarks.detection.curves import Curve, TrueEvent


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


@pytest.fixture
def few_steps(monkeypatch):
    monkeypatch.setattr(calibration, "_RUN_STEPS", 400)
    monkeypatch.setattr(calibration, "STEPS", {1.0: 800, 10.0: 400})


def test_rates_cover_every_noise_and_every_setting_of_the_knob(few_steps):
    rates = calibration.calibration([])
    assert {(rate.noise, rate.asked): rate.rows for rate in rates} == {
        (noise, asked): rows for noise in NULLS for asked, rows in ((1.0, 800), (10.0, 400))
    }


def test_alerts_of_real_curves_count_outside_the_windows_of_their_events_only(few_steps):
    loss = 3 * np.exp(0.01 * np.random.default_rng(0).standard_normal(1200))
    loss[900:920] *= 1.4
    bare = Curve("c", "s", np.arange(1200), loss)
    labelled = replace(bare, events=(TrueEvent(900, 919, "spike"),))
    free, excused = (
        [rate for rate in calibration.calibration([curve]) if rate.noise == "real curves"] for curve in (bare, labelled)
    )
    assert [rate.asked for rate in free] == [rate.asked for rate in excused] == [1.0, 10.0]
    for one, other in zip(free, excused, strict=True):
        assert one.alerts == other.alerts + 1
        assert (one.rows, other.rows) == (1200, 1200 - 5 - 20 - 50)
        assert one.per_10k == pytest.approx(1e4 * one.alerts / 1200)
        assert one.interval[0] < one.per_10k < one.interval[1]
