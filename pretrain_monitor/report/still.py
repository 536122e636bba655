"""Charts as still pictures: they need no script, so they show at once, on the first screen, and print."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ..audit.model import Curve
from ..detection.messages import number
from .charts import Chart, Span
from .thinning import kept

WIDTH, HEIGHT = 1000, 200  # of the drawing, which is stretched to its place
_COLUMNS = 500  # each with its smallest and its largest value, so that no spike is lost
_STEP_TICKS, _VALUE_TICKS = 6, 4
_MOST_DECADES, _MOST_CROSSES, _MOST_MARKERS = 7, 50, 150
_TINY = 1e-12
_SEVERITIES = ("info", "warning", "critical")
_LEAST_WIDTH = 0.15  # percent


@dataclass(frozen=True)
class Tick:
    """At a place in percent, from the left or from the top."""

    at: float
    text: str


@dataclass(frozen=True)
class Shade:
    """Part of the width in percent; incidents of a severity that overlap are one, or they would cover the curve."""

    severity: str
    left: float
    width: float


@dataclass(frozen=True)
class Marker:
    """An onset, in percent of the width; of very many the gravest."""

    span: Span
    at: float


@dataclass(frozen=True)
class Line:
    path: str
    is_dashed: bool
    colour: int  # place in the palette


@dataclass(frozen=True)
class Still:
    """Everything that the page needs to draw one; texts stand beside the drawing, because it is stretched.

    Args:
        bands: as closed paths.
        levels: heights in percent of lines across, such as chance.
        crosses: places in percent of values that were no numbers.
    """

    lines: list[Line]
    bands: list[str]
    shades: list[Shade]
    markers: list[Marker]
    levels: list[float]
    crosses: list[float]
    step_ticks: list[Tick]
    value_ticks: list[Tick]


def still_of(chart: Chart, spans: Sequence[Span], steps: tuple[int, int]) -> Still:
    axis = _Axis(*steps)
    scale = _scale(chart)
    lines, bands = [], []
    columns = _COLUMNS // 2 if chart.is_small else _COLUMNS
    for place, curve in enumerate(chart.curves):
        lines.append(Line(_path(curve, columns, axis, scale), curve.dashed, place))
        if curve.lower and curve.upper:
            bands.append(_band(curve, columns, axis, scale))
    # The gravest on top.
    shown = sorted(
        (span for span in spans if span.last >= steps[0] and span.first <= steps[1]),
        key=lambda span: _SEVERITIES.index(span.severity),
    )
    lost = [step for curve in chart.curves for step, v in zip(curve.steps, curve.values, strict=True) if v is None]
    chances = dict.fromkeys(curve.chance for curve in chart.curves if curve.chance is not None)
    return Still(
        lines,
        bands,
        shades=[shade for severity in _SEVERITIES for shade in _shades(severity, shown, axis)],
        markers=[Marker(span, round(100 * max(axis.share(span.first), 0.0), 2)) for span in shown[-_MOST_MARKERS:]],
        levels=[round(100 * scale.share(chance), 2) for chance in chances],
        crosses=[round(100 * axis.share(step), 2) for step in lost[:_MOST_CROSSES]],
        step_ticks=[Tick(round(100 * axis.share(step), 2), f"{step:,}") for step in axis.ticks()],
        value_ticks=[Tick(round(100 * scale.share(value), 2), number(value, 3)) for value in scale.ticks()],
    )


def _shades(severity: str, spans: Sequence[Span], axis: _Axis) -> Iterator[Shade]:
    reach = -math.inf
    joined: list[list[int]] = []
    for span in sorted((span for span in spans if span.severity == severity), key=lambda span: span.first):
        if span.first <= reach:
            joined[-1][1] = max(joined[-1][1], span.last)
        else:
            joined.append([span.first, span.last])
        reach = joined[-1][1]
    for ends in joined:
        left, right = (100 * min(max(axis.share(step), 0.0), 1.0) for step in ends)
        yield Shade(severity, round(left, 2), round(max(right - left, _LEAST_WIDTH), 2))


class _Axis:
    """Steps to the unit interval, left to right."""

    def __init__(self, first: int, last: int) -> None:
        self._first, self._span = first, last - first

    def share(self, step: float) -> float:
        return (step - self._first) / self._span

    def ticks(self) -> list[int]:
        every = max(int(_round_step(self._span / _STEP_TICKS)), 1)
        start = -(-self._first // every) * every
        # The outermost texts would not fit.
        return [s for s in range(start, self._first + self._span + 1, every) if 0.02 <= self.share(s) <= 0.98]


class _Scale:
    """Values to the unit interval, top to bottom; what lies outside is at the edge."""

    def __init__(self, low: float, high: float, is_log: bool) -> None:
        self.is_log = is_log
        first, last = (math.log10(low), math.log10(high)) if is_log else (low, high)
        room = 0.06 * (last - first) or 0.05 * abs(last) or 1.0
        self._low, self._high = first - room, last + 2 * room

    def share(self, value: float) -> float:
        at = (math.log10(max(value, _TINY)) if self.is_log else value) - self._low
        return min(max(1 - at / (self._high - self._low), 0.0), 1.0)

    def ticks(self) -> list[float]:
        low, high = self._low, self._high
        if self.is_log and high - low >= 0.8:
            factors = (1,) if high - low > 2.5 else (1, 3)
            stride = math.ceil((high - low) / _MOST_DECADES)
            powers = range(stride * math.floor(low / stride), math.ceil(high) + 1, stride)
            found = [float(f"{factor}e{power}") for power in powers for factor in factors]
            return [value for value in found if value > 0 and low <= math.log10(value) <= high]
        if self.is_log:
            low, high = 10**low, 10**high
        every = _round_step((high - low) / _VALUE_TICKS)
        # Rounded, or a third tick of 0.1 would be 0.30000000000000004.
        places = range(math.ceil(low / every), math.floor(high / every) + 1)
        return [float(f"{place * every:.10g}") for place in places]


def _round_step(least: float) -> float:
    """1, 2 or 5 times a power of ten, at least that much."""
    power = 10.0 ** math.floor(math.log10(least))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= least * 0.999)


def _scale(chart: Chart) -> _Scale:
    """From the values, and from bands as far as these do not make the values small."""
    first = -math.inf if chart.fit_from is None else chart.fit_from

    def late(values: Sequence[float | None], curve: Curve) -> Iterator[float]:
        return (
            v
            for step, v in zip(curve.steps, values, strict=True)
            if v is not None and math.isfinite(v) and step >= first
        )

    values = [value for curve in chart.curves for value in late(curve.values, curve)]
    values += [curve.chance for curve in chart.curves if curve.chance is not None]
    if not values:
        return _Scale(0.0, 1.0, is_log=False)
    low, high = min(values), max(values)
    span = high - low or abs(high) or 1.0
    edges = [v for curve in chart.curves if curve.lower for v in late(curve.lower, curve)]
    edges += [v for curve in chart.curves if curve.upper for v in late(curve.upper, curve)]
    if edges and not chart.is_log:
        low, high = min(low, max(min(edges), low - span)), max(high, min(max(edges), high + span))
    return _Scale(low, high, chart.is_log)


def _path(curve: Curve, columns: int, axis: _Axis, scale: _Scale) -> str:
    parts: list[str] = []
    is_broken = True
    for place in kept(curve.steps, curve.values, columns):
        value = curve.values[place]
        if value is not None:
            at = f"{WIDTH * axis.share(curve.steps[place]):.1f} {HEIGHT * scale.share(value):.1f}"
            # A line of no length: a point that stands alone is drawn as a dot.
            parts.append(f"M{at}h0" if is_broken else f"L{at}")
        is_broken = value is None
    return "".join(parts)


def _band(curve: Curve, columns: int, axis: _Axis, scale: _Scale) -> str:
    known = [
        (step, low, high)
        for step, low, high in zip(curve.steps, curve.lower, curve.upper, strict=True)
        if low is not None and high is not None
    ]
    every = max(len(known) // columns, 1)
    known = known[::every] + (known[-1:] if (len(known) - 1) % every else [])
    upper = [(step, high) for step, _, high in known]
    lower = [(step, low) for step, low, _ in reversed(known)]
    points = [f"{WIDTH * axis.share(step):.1f} {HEIGHT * scale.share(value):.1f}" for step, value in upper + lower]
    return f"M{'L'.join(points)}Z" if points else ""
