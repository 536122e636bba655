"""Which charts a page has, and what is drawn in each: the same for the still pictures and for those to be zoomed."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from ..audit.model import Audit, Curve
from ..printable import clean
from ..sinks.wording import words as spaced
from ..telemetry import Incident, Status
from .thinning import kept
from .words import signal_name

_WIDE = {"loss": 230, "grad_norm": 160, "learning_rate": 160}  # pixels; of these one chart for all curves of the group
_SMALL = 180
_MOST_CHARTS = 150  # a reader gives up long before
_MOST_POINTS = 100_000  # of all curves together: 3 MB of page
# Loss and bits per byte begin so high that what happens later would not be seen beside it.
_CUT = ("loss", "held_out")
_SETTLED, _MUCH_HIGHER = 0.02, 1.5


@dataclass(frozen=True)
class Chart:
    """Curves over one another.

    Args:
        height: in pixels.
        is_log: whether values are on a log scale.
        fit_from: step from which on values have to be in sight; None: all.
    """

    title: str
    group: str
    unit: str
    curves: tuple[Curve, ...]
    height: int
    is_small: bool
    is_log: bool
    fit_from: int | None

    @property
    def note(self) -> str:
        """What is drawn besides the curve."""
        parts = [self.unit] if self.unit else []
        parts += ["95 % interval"] if any(curve.lower for curve in self.curves) else []
        parts += [f"chance {curve.chance:.3g}" for curve in self.curves if curve.chance is not None]
        parts += ["the first steps are above"] if self.fit_from is not None else []
        return "; ".join(parts)


@dataclass(frozen=True)
class Span:
    """An incident on the axis of steps.

    Args:
        anchor: of its row in the table.
    """

    anchor: str
    severity: str
    first: int
    last: int
    label: str


def charts_of(audit: Audit) -> list[Chart]:
    """In the order in which they are shown; a fitted curve belongs to the one before it. Of very many the first."""
    found: list[Chart] = []
    for group in dict.fromkeys([*_WIDE, *(curve.group for curve in audit.curves)]):
        curves = [curve for curve in audit.curves if curve.group == group and curve.steps]
        bundles: list[list[Curve]] = []
        for curve in curves:
            if bundles and (group in _WIDE or curve.dashed):
                bundles[-1].append(curve)
            else:
                bundles.append([curve])
        found += [_chart(group, bundle) for bundle in bundles]
    return found[:_MOST_CHARTS]


def missing_curves(audit: Audit, charts: Iterable[Chart]) -> int:
    """How many of its curves have no place in these charts."""
    return sum(bool(curve.steps) for curve in audit.curves) - sum(len(chart.curves) for chart in charts)


def spans_of(incidents: Iterable[Incident], last_step: int) -> list[Span]:
    """In order of the incidents, which is that of their rows."""
    return [
        Span(
            f"incident-{row}", incident.severity.value, incident.onset_step, _end(incident, last_step), _label(incident)
        )
        for row, incident in enumerate(incidents, 1)
    ]


def extent(audit: Audit) -> tuple[int, int]:
    """First and last step of all charts."""
    steps = [step for curve in audit.curves for step in (curve.steps[:1] + curve.steps[-1:])]
    steps += [step for step in (audit.run.first_step, audit.run.last_step) if step is not None]
    first, last = min(steps, default=0), max(steps, default=1)
    return first, max(last, first + 1)


def as_json(charts: Sequence[Chart], spans: Sequence[Span], steps: tuple[int, int]) -> dict[str, Any]:
    """What the script of the page draws; six digits are more than a screen shows."""
    lengths = [len(curve.steps) for chart in charts for curve in chart.curves]
    columns = max(lengths, default=1)
    if sum(lengths) > _MOST_POINTS:
        columns = max(_MOST_POINTS // (2 * len(lengths)), 1)
    return {
        "first": steps[0],
        "last": steps[1],
        "charts": [
            {
                "name": clean(chart.title),
                "height": chart.height,
                "isSmall": chart.is_small,
                "isLog": chart.is_log,
                "fitFrom": chart.fit_from,
                "note": clean(chart.note),
                "series": [_series(curve, columns) for curve in chart.curves],
            }
            for chart in charts
        ],
        "spans": [
            {"id": span.anchor, "severity": span.severity, "first": span.first, "last": span.last, "label": span.label}
            for span in spans
        ],
    }


def _chart(group: str, curves: Sequence[Curve]) -> Chart:
    title = signal_name(group) if group in _WIDE else curves[0].signal
    known = [value for curve in curves for value in curve.values if value is not None]
    is_log = group == "grad_norm" and bool(known) and min(known) > 0
    units = dict.fromkeys(curve.unit for curve in curves if curve.unit)
    fit_from = _fit_from(curves) if group in _CUT else None
    height = _WIDE.get(group, _SMALL)
    return Chart(title, group, ", ".join(units), tuple(curves), height, group not in _WIDE, is_log, fit_from)


def _fit_from(curves: Sequence[Curve]) -> int | None:
    """The step at which the first fall is over, if it would hide what comes after it."""
    first = min(curve.steps[0] for curve in curves)
    last = max(curve.steps[-1] for curve in curves)
    settled = first + int(_SETTLED * (last - first))
    points = [(step, v) for curve in curves for step, v in zip(curve.steps, curve.values, strict=True) if v is not None]
    late = [value for step, value in points if step >= settled]
    if len(late) < 2 or not max(late) > 0:
        return None
    return settled if max(value for _, value in points) > _MUCH_HIGHER * max(late) else None


def _series(curve: Curve, columns: int) -> dict[str, Any]:
    places = kept(curve.steps, curve.values, columns)

    def at(values: Sequence[float | None]) -> list[float | None]:
        return [_rounded(values[place]) for place in places] if values else []

    return {
        "label": clean(signal_name(curve.signal)),
        "steps": [curve.steps[place] for place in places],
        "y": at(curve.values),
        "lower": at(curve.lower),
        "upper": at(curve.upper),
        "isDashed": curve.dashed,
        "chance": curve.chance,
    }


def _rounded(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else float(f"{value:.6g}")


def _end(incident: Incident, last_step: int) -> int:
    """Where a span ends: at the first step back, or as far as it lasted, or at the end of the run."""
    if incident.end_step is not None:
        return incident.end_step
    if incident.status in (Status.OPEN, Status.ENDED_RUN):
        return max(last_step, incident.onset_step)
    lasted = incident.evidence.get("duration_steps")
    known = incident.onset_step + (lasted if isinstance(lasted, int) else 0)
    return max(incident.detected_step, incident.peak_step, known)


def _label(incident: Incident) -> str:
    return clean(f"{spaced(incident.kind)} ({incident.severity}) at step {incident.onset_step:,}")
