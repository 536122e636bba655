"""Single values far above what is on both sides of them: what a bad batch leaves."""

from __future__ import annotations

import numpy as np

from ..viewing.series import Floats, Ints
from .fits import robust_sd

_AROUND = 12  # rows on either side, whose median is the level
_SPREAD_ROWS = 500  # over which the spread is taken
_FAR, _NEAR = 10.0, 4.0  # spreads: from the first on it is one, within the second the run is back
_LONGEST = 2  # rows
_CHUNK = 50_000
_FEWEST = 100


def lone_values(values: Floats) -> Ints:
    """Places of single or double values ten robust spreads or more above their surroundings.

    A rule to look back with: it sees what comes after. The rule by which public curves were labelled is of this kind.

    >>> quiet = np.sin(np.arange(1000.0))
    >>> quiet[[300, 301, 700]] = 50.0
    >>> lone_values(quiet).tolist()
    [300, 700]
    """
    rows = len(values)
    if rows < _FEWEST:
        return np.empty(0, dtype=np.int64)
    logs = np.log(values) if values.min() > 0 else values
    padded = np.pad(logs, _AROUND, mode="edge")
    above = np.empty(rows)
    for start in range(0, rows, _CHUNK):
        stop = min(start + _CHUNK, rows)
        windows = np.lib.stride_tricks.sliding_window_view(padded[start : stop + 2 * _AROUND], 2 * _AROUND + 1)
        above[start:stop] = logs[start:stop] - np.median(windows, axis=1)
    count = max(rows // _SPREAD_ROWS, 1)
    spreads = np.array([robust_sd(part) for part in np.array_split(above, count)])
    above /= np.maximum(np.repeat(spreads, [len(part) for part in np.array_split(above, count)]), 1e-9)
    high = above > _NEAR
    edges = np.flatnonzero(np.diff(np.concatenate([[False], high, [False]]).astype(np.int8)))
    starts, stops = edges[::2], edges[1::2]
    found = [
        start
        for start, stop in zip(starts.tolist(), stops.tolist(), strict=True)
        if stop - start <= _LONGEST and above[start:stop].max() > _FAR
    ]
    return np.array(found, dtype=np.int64)
