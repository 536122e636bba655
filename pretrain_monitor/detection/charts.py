"""Control charts on the whitened residual u: a bank of level CUSUMs and a bank of scale CUSUMs, upward only.

Four one-sided CUSUMs tuned to shifts of 0.5 to 3 sd stand in for all shift sizes at once (Page 1954; the bank as in
Lucas 1982); their maximum F is the level chart. Three CUSUMs on min(u^2, 9) tuned to variance ratios 1.5, 2.5 and 5
give the scale chart G. The outlier chart is u itself.
"""

from __future__ import annotations

import math

LEVEL_SHIFTS = (0.5, 1.0, 2.0, 3.0)
SCALE_RATIOS = (1.5, 2.5, 5.0)
CHART_ROWS = len(LEVEL_SHIFTS) + len(SCALE_RATIOS)

# Clipped at 2, the level chart's false-alarm rate hardly depends on the noise distribution: 0.1 exp(-h) per sample.
LEVEL_CLIP = 2.0
SQUARE_CLIP = 9.0

# Log-likelihood ratio per sample is gain * (clipped u or its clipped square) - cost.
GAINS = (*LEVEL_SHIFTS, *(0.5 * (1 - 1 / r) for r in SCALE_RATIOS))
COSTS = (*(mu**2 / 2 for mu in LEVEL_SHIFTS), *(0.5 * math.log(r) for r in SCALE_RATIOS))
