"""The charts of one signal in plain floats: the same step as ``residual_step`` and ``chart_step``, for a few signals.

A step that computes for 50 ms leaves the caches cold, and each numpy call then takes microseconds instead of a fraction
of one. For the usual two or three signals plain floats cost the training thread an eighth of what arrays do there.
"""

from __future__ import annotations

import math

from .charts import LEVEL_CLIP, LEVEL_SHIFTS, SCALE_RATIOS, SQUARE_CLIP
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

FEW_SIGNALS = 6

# Place of each CUSUM in the state, gain and cost, as in charts.py.
_LEVEL = tuple((RESIDUAL_ROWS + i, mu, mu**2 / 2) for i, mu in enumerate(LEVEL_SHIFTS))
_SCALE = tuple(
    (RESIDUAL_ROWS + len(LEVEL_SHIFTS) + i, 0.5 * (1 - 1 / r), 0.5 * math.log(r)) for i, r in enumerate(SCALE_RATIOS)
)


def residual_step_one(state: list[float], x: float, memory: int) -> float:
    """Whitened residual u of the new value; then learn from it. See ``residual_step``."""
    seen = state[0] + 1
    level, slope, variance, last, auto_num, auto_den, floor = state[1:PREDICTED]
    predicted = level + slope
    sd = math.sqrt(variance)
    z = (x - predicted) / sd
    clipped = CLIP if z > CLIP else -CLIP if z < -CLIP else z
    level_gain = max(1 / memory, 2 / (seen + 1))
    ratio = SLOPE_RATIO if seen > SLOPE_SETTLES else max(SLOPE_RATIO, 2 / (seen + 1))
    step = clipped * sd
    if z == clipped:
        slope += level_gain * ratio * step
    square = clipped * clipped
    variance *= 1 + max(VARIANCE_GAIN, 1 / (seen + 1)) * (CONSISTENCY * square - 1)
    auto_num += AUTO_GAIN * (clipped * last - auto_num)
    auto_den += AUTO_GAIN * (square - auto_den)
    phi = min(max(auto_num / auto_den, 0.0), MAX_AUTO)
    u = (z - phi * last) / math.sqrt(1 - phi * phi)
    state[:RESIDUAL_ROWS] = (
        seen, predicted + level_gain * step, slope * (1 - 1 / seen), max(variance, floor), clipped,
        auto_num, auto_den, floor, predicted, sd, u,
    )  # fmt: skip
    return u


def chart_step_one(state: list[float], u: float) -> tuple[float, float]:
    """Advance the CUSUMs in ``state``; return level chart F and scale chart G. See ``chart_step``."""
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
