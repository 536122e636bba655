"""A second event while the first is still being told: seen against what the loss has done since the first.

The charts cannot say it: after an alarm they are still climbing from the first event, or their trend has not come down
from it yet. So the newest samples are held against the dozen before them, at whatever level these lie.
"""

from __future__ import annotations

import math
import statistics
from typing import NamedTuple

from .residual import Floats

REFERENCE_ROWS = 12
_NEEDS_ROWS = 8
_THIRD_TO_THIRD = 8  # rows between the middles of the first and the last third
_LEVEL_SD = 1.0
_FLAT_SD = 1.5
_GOES_ON_SD, _BEYOND = 0.4, 1.3


class Settled(NamedTuple):
    """Where the loss came to rest after an event, in sd of the noise before the event."""

    level: float
    spread: float
    slope: float  # from its first to its last third

    @property
    def is_flat(self) -> bool:
        return abs(self.slope) < _FLAT_SD

    @property
    def is_back(self) -> bool:
        return self.level < _LEVEL_SD


class Rise(NamedTuple):
    """A second rise: over how many of the newest rows, from where, and how far in sd; ``limit`` is what it exceeds."""

    rows: int
    before: Settled
    score: float
    limit: float


class _Shape(NamedTuple):
    """A rise to look for: over how many rows, what hardly any may miss, what their mean exceeds, from how flat a rest.

    A slow rise that goes on is no second event, so what takes longer needs a flatter rest before it.
    """

    rows: int
    each: float
    mean: float
    slope: float


_SHAPES = (_Shape(3, 3.0, 4.2, math.inf), _Shape(8, 1.0, 2.3, 1.5), _Shape(16, 0.5, 1.8, 0.8))
LOOKS_BACK = REFERENCE_ROWS + max(shape.rows for shape in _SHAPES)


def settled(y: Floats) -> Settled | None:
    """Level and spread of the newest values, at least the noise before the event; None for too few.

    Args:
        y: distance from the trend before the event in sd, from its onset on.
    """
    return _settled(y[-REFERENCE_ROWS:].tolist())


def second_rise(y: Floats, autocorrelation: float) -> Rise | None:
    """The rise by which the newest values of ``y`` stand above the dozen values before them, or None.

    Args:
        autocorrelation: of the noise from one sample to the next; the higher it is, the less the mean of few says.
    """
    # Asked at every sample of an incident, and a dozen floats are faster in a list than in an array.
    values = y[-LOOKS_BACK:].tolist()
    for shape in _SHAPES:
        count = shape.rows
        if len(values) < _NEEDS_ROWS + count or values[-1] < shape.each:
            continue
        newest, before_rows = values[-count:], values[:-count][-REFERENCE_ROWS:]
        before = _settled(before_rows)
        if before is None or before.slope > shape.slope:
            continue
        mean = math.fsum(newest) / count
        # What was rising already may go on rising.
        goes_on = max(before.slope, 0.0) / _THIRD_TO_THIRD * (REFERENCE_ROWS + count) / 2
        start = before.level + goes_on
        score, limit = (mean - start) / before.spread, shape.mean * _spread_of_mean(count, autocorrelation)
        if score <= limit:
            continue
        # A rise that started at the onset and goes on reaches as far by itself.
        reach = 1 + (len(before_rows) + count) / max(len(y) - count - len(before_rows) / 2, 1) / 2
        if count > _SHAPES[0].rows and before.slope > _GOES_ON_SD and mean < _BEYOND * reach * before.level:
            continue
        if sum((value - start) / before.spread < shape.each for value in newest) <= count // 8:
            return Rise(count, before, score, limit)
    return None


def _settled(recent: list[float]) -> Settled | None:
    if len(recent) < _NEEDS_ROWS:
        return None
    level = statistics.median(recent)
    third = len(recent) // 3
    slope = statistics.median(recent[-third:]) - statistics.median(recent[:third])
    spread = 1.4826 * statistics.median([abs(value - level) for value in recent])
    return Settled(level, max(spread, 1.0), slope)


def _spread_of_mean(count: int, phi: float) -> float:
    """By what factor the mean of AR(1) noise spreads more than that of white noise."""
    return math.sqrt(1 + 2 * sum((1 - k / count) * phi**k for k in range(1, count)))
