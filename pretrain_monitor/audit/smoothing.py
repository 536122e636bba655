"""Was the loss that was logged smoothed? Then single steps cannot be seen in it, and noise is not what it was."""

from __future__ import annotations

import numpy as np

from ..viewing.series import Floats

_FEWEST, _MOST = 300, 20_000  # values that are looked at
_BEGINNING = 0.05  # of the run, which falls too steeply to be without trend
_TREND_ROWS = 200  # means of so many are what is taken away as the trend
_SMOOTH = 0.75  # correlation of neighbours: raw losses have up to .6, a running mean of ten has .9


def is_smoothed(loss: Floats) -> bool:
    """Whether neighbours are so much alike that the values must be running means.

    A running mean of n values has a correlation of 1 - 1/n from one to the next, an exponential one of its factor.
    Batches of raw losses are nearly independent.
    """
    values = loss[int(_BEGINNING * len(loss)) :][:_MOST]
    if len(values) < _FEWEST:
        return False
    logs = np.log(values) if values.min() > 0 else values
    found = []
    for start in range(0, len(logs) - _TREND_ROWS + 1, _TREND_ROWS):
        part = logs[start : start + _TREND_ROWS]
        at = np.arange(len(part)) - (len(part) - 1) / 2
        left = part - part.mean() - at * float((at * part).sum() / (at**2).sum())
        spread = np.median(np.abs(left))
        # Without what stands out, which a correlation would be made of.
        left = np.clip(left, -4 * spread, 4 * spread)
        power = float((left**2).sum())
        if power > 0:
            found.append(float((left[1:] * left[:-1]).sum()) / power)
    return bool(found) and float(np.median(found)) > _SMOOTH
