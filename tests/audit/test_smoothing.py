"""Which losses are called smoothed: running means are, whatever their trend, and raw ones are not."""

from __future__ import annotations

import numpy as np
import pytest

from pretrain_monitor.audit.smoothing import is_smoothed
from pretrain_monitor.viewing.series import Floats


def exponential(x: Floats, factor: float) -> Floats:
    out = x.copy()
    for at in range(1, len(x)):
        out[at] = factor * out[at - 1] + (1 - factor) * x[at]
    return out


def running(x: Floats, count: int) -> Floats:
    return np.convolve(x, np.ones(count) / count, mode="valid")


def curves(rows: int) -> dict[str, Floats]:
    """Losses that are raw, under trends that a careless eye takes for smoothness."""
    rng = np.random.default_rng(rows)
    at = np.arange(rows)
    noise = rng.normal(0, 0.04, rows)
    spikes = np.where(rng.random(rows) < 0.01, 1.0, 0.0)
    return {
        "power law": 2 + 6 * (at + 10.0) ** -0.3 + noise,
        "steep": 5 - 2 * at / rows + noise,
        "steps": 3 + 0.5 * (at // 90 % 3) + noise,
        "waves": 3 + 0.2 * np.sin(at / 40) + noise,
        "spikes": 3 + noise + spikes,
        "some memory": 3 + exponential(noise, 0.5),
        "negative": noise,
    }


@pytest.mark.parametrize("rows", [1000, 5000])  # of 400 rows one in twenty is missed
@pytest.mark.parametrize("name", list(curves(10)))
def test_raw_losses_are_not_and_running_means_of_them_are(name: str, rows: int):
    raw = curves(rows)[name]
    assert not is_smoothed(raw)
    assert is_smoothed(exponential(raw, 0.9))
    assert is_smoothed(running(raw, 10))


def test_of_a_few_values_or_of_one_level_nothing_is_said():
    assert not is_smoothed(running(curves(5000)["steep"], 10)[:250])
    assert not is_smoothed(np.full(1000, 2.5))
