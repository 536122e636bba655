"""One-step-ahead residuals: robust trend, scale and whitening, for all signals at once.

A signal's state is one column of a float array; the rows are named below. All functions work on row views of shape
(signals,) and change them in place, so the same code serves all signals of a step or a part of them.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

# Rows of the state: samples seen, Holt level and slope, innovation variance, last clipped innovation, and
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


def settle_noise(rows: Floats, recent: Floats) -> None:
    """Measure variance and autocorrelation of one signal afresh, on its newest values, when its charts begin.

    In the steep descent of the first steps the trend lags, its one-sided errors look like wide and slow noise, and for
    some hundred samples more the charts would be blind.

    Args:
        rows: the state of the signal, changed in place.
        recent: its newest values on the scale on which it is judged, oldest first, at least 32.
    """
    residual = _around_line(recent)
    spread = local_spread(recent)
    rows[VARIANCE] = max(min(spread, 1e150) ** 2, rows[FLOOR])
    z = np.clip(residual / np.sqrt(rows[VARIANCE]), -CLIP, CLIP)
    rows[AUTO_NUM] = float(np.mean(z[1:] * z[:-1]))
    rows[AUTO_DEN] = max(float(np.mean(z * z)), 1e-12)


def local_spread(recent: Floats) -> float:
    """Robust sd of values around a straight line through the medians of their halves."""
    return 1.4826 * float(np.median(np.abs(_around_line(recent))))


def _around_line(recent: Floats) -> Floats:
    half = len(recent) // 2
    first, second = np.median(recent[:half]), np.median(recent[half:])
    slope = (second - first) / (len(recent) - half)
    residual = recent - slope * np.arange(len(recent))
    return np.asarray(residual - np.median(residual))


def residual_step(rows: Sequence[Floats], x: Floats, memory: int, *, is_mature: bool) -> Floats:
    """Whitened residual u of the new values ``x``, whose prediction and its sd are kept; then learn from them.

    Holt's linear trend with innovations clipped at 3 sd (Gelper, Fried and Croux 2010), a recursive variance of the
    clipped innovations, and AR(1) whitening with the autocorrelation measured on the way.

    Args:
        rows: the state rows, each of shape (signals,).
        x: values of shape (signals,), finite.
        memory: time constant of the trend, in samples.
        is_mature: every signal has seen at least ``MATURE_SAMPLES``, so that the gains have settled.
    """
    seen, level, slope, variance, last, auto_num, auto_den, floor, predicted, sd, white = rows
    seen += 1
    np.add(level, slope, out=predicted)
    np.sqrt(variance, out=sd)
    z = x - predicted
    z /= sd
    z_clipped = np.minimum(z, CLIP)
    np.maximum(z_clipped, -CLIP, out=z_clipped)

    level_gain: float | Floats
    slope_gain: float | Floats
    variance_gain: float | Floats
    if is_mature:
        level_gain = 1.0 / memory
        slope_gain = level_gain * SLOPE_RATIO
        variance_gain = VARIANCE_GAIN
    else:
        level_gain = np.maximum(1.0 / memory, 2 / (seen + 1))
        early_ratio = np.maximum(SLOPE_RATIO, 2 / (seen + 1))
        slope_gain = level_gain * np.where(seen > SLOPE_SETTLES, SLOPE_RATIO, early_ratio)
        variance_gain = np.maximum(VARIANCE_GAIN, 1 / (seen + 1))

    step = z_clipped * sd
    level[:] = predicted + level_gain * step
    # An innovation beyond the clip moves the level but says nothing about the slope: a slope learned from a jump
    # overshoots when the level arrives, and the end of a fall then looks like a rise.
    slope += slope_gain * step * (z == z_clipped)
    # Losses flatten: a slope per step that is carried on unchanged soon predicts too little, and the loss seems to
    # rise. Carried on per log(step) it is constant for a power law (Kaplan et al. 2020) and errs downwards otherwise.
    slope *= 1 - 1 / seen
    square = z_clipped * z_clipped
    variance *= 1 + variance_gain * (CONSISTENCY * square - 1)
    np.maximum(variance, floor, out=variance)

    auto_num += AUTO_GAIN * (z_clipped * last - auto_num)
    auto_den += AUTO_GAIN * (square - auto_den)
    phi = auto_num / auto_den
    np.maximum(phi, 0.0, out=phi)
    np.minimum(phi, MAX_AUTO, out=phi)
    np.divide(z - phi * last, np.sqrt(1 - phi * phi), out=white)
    last[:] = z_clipped
    return white
