"""Where a change began and how it went on, against the trend before it.

The live trend follows a shift within some tens of samples, so it cannot say whether the loss came back. A copy of the
trend, frozen before the alarm, can.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from .residual import Floats
from .segmentation import segment_ends

BASELINE_ROWS = 144
_GAP_ROWS = 16  # rows just before the alarm that may already belong to the event
_MIN_BASELINE_ROWS = 32
_EXTRAPOLATE_ROWS = 64  # a power law flattens: no straight line holds for longer
_MIN_SEGMENT = 3
_PENALTY = 12.0
_CLIP_SD = 4.0
RAISED_SD = 2.0
_LOCAL_ROWS = 16
_NEWEST_ROWS = 4
_RISE_SD = 0.5
_FALL_ROWS = 16
_MOSTLY = 2.0
_PRELUDE = 0.15
_EARLY_SCALE = 0.05  # log units; the noise of a run is unknown in its first samples


@dataclass(frozen=True, slots=True)
class FrozenBaseline:
    """A straight line through the quiet samples before an alarm, and the noise around it.

    ``expected(row) = level + slope * (min(row, last_row) - origin)`` on the signal's own scale (log or linear).
    """

    level: float
    slope: float
    origin: float
    last_row: float
    center: float
    scale: float
    first_row: int  # nothing before it belongs to an incident held against this trend

    def expected(self, row: float) -> float:
        return self.level + self.slope * (min(row, self.last_row) - self.origin) + self.center

    def not_before(self, row: int) -> FrozenBaseline:
        """The same trend for an incident to which nothing before ``row`` belongs."""
        return self if self.first_row >= row else replace(self, first_row=row)

    def residual(self, row: float, x: float) -> float:
        """Distance of ``x`` from the trend in robust standard deviations of the noise before the alarm."""
        return (x - self.expected(row)) / self.scale

    def residuals(self, rows: np.ndarray, x: Floats) -> Floats:
        expected = self.level + self.slope * (np.minimum(rows, self.last_row) - self.origin) + self.center
        return np.asarray((x - expected) / self.scale)


def freeze(rows: np.ndarray, x: Floats, alarm_row: int, *, reference: float | None = None) -> FrozenBaseline:
    """The trend before ``alarm_row``, from the finite samples ``x`` at ``rows``, oldest first.

    Args:
        reference: a level to hold against instead of a trend: in the steep descent of the first steps no line holds.
    """
    if reference is not None:
        return _early_baseline(rows, x, alarm_row, reference)
    start = max(int(rows[0]) if len(rows) else 0, alarm_row - BASELINE_ROWS)
    stop = max(start + _MIN_BASELINE_ROWS, alarm_row - _GAP_ROWS)
    quiet = (rows >= start) & (rows < min(stop, alarm_row))
    base_rows, base = rows[quiet], x[quiet]
    if len(base) < _MIN_BASELINE_ROWS:
        recent = x[rows < alarm_row][-8:]
        return _early_baseline(rows, x, alarm_row, float(np.median(recent)) if len(recent) else 0.0)
    half = len(base) // 2
    first, second = np.median(base[:half]), np.median(base[half:])
    origin = float(np.median(base_rows[:half]))
    slope = float((second - first) / (np.median(base_rows[half:]) - origin))
    residual = base - (first + slope * (base_rows - origin))
    center = float(np.median(residual))
    scale = 1.4826 * float(np.median(np.abs(residual - center)))
    floor = 1e-4 + 1e-9 * abs(float(first))
    last_row = float(stop + _EXTRAPOLATE_ROWS)
    return FrozenBaseline(float(first), slope, origin, last_row, center, max(scale, floor), start)


def _early_baseline(rows: np.ndarray, x: Floats, alarm_row: int, reference: float) -> FrozenBaseline:
    """A flat line at ``reference``; the noise of the first samples includes their descent."""
    before = x[rows < alarm_row]
    changes = np.abs(np.diff(before))
    noise = 1.4826 * float(np.median(changes)) / 2**0.5 if len(changes) >= 4 else 0.0
    # Before its best sample the loss was higher for another reason: it was still falling.
    first_row = int(rows[np.argmin(before)]) if len(before) else alarm_row
    return FrozenBaseline(reference, 0.0, 0.0, float(alarm_row), 0.0, max(noise, _EARLY_SCALE), first_row)


class Segment(NamedTuple):
    """A stretch of samples at one level; ``first`` and ``last`` index the series, both inclusive."""

    first: int
    last: int
    level: float  # median distance from the frozen trend, in sd


def segments(y: Floats) -> list[Segment]:
    """Split residuals in sd into levels: exact segmentation with a penalty.

    Residuals are clipped at 4 sd first, so that a single row never makes a segment: those are the outlier chart's.
    """
    if len(y) < 2 * _MIN_SEGMENT:
        return [Segment(0, len(y) - 1, float(np.median(y)))] if len(y) else []
    clipped = np.clip(y, -_CLIP_SD, _CLIP_SD)
    stops = segment_ends(clipped, penalty=_PENALTY, min_size=_MIN_SEGMENT)
    starts = [0, *stops[:-1]]
    return [
        Segment(start, stop - 1, float(np.median(y[start:stop]))) for start, stop in zip(starts, stops, strict=True)
    ]


def raised_segments(y: Floats, parts: list[Segment], alarm: int) -> list[Segment]:
    """The segments above trend that belong to an alarm at index ``alarm``."""
    return [part for part in parts if part.level > RAISED_SD and part.last > alarm - 40]


def is_only_flattening(x: Floats, scale: float, first: int) -> bool:
    """Whether values from index ``first`` on lie above a falling trend without lying above the values before.

    A loss that falls fast and then less fast leaves its trend behind on the upper side.

    Args:
        x: the signal on its own scale, up to now.
        scale: its noise on that scale.
    """
    local = x[-_LOCAL_ROWS - _NEWEST_ROWS : -_NEWEST_ROWS]
    if len(local) == _LOCAL_ROWS:
        newest = (x[-_NEWEST_ROWS:] - np.median(local)) / scale
        if float(np.mean(np.clip(newest, -_CLIP_SD, _CLIP_SD))) > RAISED_SD:
            return False
    before, since = x[max(first - _LOCAL_ROWS, 0) : first], x[first:]
    if len(before) < _LOCAL_ROWS // 2:
        return False
    rise = np.clip((since - np.median(before)) / scale, -_CLIP_SD, _CLIP_SD)
    return float(np.mean(rise)) < _RISE_SD


def is_only_fall(y: Floats) -> bool:
    """Whether a scale alarm over residuals ``y`` comes from values below the trend: a dip, or a fall to a new level."""
    recent = y[-_FALL_ROWS:]
    above = float(np.sum(np.clip(recent, 0.0, 3.0) ** 2))
    below = float(np.sum(np.clip(recent, -3.0, 0.0) ** 2))
    return below > _MOSTLY * above


def span(y: Floats, raised: list[Segment], alarm: int, *, is_shift: bool) -> tuple[int, int]:
    """First and last index of the change behind an alarm at index ``alarm``.

    Args:
        y: distance from the frozen trend in sd.
        raised: its segments above trend, see ``raised_segments``.
        is_shift: the level chart fired: a change too small or short for a segment is then the stretch that made the
            chart grow, and otherwise the run of values beyond 3 sd around the alarm.
    """
    if raised and raised[0].first <= alarm + 1:
        first, last = _without_prelude(y, raised).first, raised[-1].last
        # The segmentation sees values clipped at 4 sd and may start one row late or early: take the first clear one.
        while first < raised[0].last and y[first] < RAISED_SD / 2:
            first += 1
        while first > 0 and y[first - 1] > 2 * RAISED_SD:
            first -= 1
    elif is_shift:
        first, last = _excursion(y, alarm)
    else:
        first = last = min(alarm, len(y) - 1)
        while first > 0 and y[first - 1] > 3.0:
            first -= 1
    while last + 1 < len(y) and y[last + 1] > RAISED_SD:
        last += 1
    return first, last


def _without_prelude(y: Floats, raised: list[Segment]) -> Segment:
    """The first raised segment that is no mere wave of the noise next to the rise that follows."""
    top = float(np.sort(y[raised[0].first : raised[-1].last + 1])[-2:].min())
    return next((part for part in raised if part.level > _PRELUDE * top), raised[0])


def _excursion(y: Floats, alarm: int) -> tuple[int, int]:
    """The stretch around ``alarm`` over which a CUSUM tuned to half a standard deviation grows (Page 1954)."""
    increments = np.clip(y, -2.0, 2.0) - 0.25
    before = np.cumsum(increments[: alarm + 1])
    first = int(np.argmin(before[:-1])) + 1 if alarm > 0 else 0
    after = np.cumsum(increments[first:])
    return first, max(first + int(np.argmax(after)), min(alarm, len(y) - 1))
