"""What the re-implemented rules share: statistics over the values before a row, and alerts out of rows that fired.

Statistics are taken from each window afresh: running sums would keep the rounding of a large spike, and a rule with a
floor under its deviation would then decide otherwise than the original. The rules are batched for that, so their time
says nothing of what the original costs a run.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from .curves import Curve, Finding, Floats

Rows = NDArray[np.bool_]  # which rows of a curve fired, shape (rows,)
Statistics = Callable[[Floats], tuple[Floats, ...]]  # of windows of shape (..., width), each of shape (...)

# Declared, not inferred: class attributes that take their value from here get the type of ``Baseline.mode`` with it.
LIVE: Literal["live", "offline"] = "live"
OFFLINE: Literal["live", "offline"] = "offline"

_VALUES_AT_ONCE = 1 << 20  # bounds the memory that windows of a long curve take


def trailing(values: Floats, width: int, statistics: Statistics, *, least: int, with_own: bool = False) -> Floats:
    """Statistics of the last ``width`` values before each row, shape (statistics, rows).

    Args:
        least: a window with fewer values gives NaN; the windows grow at the start of a curve.
        with_own: whether a window ends with the row's own value, which most rules leave out.
    """
    rows, own = len(values), int(with_own)
    with np.errstate(all="ignore"):  # a window may hold Inf or NaN
        out = np.full((len(statistics(np.zeros(width))), rows), np.nan)
        for row in range(max(0, least - own), min(rows, width - own)):
            out[:, row] = statistics(values[: row + own])
        if rows > width - own:
            windows = sliding_window_view(values, width)
            at_once = max(1, _VALUES_AT_ONCE // width)
            for first in range(width - own, rows, at_once):
                last = min(rows, first + at_once)
                out[:, first:last] = statistics(windows[first + own - width : last + own - width])
    return out


def mean(windows: Floats) -> tuple[Floats, ...]:
    return (np.asarray(windows.mean(axis=-1)),)


def mean_and_sd(windows: Floats) -> tuple[Floats, ...]:
    """Mean and population standard deviation."""
    return np.asarray(windows.mean(axis=-1)), np.asarray(windows.std(axis=-1))


def mean_and_unbiased_sd(windows: Floats) -> tuple[Floats, ...]:
    return np.asarray(windows.mean(axis=-1)), np.asarray(windows.std(axis=-1, ddof=1))


def mean_and_sd_without_nan(windows: Floats) -> tuple[Floats, ...]:
    """Mean and population standard deviation of what is no NaN."""
    known = ~np.isnan(windows)
    count = known.sum(axis=-1)
    means = np.where(known, windows, 0.0).sum(axis=-1) / count
    squares = np.where(known, (windows - means[..., np.newaxis]) ** 2, 0.0)
    return means, np.sqrt(squares.sum(axis=-1) / count)


def median_and_mad(windows: Floats) -> tuple[Floats, ...]:
    """Median and median absolute deviation from it, unscaled."""
    medians = np.median(windows, axis=-1)
    return medians, np.asarray(np.median(np.abs(windows - medians[..., np.newaxis]), axis=-1))


def median_and_count_without_nan(windows: Floats) -> tuple[Floats, ...]:
    """Median of what is no NaN, and how much that is."""
    count = (~np.isnan(windows)).sum(axis=-1)
    in_order = np.sort(windows, axis=-1)  # NaN last
    middle = np.stack([np.maximum(count - 1, 0) // 2, np.minimum(count // 2, windows.shape[-1] - 1)], axis=-1)
    return np.take_along_axis(in_order, middle, axis=-1).mean(axis=-1), count.astype(np.float64)


def grad_norm(curve: Curve) -> Floats | None:
    return curve.others.get("grad_norm")


def is_infinite_or_nan(curve: Curve) -> Rows:
    return ~np.isfinite(curve.loss)


def on_finite(values: Floats, rule: Callable[[Floats], Rows]) -> Rows:
    """Rows that a rule fires on when it is shown the finite values only."""
    finite = np.isfinite(values)
    fired = np.zeros(len(values), dtype=bool)
    fired[finite] = rule(values[finite])
    return fired


def on_loss_and_norm(curve: Curve, rule: Callable[[Floats], Rows]) -> tuple[tuple[Rows, str], tuple[Rows, str]]:
    """Rows that one rule fires on in the loss, and in the gradient norm; none there where no norm is logged."""
    norm = grad_norm(curve)
    return (rule(curve.loss), "spike"), (none_of(curve) if norm is None else rule(norm), "grad_spike")


def none_of(curve: Curve) -> Rows:
    return np.zeros(curve.rows, dtype=bool)


def alerts(*fired: tuple[Rows, str]) -> list[Finding]:
    """One alert for each row that fired at all; of several kinds in one row the first given is told."""
    kinds: dict[int, str] = {}
    for rows, kind in reversed(fired):
        kinds.update(dict.fromkeys(np.flatnonzero(rows).tolist(), kind))
    return [Finding(row, kind=kinds[row]) for row in sorted(kinds)]
