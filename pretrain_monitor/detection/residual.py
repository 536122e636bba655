"""One-step-ahead residuals: the state behind them, how it begins, and how its noise is measured.

The step itself is in ``scalar.py`` for one signal and in ``vector.py`` for many at once.
"""

from __future__ import annotations

from collections.abc import MutableSequence

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

# Rows of a signal's state: samples seen, Holt level and slope, innovation variance, last clipped innovation, and
# numerator and denominator of the lag-1 autocorrelation. FLOOR is the smallest variance believed; PREDICTED and SD are
# what was expected of the newest sample, WHITE its whitened residual; NaN before the first.
SEEN, LEVEL, SLOPE, VARIANCE, LAST, AUTO_NUM, AUTO_DEN, FLOOR, PREDICTED, SD, WHITE = range(11)
RESIDUAL_ROWS = 11

INIT_SAMPLES = 48
CLIP = 3.0  # innovations beyond this many sd move the trend no further
VARIANCE_GAIN = 1 / 256
CONSISTENCY = 1.03  # E[min(z^2, 9)] = 1 / 1.03 for a Gaussian z
AUTO_GAIN = 0.004
MAX_AUTO = 0.8
SLOPE_RATIO = 1 / 64
SLOPE_SETTLES = 200
MATURE_SAMPLES = 2 * 256  # from here on all gains are constant for any memory up to 256


def initial_rows(values: Floats, floor_sd: float) -> Floats:
    """State of one signal after its first 48 finite values, already on the scale on which it is judged.

    Medians of the two halves give level and slope; the MAD of the first differences gives the variance.
    """
    half = INIT_SAMPLES // 2
    first, second = np.median(values[:half]), np.median(values[half:])
    slope = (second - first) / half
    differences = np.diff(values)
    spread = 1.4826 * np.median(np.abs(differences - np.median(differences)))
    rows = np.zeros(RESIDUAL_ROWS)
    rows[SEEN] = INIT_SAMPLES
    rows[LEVEL] = second + (half - 1) / 2 * slope
    rows[SLOPE] = slope
    rows[FLOOR] = floor_sd**2
    rows[VARIANCE] = max(spread**2 / 2, rows[FLOOR])
    rows[AUTO_DEN] = 1.0
    rows[PREDICTED] = rows[SD] = rows[WHITE] = np.nan
    return rows


def settle_noise(state: MutableSequence[float] | Floats, recent: Floats) -> None:
    """Measure variance and autocorrelation of one signal afresh, on its newest values, when its charts begin.

    In the steep descent of the first steps the trend lags, its one-sided errors look like wide and slow noise, and for
    some hundred samples more the charts would be blind.

    Args:
        state: the state of the signal, changed in place.
        recent: its newest values on the scale on which it is judged, oldest first, at least 32.
    """
    residual = _around_line(recent)
    spread = local_spread(recent)
    state[VARIANCE] = max(min(spread, 1e150) ** 2, state[FLOOR])
    z = np.clip(residual / np.sqrt(state[VARIANCE]), -CLIP, CLIP)
    state[AUTO_NUM] = float(np.mean(z[1:] * z[:-1]))
    state[AUTO_DEN] = max(float(np.mean(z * z)), 1e-12)


def local_spread(recent: Floats) -> float:
    """Robust sd of values around a straight line through the medians of their halves."""
    return 1.4826 * float(np.median(np.abs(_around_line(recent))))


def _around_line(recent: Floats) -> Floats:
    half = len(recent) // 2
    first, second = np.median(recent[:half]), np.median(recent[half:])
    slope = (second - first) / (len(recent) - half)
    residual = recent - slope * np.arange(len(recent))
    return np.asarray(residual - np.median(residual))
