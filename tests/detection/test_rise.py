"""How a lasting change came about, from values of which it is known."""

from __future__ import annotations

import numpy as np
import pytest

from pretrain_monitor.detection.rise import fit_rise, is_one_rise
from pretrain_monitor.telemetry import Kind, Severity
from tests.curves import alerts, detect, healthy_run, samples


def rise(rows: int, height: float, *, power: float = 1.0, at: int = 100, n: int = 400, seed: int = 0) -> np.ndarray:
    """White noise of unit variance that climbs to ``height`` within ``rows`` rows and stays."""
    share = np.clip((np.arange(n) - at + 1) / rows, 0, 1) ** power
    return np.random.default_rng(seed).standard_normal(n) + height * share


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("height", [2.0, 4.0, 8.0])
def test_a_step_is_no_gradual_rise(height: float, seed: int):
    fit = fit_rise(rise(1, height, seed=seed))
    assert fit is not None and not fit.is_gradual
    assert abs(fit.height - height) < 0.5
    assert abs(fit.first - 100) <= 12


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize(("rows", "height", "within"), [(40, 6.0, 20), (120, 5.0, 30), (250, 8.0, 30)])
def test_a_slow_rise_is_gradual_and_led_back_to_its_beginning(rows: int, height: float, within: int, seed: int):
    fit = fit_rise(rise(rows, height, seed=seed))
    assert fit is not None and fit.is_gradual
    assert abs(fit.first - 100) <= within
    assert abs(fit.full - (100 + rows)) <= 0.35 * rows + 12


def test_what_climbs_faster_and_faster_began_before_it_is_seen():
    errors, seen = [], []
    for seed in range(10):
        y = rise(120, 20.0, power=1.6, n=220, seed=seed)
        fit = fit_rise(y)
        assert fit is not None
        errors.append(abs(fit.first - 100))
        seen.append(int(np.flatnonzero(np.convolve(y > 3, np.ones(3), "valid") == 3)[0]) - 100)
    assert np.median(errors) <= 8 < np.median(seen)


def test_too_few_values_say_nothing():
    assert fit_rise(np.ones(7)) is None


def test_lone_outliers_are_no_rise():
    y = rise(1, 3.0)
    y[[20, 150, 300]] = 40.0
    fit = fit_rise(y)
    assert fit is not None and not fit.is_gradual
    assert abs(fit.height - 3.0) < 0.6


@pytest.mark.parametrize("seed", range(8))
def test_a_divergence_is_one_incident_however_it_bends(seed: int):
    rng = np.random.default_rng(seed)
    run = healthy_run(1400, seed=seed)
    share = np.clip((np.arange(1400) - 1100 + 1) / rng.integers(30, 120), 0, 1) ** rng.uniform(1, 2)
    run["loss"] *= np.exp(share * np.log(rng.uniform(1.7, 3)))
    (found,) = alerts(detect(samples(run))[1])
    assert found.kind is Kind.DIVERGENCE and found.severity is Severity.CRITICAL
    assert abs(found.onset_step - 1101) <= 25


def test_a_second_step_up_from_a_rest_is_no_going_on():
    rng = np.random.default_rng(0)
    climbing = np.concatenate([rng.standard_normal(12), 0.2 * np.arange(60) + rng.standard_normal(60)])
    assert is_one_rise(climbing, 3)
    rest = np.concatenate([rng.standard_normal(12), 5 + rng.standard_normal(50), 12 + rng.standard_normal(3)])
    assert not is_one_rise(rest, 3)
    from_nothing = np.concatenate([rng.standard_normal(60), 8 + rng.standard_normal(3)])
    assert not is_one_rise(from_nothing, 3)
