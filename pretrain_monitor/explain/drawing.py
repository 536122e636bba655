"""What a picture of an incident consists of, whoever draws it: panels one above the other over the same steps."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from enum import StrEnum

import numpy as np

from ..detection.residual import Floats


class Role(StrEnum):
    """What a part of a picture stands for; each renderer has one look for each."""

    SIGNAL = "signal"
    TREND = "trend"
    FROZEN = "frozen"
    SEGMENT = "segment"
    CHART = "chart"
    THRESHOLD = "threshold"
    REFERENCE = "reference"
    BLOCK = "block"
    ALARM = "alarm"
    NONFINITE = "nonfinite"
    ONSET = "onset"
    DETECTED = "detected"
    END = "end"


_MOST_DECADES = 1e30  # of a log scale; nobody reads more, and beyond float range there is no scale at all

# Not measured: what was expected, by one trend or another.
_EXPECTED = (Role.TREND, Role.FROZEN, Role.REFERENCE)


@dataclass(frozen=True, slots=True)
class Line:
    """Values over steps; NaN is a gap."""

    role: Role
    label: str
    steps: Floats
    values: Floats


@dataclass(frozen=True, slots=True)
class Band:
    """Between two lines."""

    label: str
    steps: Floats
    lower: Floats
    upper: Floats


@dataclass(frozen=True, slots=True)
class Point:
    """One sample that stands out. A value of None is none that could be drawn: a NaN."""

    role: Role
    step: float
    value: float | None
    label: str


@dataclass(frozen=True, slots=True)
class Panel:
    """One picture with an axis of its own.

    Args:
        note: in a few words, what crossing the line means.
        top: where the axis ends although there are larger values: these are drawn at its edge.
        bottom: the same below.
        is_log: whether the values are drawn on a log scale.
        weight: height against that of other panels.
    """

    title: str
    lines: tuple[Line, ...]
    bands: tuple[Band, ...] = ()
    points: tuple[Point, ...] = ()
    note: str = ""
    bottom: float | None = None
    top: float | None = None
    is_log: bool = False
    weight: int = 2

    @property
    def is_empty(self) -> bool:
        """Whether not one value can be drawn, so that the axis has no meaning."""
        return not any(np.isfinite(line.values).any() for line in self.lines)

    @property
    def beyond(self) -> Point | None:
        """The highest of the points above the top of the axis, whose height has to be said in words."""
        top = self.limits()[1]
        higher = [point for point in self.points if point.value is not None and point.value > top]
        return max(higher, key=lambda point: point.value or 0.0, default=None)

    def limits(self) -> tuple[float, float]:
        """Lowest and highest value of the axis: what was measured decides, what was expected may widen it by a third.

        A band or a trend that is carried on may lie anywhere.
        """
        measured: list[Floats] = []
        expected = [part for band in self.bands for part in (band.lower, band.upper)]
        for line in self.lines:
            (expected if line.role in _EXPECTED else measured).append(line.values)
        measured.append(np.array([point.value for point in self.points if point.value is not None], dtype=float))
        low, high = _range(measured, self.is_log) or _range(expected, self.is_log) or (0.0, 1.0)
        to, back = (math.log10, lambda x: 10**x) if self.is_log else (float, float)
        if (wider := _range(expected, self.is_log)) is not None:
            room = (to(high) - to(low)) / 3
            low = back(max(min(to(low), to(wider[0])), to(low) - room))
            high = back(min(max(to(high), to(wider[1])), to(high) + room))
        low = low if self.bottom is None else self.bottom
        high = high if self.top is None else self.top
        if self.is_log:
            low = max(low, high / _MOST_DECADES)
        if not low < high:
            reach = 0.05 * abs(low) or 0.5
            low, high = (low / 1.05, low * 1.05) if self.is_log else (low - reach, low + reach)
        return low, high


def _range(parts: list[Floats], is_log: bool) -> tuple[float, float] | None:
    """Smallest and largest of the values that can be drawn."""
    values = np.concatenate([*parts, np.zeros(0)])
    values = values[np.isfinite(values) & ((values > 0) if is_log else True)]
    return (float(values.min()), float(values.max())) if len(values) else None


@dataclass(frozen=True, slots=True)
class Mark:
    """A step that matters in all panels."""

    role: Role
    step: float
    label: str


@dataclass(frozen=True, slots=True)
class Drawing:
    """Panels over the steps from ``first`` to ``last``.

    Args:
        is_log: whether steps are drawn on a log scale: a power law is then a straight line.
        notes: what has to be known to read it.
    """

    title: str
    panels: tuple[Panel, ...]
    marks: tuple[Mark, ...]
    first: float
    last: float
    is_log: bool = False
    notes: tuple[str, ...] = field(default=())
