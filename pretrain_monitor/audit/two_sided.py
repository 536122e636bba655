"""What a finished run's loss was expected to be at each row, from the rows before and after it, and how noisy it was.

Running medians of short blocks: neither a spike nor a bad batch moves them, and a curve that falls steadily, however
steeply, is followed without lag. Live detection knows the rows before only.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Rows = NDArray[np.int64]

BLOCK_ROWS = 8
_TREND_BLOCKS = 13  # 104 rows: twice the longest that a spike may stay up and still stand clear of its own trend
_NOISE_BLOCKS = 67  # 536 rows: a noise that changes with the learning rate or batch size is followed
_FIRST_BLOCK, _GROWTH = 4, 8  # at row t of the steep start a block has t / 8 rows, at least four
_GAUSSIAN = 1.4826  # a normal variable's sd over its median absolute deviation
_NEAR_ZERO = 0.05  # nats; below, a logarithm turns ordinary noise into outliers: the live detector's limit
_LEAST_SD = 1e-4  # of the trend: no log is written more finely than that in earnest


@dataclass(frozen=True, slots=True)
class TwoSided:
    """A loss beside its two-sided trend; all arrays of shape (n,), one entry a finite row.

    Args:
        rows: which rows of the series these are.
        x: log of the loss, or the loss where it comes near zero.
        trend: of ``x``.
        sd: robust, of ``x`` about the trend.
    """

    rows: Rows
    steps: Rows
    x: Floats
    trend: Floats
    sd: Floats
    is_log: bool

    @property
    def z(self) -> Floats:
        """Height over the trend, in sd."""
        return np.asarray((self.x - self.trend) / self.sd)

    def steps_per_row(self, row: int) -> float:
        """Around a row: the first rows of a log may be denser than the rest."""
        near = self.steps[max(0, row - BLOCK_ROWS) : row + BLOCK_ROWS + 1]
        return float(np.median(np.diff(near))) if len(near) > 1 else 1.0

    def in_words(self, height: float) -> str:
        """A height of ``x`` as people say it."""
        return f"{100 * np.expm1(height):.3g} %" if self.is_log else f"{height:.3g}"


def two_sided(steps: Rows, loss: Floats) -> TwoSided:
    """Trend and noise of all finite values; a run of less than 8 of them has its median as trend."""
    rows = np.flatnonzero(np.isfinite(loss))
    values = np.asarray(loss[rows], dtype=np.float64)
    is_log = bool(len(values)) and bool(values.min() > _NEAR_ZERO)
    x = np.log(values) if is_log else values
    edges = _edges(len(x))
    trend = _smoothed(x, edges, _TREND_BLOCKS)
    sd = _GAUSSIAN * _smoothed(np.abs(x - trend), edges, _NOISE_BLOCKS)
    least = _LEAST_SD if is_log else _LEAST_SD * np.maximum(np.abs(trend), _NEAR_ZERO)
    # Values written with few decimals lie on few levels: half the distance of two is noise that cannot be seen.
    changes = np.abs(np.diff(x))
    quantum = float(changes[changes > 1e-12].min()) if (changes > 1e-12).any() else 0.0
    return TwoSided(rows, steps[rows], x, trend, np.maximum(sd, np.maximum(least, quantum / 2)), is_log)


def running_median(values: Floats, width: int) -> Floats:
    """Centred; the width is odd, and cut to the number of values.

    Beyond the end lies what lies before it, mirrored: held, the last value would be its own trend. Beyond the start,
    where a loss falls steeply, a mirror would bend the trend up, and the first value is held.
    """
    if not len(values):
        return values
    width = _fitting(width, len(values))
    held = np.full(width // 2, values[0])
    return _ranked(np.concatenate((held, np.pad(values, (0, width // 2), mode="reflect"))), width, 0.5)


def running_rank(values: Floats, width: int, share: float) -> Floats:
    """The value below which that share of each window lies, likewise centred, and mirrored at both ends."""
    width = _fitting(width, len(values))
    return _ranked(np.pad(values, width // 2, mode="reflect"), width, share)


def _fitting(width: int, count: int) -> int:
    """The width, or the largest odd one that so many values have."""
    return max(min(width, count - 1 + count % 2), 1)


def _ranked(padded: Floats, width: int, share: float) -> Floats:
    rank = round(share * (width - 1))
    windows = np.lib.stride_tricks.sliding_window_view(padded, width)
    return np.asarray(np.partition(windows, rank, axis=-1)[:, rank])


def _edges(n: int) -> Rows:
    """Where blocks begin, and the end: short ones at the start, where the loss falls fast; the last is no stub."""
    edges = [0]
    while (size := max(_FIRST_BLOCK, edges[-1] // _GROWTH)) < BLOCK_ROWS and edges[-1] + size < n:
        edges.append(edges[-1] + size)
    edges += range(edges[-1] + BLOCK_ROWS, n - BLOCK_ROWS + 1, BLOCK_ROWS)
    return np.array([*edges, n], dtype=np.int64)


def _smoothed(values: Floats, edges: Rows, width: int) -> Floats:
    """Running median of the medians of blocks, straight from the middle of one to that of the next."""
    if not len(values):
        return values
    medians = running_median(_block_medians(values, edges), width)
    return np.interp(np.arange(len(values)), (edges[:-1] + edges[1:] - 1) / 2, medians)


def _block_medians(values: Floats, edges: Rows) -> Floats:
    medians = np.empty(len(edges) - 1)
    is_full = np.diff(edges) == BLOCK_ROWS
    for block in np.flatnonzero(~is_full).tolist():  # those of the start, and the last
        medians[block] = np.median(values[edges[block] : edges[block + 1]])
    places = edges[:-1][is_full]
    if len(places):
        medians[is_full] = np.median(values[places[:, None] + np.arange(BLOCK_ROWS)], axis=1)
    return medians
