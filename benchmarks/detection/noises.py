"""Noise of unit variance as training logs have it: tails, memory, skew."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from .curves import Floats

Noise = Callable[[np.random.Generator, int], Floats]

_SETTLE_ROWS = 200  # of an autoregression, thrown away


def gaussian(rng: np.random.Generator, rows: int) -> Floats:
    return rng.standard_normal(rows)


def student(degrees: float) -> Noise:
    """Heavy tails both ways; ``degrees`` above 2."""
    return lambda rng, rows: rng.standard_t(degrees, size=rows) * ((degrees - 2) / degrees) ** 0.5


def skewed(rng: np.random.Generator, rows: int) -> Floats:
    """A centred gamma variable of shape 4, skewness 1: long to the top, short to the bottom, as batch losses are."""
    return rng.gamma(4.0, size=rows) / 2 - 2


def autoregressive(first: float, second: float = 0.0, shocks: Noise = gaussian) -> Noise:
    """AR(2) with x_t = first x_{t-1} + second x_{t-2} + shock, scaled to unit variance (Box and Jenkins 1970)."""
    variance = (1 - second) / ((1 + second) * ((1 - second) ** 2 - first**2))

    def noise(rng: np.random.Generator, rows: int) -> Floats:
        before = earlier = 0.0
        values = []
        for shock in shocks(rng, rows + _SETTLE_ROWS).tolist():
            before, earlier = first * before + second * earlier + shock, before
            values.append(before)
        return np.asarray(np.array(values[_SETTLE_ROWS:]) / variance**0.5)

    return noise
