"""Was the loss that was logged smoothed? Then single steps cannot be seen in it, and noise is not what it was."""

from __future__ import annotations

import numpy as np

from ..viewing.series import Floats

_FEWEST, _MOST = 300, 20_000  # values that are looked at
_BEGINNING = 0.05  # of the run, which falls too steeply to be without trend
_TREND_ROWS = 100  # in which a parabola is the trend
_SMOOTH = 0.72  # correlation of neighbours in these: raw losses have up to .65, running means of ten .83 or more
_NEAR = 0.7  # mean squares of differences from one to the next, over those to the next but one: running means have 0.5


def is_smoothed(loss: Floats) -> bool:
    """Whether neighbours are so much alike that the values must be running means.

    A running mean of n values has a correlation of 1 - 1/n from one to the next, an exponential one of its factor.
    Batches of raw losses are nearly independent. Where a trend is taken away, correlations come out lower.
    """
    values = loss[int(_BEGINNING * len(loss)) :][:_MOST]
    if len(values) < _FEWEST:
        return False
    logs = np.log(values) if values.min() > 0 else values
    found = []
    basis, _ = np.linalg.qr(np.vander(np.linspace(-1, 1, _TREND_ROWS), 3))
    for start in range(0, len(logs) - _TREND_ROWS + 1, _TREND_ROWS):
        part = logs[start : start + _TREND_ROWS]
        left = part - basis @ (basis.T @ part)
        spread = np.median(np.abs(left))
        # Without what stands out, which a correlation would be made of.
        left = np.clip(left, -4 * spread, 4 * spread)
        power = float((left**2).sum())
        if power > 0:
            found.append(float((left[1:] * left[:-1]).sum()) / power)
    return bool(found) and float(np.median(found)) > _SMOOTH and _spread(logs, 1) < _NEAR * _spread(logs, 2)


def _spread(values: Floats, lag: int) -> float:
    """Mean square of the differences between values so far apart, without what stands out.

    For independent values it is the same at any lag, whatever trend or steps they have; for running means it grows.
    """
    differences = values[lag:] - values[:-lag]
    differences = differences - np.median(differences)
    limit = 6 * np.median(np.abs(differences))
    return float((np.clip(differences, -limit, limit) ** 2).mean())
