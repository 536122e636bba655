"""How a lasting change came about, from values of which it is known."""

from __future__ import annotations

import numpy as np
import pytest

from pretrain_monitor.detection.rise import fit_rise


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
        y = rise(120, 20.0, power=2.0, n=220, seed=seed)
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
