"""Share of values far outside of what came just before them."""

from __future__ import annotations

import numpy as np

from ..viewing.series import Floats
from .fits import robust_sd

WINDOW = 1000
SPREADS = 7.0
_FARTHEST = 1e6  # spreads
_FEWEST = 100  # values before one that is judged: a spread of fewer says little


def spike_score(values: Floats) -> tuple[float, Floats]:
    """The spike score of OLMo 2 (OLMo team 2024): share of the values at least seven standard deviations away from the
    mean of the last thousand, in percent; and which they are.

    A value is held against the values before it and never against itself. Here, where there are not yet a thousand,
    from the hundredth on against as many as there are.

    >>> quiet = np.sin(np.arange(2000.0))
    >>> quiet[1500] = 100.0
    >>> score, places = spike_score(quiet)
    >>> f"{score:.2f}", places.tolist()
    ('0.05', [1500])
    """
    count = len(values)
    if count <= _FEWEST:
        return 0.0, np.empty(0, dtype=np.int64)
    # Sums of squares of small numbers: what is far from zero would lose its digits.
    centred = values - np.median(values)
    # One value of 1e12 would leave no digits to all that come after it.
    reach = _FARTHEST * max(robust_sd(np.diff(values)), 1e-12)
    centred = np.clip(centred, -reach, reach)
    sums = np.concatenate([[0.0], np.cumsum(centred)])
    squares = np.concatenate([[0.0], np.cumsum(centred**2)])
    at = np.arange(_FEWEST, count)
    start = np.maximum(at - WINDOW, 0)
    rows = at - start
    mean = (sums[at] - sums[start]) / rows
    variance = np.maximum((squares[at] - squares[start]) / rows - mean**2, 0.0)
    spread = np.maximum(np.sqrt(variance), 1e-9 * np.maximum(np.abs(values[at]), 1e-12))
    places = at[np.abs(centred[at] - mean) >= SPREADS * spread]
    return 100.0 * len(places) / len(at), places
