"""Control charts on the whitened residual u: a bank of level CUSUMs and a bank of scale CUSUMs, upward only.

Four one-sided CUSUMs tuned to shifts of 0.5 to 3 sd stand in for all shift sizes at once (Page 1954; the bank as in
Lucas 1982); their maximum F is the level chart. Three CUSUMs on min(u^2, 9) tuned to variance ratios 1.5, 2.5 and 5
give the scale chart G. The outlier chart is u itself.
"""

from __future__ import annotations

import numpy as np

from .residual import Floats

LEVEL_SHIFTS = (0.5, 1.0, 2.0, 3.0)
SCALE_RATIOS = (1.5, 2.5, 5.0)
CHART_ROWS = len(LEVEL_SHIFTS) + len(SCALE_RATIOS)
_SPLIT = len(LEVEL_SHIFTS)

# Clipped at 2, the level chart's false-alarm rate hardly depends on the noise distribution: 0.1 exp(-h) per sample.
LEVEL_CLIP = 2.0
SQUARE_CLIP = 9.0

_mu = np.array(LEVEL_SHIFTS)
_r = np.array(SCALE_RATIOS)
# Log-likelihood ratio per sample is gain * (clipped u or its clipped square) - cost.
_GAIN = np.concatenate([_mu, 0.5 * (1 - 1 / _r)])[:, None]
_COST = np.concatenate([_mu**2 / 2, 0.5 * np.log(_r)])[:, None]


def chart_step(cusums: Floats, u: Floats) -> tuple[Floats, Floats]:
    """Advance all CUSUMs in place; return level chart F and scale chart G, each of shape (signals,).

    Args:
        cusums: shape (7, signals), level bank first.
        u: whitened residual of shape (signals,).
    """
    increments = np.empty_like(cusums)
    level = increments[:_SPLIT]
    level[:] = np.maximum(np.minimum(u, LEVEL_CLIP), -LEVEL_CLIP)
    increments[_SPLIT:] = np.minimum(u * u, SQUARE_CLIP)
    increments *= _GAIN
    increments -= _COST
    cusums += increments
    np.maximum(cusums, 0.0, out=cusums)
    return cusums[:_SPLIT].max(axis=0), cusums[_SPLIT:].max(axis=0)
