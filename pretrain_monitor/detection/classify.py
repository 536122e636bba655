"""What kind of change the loss went through, from its distance to the trend before the incident."""

from __future__ import annotations

import math

import numpy as np

from ..telemetry import Kind
from .changepoint import Segment
from .residual import Floats

_TAIL_ROWS = 30
_LASTING_SD = 1.2  # a level this far above trend at the end has not come back
_LASTING_ROWS = 100
_SHORT_ROWS = 2  # a single batch, or one and its echo
_DIVERGED_SD = 2.0
_DIVERGED_RISE = math.log(1.25)  # and still rising ...
_DIVERGED_FAR = math.log(1.5)  # ... or not
_FAR_ROWS, _STAYS_UP = 48, 0.8
_BLOCK_ROWS = 8
_LOW_SD, _NEARLY_ALL, _LEFT = 0.7, 0.85, 0.15
_STAYS = 0.45


def classify_loss(
    y: Floats,
    raised: list[Segment],
    onset: int,
    log_ratio: float,
    *,
    has_level_alarm: bool,
    has_scale_alarm: bool,
    is_slow: bool,
    is_gradual: bool,
) -> Kind:
    """Kind of an incident in the loss at the time of asking; provisional while it is open.

    Args:
        y: distance from the frozen trend in sd, from before the onset up to now.
        raised: segments of y above trend that belong to the incident.
        onset: index into y.
        log_ratio: log of the recent loss over the trend's expectation.
        has_level_alarm: the level chart or an early rule fired, not only the outlier or scale chart.
        has_scale_alarm: the scale chart fired on the loss.
        is_slow: only the chart of blocks fired: the change took long, or is small and lasts.
        is_gradual: the rise took many rows, and was no jump.
    """
    since = y[onset:]
    if len(since) == 0:
        return Kind.SPIKE
    late = float(np.median(since[-_TAIL_ROWS:]))
    before = since[-2 * _TAIL_ROWS : -_TAIL_ROWS]
    raised_rows = sum(part.last - max(part.first, onset) + 1 for part in raised if part.last >= onset)
    is_long = len(since) > _LASTING_ROWS
    if is_long and late > _DIVERGED_SD and len(before) and has_level_alarm:
        was = float(np.median(before))
        rises = late > 1.3 * was + 2
        if rises or log_ratio > _DIVERGED_FAR or (log_ratio > _DIVERGED_RISE and late > was + 1):
            return Kind.DIVERGENCE
    is_far = log_ratio > _DIVERGED_FAR and has_level_alarm
    if is_far and len(since) > _FAR_ROWS and late > max(_DIVERGED_SD, _STAYS_UP * _top(since)):
        return Kind.DIVERGENCE
    if is_slow:
        return Kind.DRIFT if is_gradual else Kind.LEVEL_SHIFT
    is_raised = late > _LASTING_SD and raised_rows > _LASTING_ROWS
    if is_long and (is_raised or _is_low_step(since, late)) and late > _STAYS * _top(since):
        return Kind.DRIFT if is_gradual else Kind.LEVEL_SHIFT
    if has_level_alarm:
        return Kind.SPIKE
    if has_scale_alarm and abs(late) < _DIVERGED_SD:
        return Kind.NOISE_CHANGE
    return Kind.SPIKE if _run_length(since > 3.0) > _SHORT_ROWS else Kind.BAD_BATCH


def _is_low_step(since: Floats, late: float) -> bool:
    """Whether nearly all of some rows lie above trend, though by less than a segment needs."""
    blocks = _blocks(since, 2 * _BLOCK_ROWS)
    third = float(np.sort(since)[-3])  # above what single bad batches reach, and part of any short spike
    return late > max(_LOW_SD, _LEFT * third) and float(np.mean(blocks > _LOW_SD / 2)) > _NEARLY_ALL


def _top(since: Floats) -> float:
    """The highest level of some rows; what comes down from it by half is a spike on its way back."""
    return float(_blocks(since, max(_BLOCK_ROWS, len(since) // 6)).max())


def _blocks(since: Floats, rows: int) -> Floats:
    return np.array([float(np.median(part)) for part in np.array_split(since, max(len(since) // rows, 1))])


def _run_length(high: np.ndarray) -> int:
    """How many of the first entries are true in a row."""
    low = np.flatnonzero(~high)
    return int(low[0]) if len(low) else len(high)
