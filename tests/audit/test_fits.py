from __future__ import annotations

import numpy as np
import pytest
from curves import ar1

from pretrain_monitor.audit.fits import blocks, fit_power_law, noise, trimmed
from pretrain_monitor.audit.material import Signal


def test_a_power_law_is_found_again():
    steps = np.geomspace(50, 50_000, 60)
    law = fit_power_law(steps, 1.7 + 12 * steps**-0.3)
    assert law is not None
    assert (law.floor, law.scale, law.exponent) == pytest.approx((1.7, 12, 0.3), rel=1e-6)


def test_a_curve_that_rises_has_none():
    steps = np.arange(1.0, 61)
    assert fit_power_law(steps, 2 + 0.01 * steps) is None


@pytest.mark.parametrize("correlation", [0.0, 0.6])
def test_the_errors_of_blocks_are_how_much_their_means_vary(correlation: float):
    rng = np.random.default_rng(1)
    errors, means = [], []
    for _ in range(40):
        values = 3.0 + 0.1 * ar1(rng, 6000, correlation)
        found = blocks(Signal("loss", np.arange(6000), values))
        errors.append(float(found.errors[0]))
        means.append(found.values)
    assert np.mean(errors) == pytest.approx(np.std(np.array(means)), rel=0.25)


def test_noise_does_not_see_a_slope_or_a_spike():
    rng = np.random.default_rng(2)
    values = np.linspace(5, 2, 5000) + 0.05 * rng.standard_normal(5000)
    values[::500] += 3
    assert noise(values) == pytest.approx(0.05, rel=0.06)


def test_a_trimmed_mean_leaves_out_a_tenth_on_both_sides():
    assert trimmed(np.array([0.0] * 9 + [1000.0])) == 0.0
    assert np.isnan(trimmed(np.empty(0)))
