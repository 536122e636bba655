"""The charts of one signal in plain floats, for a few signals; ``vector.py`` has the same step for many.

A step that computes for 50 ms leaves the caches cold, and each numpy call then takes microseconds instead of a fraction
of one. For the usual two or three signals plain floats cost the training thread an eighth of what arrays do there.
"""

from __future__ import annotations

import math

from .charts import COSTS, GAINS, LEVEL_CLIP, LEVEL_SHIFTS, SQUARE_CLIP
from .residual import (
    AUTO_GAIN,
    CLIP,
    CONSISTENCY,
    MAX_AUTO,
    PREDICTED,
    RESIDUAL_ROWS,
    SLOPE_RATIO,
    SLOPE_SETTLES,
    VARIANCE_GAIN,
)
from .states import CUSUM_ROWS, LEVEL_PEAK, SCALE_PEAK
from .thresholds import EXCURSION_ENDS, EXCURSION_LEVEL, OUTLIER_LEVEL

FEW_SIGNALS = 6

# Place of each CUSUM in the state, gain and cost.
_CUSUMS = tuple(zip(range(CUSUM_ROWS.start, CUSUM_ROWS.stop), GAINS, COSTS, strict=True))
_LEVEL, _SCALE = _CUSUMS[: len(LEVEL_SHIFTS)], _CUSUMS[len(LEVEL_SHIFTS) :]


def residual_step_one(state: list[float], x: float, memory: int) -> float:
    """Whitened residual u of the new value, whose prediction and its sd are kept; then learn from it.

    Holt's linear trend with innovations clipped at 3 sd (Gelper, Fried and Croux 2010), a recursive variance of the
    clipped innovations, and AR(1) whitening with the autocorrelation measured on the way.

    Args:
        state: the rows of the residual first; what follows them is left alone.
        x: the value on the scale on which it is judged, finite.
        memory: time constant of the trend, in samples.
    """
    seen, level, slope, variance, last, auto_num, auto_den, floor = state[:PREDICTED]
    seen += 1
    predicted = level + slope
    sd = math.sqrt(variance)
    z = (x - predicted) / sd
    clipped = CLIP if z > CLIP else -CLIP if z < -CLIP else z
    # Plain comparisons: max() and min() would take a third of the whole step.
    level_gain, slope_ratio, variance_gain, early = 1 / memory, SLOPE_RATIO, VARIANCE_GAIN, 2 / (seen + 1)
    if early > level_gain:
        level_gain = early
    if early > slope_ratio and seen <= SLOPE_SETTLES:
        slope_ratio = early
    if early / 2 > variance_gain:
        variance_gain = early / 2
    step = clipped * sd
    # An innovation beyond the clip moves the level but says nothing about the slope: a slope learned from a jump
    # overshoots when the level arrives, and the end of a fall then looks like a rise.
    if z == clipped:
        slope += level_gain * slope_ratio * step
    square = clipped * clipped
    variance *= 1 + variance_gain * (CONSISTENCY * square - 1)
    if floor > variance:
        variance = floor
    auto_num += AUTO_GAIN * (clipped * last - auto_num)
    auto_den += AUTO_GAIN * (square - auto_den)
    phi = auto_num / auto_den
    phi = 0.0 if phi < 0.0 else MAX_AUTO if phi > MAX_AUTO else phi
    u = (z - phi * last) / math.sqrt(1 - phi * phi)
    # Losses flatten: a slope per step that is carried on unchanged soon predicts too little, and the loss seems to
    # rise. Carried on per log(step) it is constant for a power law (Kaplan et al. 2020) and errs downwards otherwise.
    state[:RESIDUAL_ROWS] = (
        seen, predicted + level_gain * step, slope * (1 - 1 / seen), variance, clipped,
        auto_num, auto_den, floor, predicted, sd, u,
    )  # fmt: skip
    return u


def chart_step_one(state: list[float], u: float) -> tuple[float, float]:
    """Advance the CUSUMs in ``state`` by a whitened residual; return level chart F and scale chart G."""
    clipped = LEVEL_CLIP if u > LEVEL_CLIP else -LEVEL_CLIP if u < -LEVEL_CLIP else u
    level = scale = 0.0
    for place, gain, cost in _LEVEL:
        value = state[place] + gain * clipped - cost
        state[place] = value = value if value > 0 else 0.0
        if value > level:
            level = value
    square = SQUARE_CLIP if abs(u) > 3.0 else u * u
    for place, gain, cost in _SCALE:
        value = state[place] + gain * square - cost
        state[place] = value = value if value > 0 else 0.0
        if value > scale:
            scale = value
    return level, scale


def stands_out_one(state: list[float], u: float, level: float, scale: float, floors: tuple[float, float]) -> bool:
    """Whether a sample needs a judgement: a chart may be over its threshold, or an excursion of one has ended.

    Args:
        state: its peaks follow the two charts.
        floors: lowest level and lowest scale that can be an alarm.
    """
    if level > state[LEVEL_PEAK]:
        state[LEVEL_PEAK] = level
    if scale > state[SCALE_PEAK]:
        state[SCALE_PEAK] = scale
    return (
        u > OUTLIER_LEVEL
        or level > floors[0]
        or scale > floors[1]
        or (level < EXCURSION_ENDS and state[LEVEL_PEAK] > EXCURSION_LEVEL)
        or (scale < EXCURSION_ENDS and state[SCALE_PEAK] > EXCURSION_LEVEL)
    )
