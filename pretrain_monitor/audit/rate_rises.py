"""Where a learning rate rises again after it had reached its peak, and where its warm-up ends."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from .material import Signal

_PEAK = 0.95  # of the largest rate: there warm-up is over
_RISE = 1.2  # from a low to the high after it: more than rounding, less than any restart
_DROP = 0.5  # in one row: the beginning of a second warm-up
_BACK = 0.8  # of the peak
_NEAR_RESUME = 3  # rows
_AT_ONCE = 3  # rows: a jump; longer: the rate was warmed up again


class Rise(NamedTuple):
    """The rate going up again.

    Args:
        is_restart: it begins where a run was resumed, or the schedule began once more; else a jump.
    """

    step: int
    before: float
    after: float
    is_restart: bool


def warm_up_end(rate: Signal) -> int:
    """Row at which the rate has come to 95 % of the largest of the first half of the run."""
    half = rate.values[: max(len(rate) // 2, 1)]
    return int(np.argmax(half >= _PEAK * half.max()))


def rises(rate: Signal, resumed_at: Sequence[int]) -> list[Rise]:
    """Every rise by a fifth or more after the end of the warm-up."""
    if len(rate) < 3:
        return []
    values, start = rate.values, warm_up_end(rate)
    peak = float(values[: start + 1].max())
    moves = np.sign(np.diff(values[start:]))
    found = []
    at = 0
    edges = np.flatnonzero(np.diff(np.concatenate([[0], (moves > 0).astype(np.int8), [0]])))
    for first, last in edges.reshape(-1, 2).tolist():
        low, high = values[start + first], values[start + last]
        if high <= _RISE * max(low, 0.0) or high <= 0.01 * peak or first < at:
            continue
        at = last
        row = start + first
        before = float(values[row - 1]) if row > 0 else float(low)
        fell_at_once = low < _DROP * before
        step = int(rate.steps[row if fell_at_once else row + 1])
        near = rate.steps[max(row - _NEAR_RESUME, 0)], rate.steps[min(row + 1 + _NEAR_RESUME, len(rate) - 1)]
        is_resume = any(near[0] <= resume + 1 <= near[1] for resume in resumed_at)
        is_slow = last - first > _AT_ONCE
        is_restart = is_resume or fell_at_once or (is_slow and high >= _BACK * peak)
        found.append(Rise(step, float(max(before, low) if fell_at_once else low), float(high), is_restart))
    return found
