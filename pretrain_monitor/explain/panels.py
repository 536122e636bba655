"""From an explanation to its panels: each signal with its band, its residual, and each chart against its threshold."""

from __future__ import annotations

import math

import numpy as np

from ..detection.alarm import Chart
from ..detection.messages import number
from ..detection.residual import Floats
from ..naming import SIGNAL_NAMES
from ..printable import clean
from ..telemetry import Incident, Kind
from .drawing import Band, Drawing, Line, Mark, Panel, Point, Role
from .story import Blocks, Explanation, Firing, Track

CHART_NAMES = {
    Chart.LEVEL: "level chart",
    Chart.SCALE: "scale chart",
    Chart.OUTLIER: "outlier chart",
    Chart.JOINT: "joint rule",
    Chart.DRIFT: "chart of blocks",
    Chart.EARLY: "early rule",
    Chart.NONFINITE: "not finite",
    Chart.SCHEDULE: "learning-rate rule",
    Chart.PLATEAU: "plateau rule",
}
_CHARTED = frozenset({Chart.LEVEL, Chart.SCALE, Chart.OUTLIER, Chart.JOINT, Chart.DRIFT})
_WIDE = 40.0  # largest over smallest value from which on a log scale shows more
_RESIDUAL_ROOM = 2.5  # times the threshold
_MOST_MARKED = 200  # alarms or NaN of one signal


def name_of(signal: str) -> str:
    """A signal as people call it, fit to be printed."""
    return clean(SIGNAL_NAMES.get(signal, signal))


def draw(explanation: Explanation) -> Drawing:
    """The panels of an explanation, the leading signal first."""
    incident = explanation.incident
    panels: list[Panel] = []
    for track in explanation.tracks:
        panels.append(_signal_panel(explanation, track))
        if _has_charts(explanation, track):
            panels += _chart_panels(explanation, track)
    return Drawing(
        title=f"{clean(incident.id)}: {incident.kind.replace('_', ' ')}",
        panels=tuple(panels),
        marks=_marks(explanation),
        first=float(explanation.first_step),
        # Beyond 2^53 a float cannot tell one step from the next.
        last=max(float(explanation.last_step), math.nextafter(explanation.first_step + 1.0, math.inf)),
        is_log=incident.kind is Kind.PLATEAU and explanation.first_step > 0,
        notes=_notes(explanation),
    )


def _notes(explanation: Explanation) -> tuple[str, ...]:
    notes = []
    if not explanation.tracks:
        notes.append("nothing is drawn: the log holds no loss and no gradient norm")
    if explanation.samples_per_pair > 1:
        notes.append(f"of every {explanation.samples_per_pair:,} samples the smallest and the largest are drawn")
    if explanation.goes_on:
        notes.append(f"the picture stops at step {explanation.last_step:,}; the incident goes on")
    if explanation.unshown:
        names = ", ".join(map(name_of, explanation.unshown[:3]))
        more = len(explanation.unshown) - 3
        notes.append(f"not drawn: {names}{f' and {more:,} more signals' if more > 0 else ''}")
    return tuple(notes)


def _marks(explanation: Explanation) -> tuple[Mark, ...]:
    incident = explanation.incident
    steps = {
        Role.ONSET: incident.onset_step,
        Role.DETECTED: incident.detected_step,
        Role.END: incident.end_step,
    }
    return tuple(
        Mark(role, float(step), role.value)
        for role, step in steps.items()
        if step is not None and explanation.first_step <= step <= explanation.last_step
    )


def _has_charts(explanation: Explanation, track: Track) -> bool:
    """Whether the charts of a signal have to do with the incident; else only its values are for comparison."""
    charts = set(explanation.incident.evidence["charts"].get(track.name, ()))
    return bool(charts & _CHARTED) and bool(np.isfinite(track.residual).any())


def _signal_panel(explanation: Explanation, track: Track) -> Panel:
    incident = explanation.incident
    is_lead = track is explanation.tracks[0]
    lines, bands, values = [], [], [track.values]
    if np.isfinite(track.expected).any():
        bands.append(Band("expected, 3 sd (live trend)", track.steps, track.lower, track.upper))
        lines.append(Line(Role.TREND, "live trend", track.steps, track.expected))
        values += [track.lower, track.upper]
    lines.append(_with_gaps(track))
    if len(track.frozen_steps) and track.name in incident.signals:
        lines.append(Line(Role.FROZEN, "trend before the incident", track.frozen_steps, track.frozen))
        values.append(track.frozen)
    for segment in track.segments:
        ends = np.array([segment.first_step, segment.last_step], dtype=float)
        heights = np.array([segment.first_value, segment.last_value])
        lines.append(Line(Role.SEGMENT, f"segment, {segment.sd:+.1f} sd", ends, heights))
    if track.name == "loss":
        lines += _early_lines(explanation) + _block_lines(explanation.blocks) + _plateau_lines(explanation)
    rule = {Chart.EARLY, Chart.NONFINITE, Chart.SCHEDULE, Chart.PLATEAU}
    points = [_at_value(firing) for firing in _of(explanation, track, *rule) if _is_drawn(firing)]
    every = -(-len(track.nonfinite) // _MOST_MARKED) or 1
    nonfinite = [Point(Role.NONFINITE, step, None, "NaN or infinite") for step in track.nonfinite[::every].tolist()]
    bottom, top = _usual_range(explanation, track)
    # A probe is no signal: what it is to be held against leads.
    is_its_own = incident.kind is not Kind.PROBE_FAILURE and (is_lead or track.name in incident.signals)
    return Panel(
        title=name_of(track.name) + ("" if is_its_own else " (for comparison)"),
        lines=tuple(line for line in lines if len(line.steps)),
        bands=tuple(bands),
        points=(*points, *nonfinite),
        bottom=bottom,
        top=top,
        is_log=_is_wide(values),
        weight=4 if is_lead else 3,
    )


def _with_gaps(track: Track) -> Line:
    """The values, interrupted where there was none to draw."""
    steps = np.concatenate([track.steps, track.nonfinite])
    values = np.concatenate([track.values, np.full(len(track.nonfinite), math.nan)])
    order = np.argsort(steps, kind="stable")
    return Line(Role.SIGNAL, name_of(track.name), steps[order], values[order])


def _at_value(firing: Firing) -> Point:
    return Point(Role.ALARM, float(firing.step), firing.value, CHART_NAMES[firing.chart])


def _is_drawn(firing: Firing) -> bool:
    return firing.is_counted and math.isfinite(firing.value)


def _is_wide(values: list[Floats]) -> bool:
    finite = np.concatenate([part[np.isfinite(part)] for part in values])
    if not len(finite) or finite.min() <= 0:
        return False
    return bool(finite.max() > _WIDE * max(finite.min(), 1e-300))


def _usual_range(explanation: Explanation, track: Track) -> tuple[float | None, float | None]:
    """For half a run: without its single outliers, beside which nobody would see how it runs."""
    if explanation.incident.kind is not Kind.PLATEAU or not len(track.values):
        return None, None
    low, high = np.quantile(track.values, [0.002, 0.998])
    return float(low), float(high)


def _chart_panels(explanation: Explanation, track: Track) -> list[Panel]:
    name = name_of(track.name)
    panels = [_residual_panel(explanation, track)]
    for chart, values, thresholds, note in (
        (Chart.LEVEL, track.level, track.level_threshold, "shifts of 0.5 to 3 sd"),
        (Chart.SCALE, track.scale, track.scale_threshold, "wider noise"),
    ):
        points = [
            Point(Role.ALARM, float(firing.step), firing.score, "alarm")
            for firing in _of(explanation, track, chart)
            if firing.threshold is not None
        ]
        panels.append(
            Panel(
                title=f"{CHART_NAMES[chart]} of {name} ({note})",
                lines=(
                    Line(Role.CHART, CHART_NAMES[chart], track.steps, values),
                    _threshold("threshold", track.steps, thresholds),
                ),
                points=tuple(points),
                bottom=0.0,
            )
        )
    if track.name == "loss" and explanation.blocks is not None:
        panels.append(_block_panel(explanation, track, explanation.blocks))
    return panels


def _residual_panel(explanation: Explanation, track: Track) -> Panel:
    finite = track.outlier_threshold[np.isfinite(track.outlier_threshold)]
    limit = float(finite.max()) if len(finite) else 7.0
    largest = float(np.nanmax(track.residual))
    smallest = float(np.nanmin(track.residual))
    points = [
        Point(Role.ALARM, float(firing.step), firing.score, f"{firing.score:.3g} sd")
        for firing in _of(explanation, track, Chart.OUTLIER)
    ]
    # The joint rule speaks again and again while both are high; where it did so first is what matters.
    for firing in _of(explanation, track, Chart.JOINT)[:1]:
        height = track.residual[track.steps == firing.step]
        if firing.is_counted and len(height) and height[0] > 0:
            points.append(Point(Role.ALARM, float(firing.step), float(height[0]), f"{height[0]:.3g} sd, joint rule"))
    return Panel(
        title=f"whitened residual of {name_of(track.name)}, sd",
        lines=(
            Line(Role.CHART, "residual", track.steps, track.residual),
            _threshold("outlier threshold", track.steps, track.outlier_threshold),
        ),
        points=tuple(points),
        bottom=-limit if smallest < -limit else None,
        top=_RESIDUAL_ROOM * limit if largest > _RESIDUAL_ROOM * limit else max(1.15 * limit, largest),
    )


def _threshold(label: str, steps: Floats, values: Floats) -> Line:
    finite = values[np.isfinite(values)]
    return Line(Role.THRESHOLD, f"{label} {number(float(finite[-1]), 3)}" if len(finite) else label, steps, values)


def _block_panel(explanation: Explanation, track: Track, blocks: Blocks) -> Panel:
    return Panel(
        title="chart of blocks (sixteen samples each)",
        lines=(
            _interrupted(blocks, Line(Role.CHART, CHART_NAMES[Chart.DRIFT], blocks.last_steps, blocks.level)),
            _threshold("threshold", blocks.last_steps, blocks.threshold),
        ),
        points=tuple(
            Point(Role.ALARM, float(firing.step), firing.score, "alarm")
            for firing in _of(explanation, track, Chart.DRIFT)
        ),
        bottom=0.0,
    )


def _of(explanation: Explanation, track: Track, *charts: Chart) -> list[Firing]:
    found = [f for f in explanation.firings if f.signal == track.name and f.chart in charts]
    return found[:_MOST_MARKED]


def _early_lines(explanation: Explanation) -> list[Line]:
    # Outside its time, and where it said nothing, the rule is of no interest.
    early = [f for f in explanation.counted if f.chart is Chart.EARLY and f.threshold is not None]
    if not early:
        return []
    steps, best = explanation.early_steps, explanation.early_reference
    ratio = early[0].threshold or 1.0
    return [
        Line(Role.REFERENCE, "best level so far", steps, best),
        Line(Role.THRESHOLD, f"{ratio:g} times that", steps, ratio * best),
    ]


def _block_lines(blocks: Blocks | None) -> list[Line]:
    if blocks is None:
        return []
    # Level during a block, with a gap to the next.
    steps = np.column_stack([blocks.first_steps, blocks.last_steps, blocks.last_steps]).ravel()
    means = np.column_stack([blocks.means, blocks.means, np.full_like(blocks.means, math.nan)]).ravel()
    return [
        Line(Role.BLOCK, "means of blocks", steps, means),
        _interrupted(blocks, Line(Role.REFERENCE, "trend of blocks", blocks.last_steps, blocks.expected)),
    ]


def _interrupted(blocks: Blocks, line: Line) -> Line:
    """With a gap where blocks were not looked at, as during an alert."""
    usual = float(np.median(blocks.last_steps - blocks.first_steps)) + 1
    late = np.flatnonzero(np.diff(blocks.last_steps) > 1.5 * usual) + 1
    steps = np.insert(line.steps, late, blocks.first_steps[late])
    return Line(line.role, line.label, steps, np.insert(line.values, late, math.nan))


def _plateau_lines(explanation: Explanation) -> list[Line]:
    plateau = explanation.incident.evidence.get("plateau")
    if plateau is None:
        return []
    told, since = explanation.opened_step, max(float(plateau["since_step"]), 1.0)
    before = max(since / 2, float(explanation.first_step), 1.0)
    fall = np.geomspace(before, told, 64)
    flat = np.geomspace(since, told, 16)
    expected = plateau["expected"] * (fall / told) ** plateau["slope_before"]
    # The level is that in the middle of the stretch, on the clock of the rule.
    level = plateau["level"] * (flat / math.sqrt(since * told)) ** plateau["slope"]
    return [
        Line(Role.FROZEN, "as it fell before", fall, expected),
        Line(Role.SEGMENT, f"since {since:,.0f}: level {number(plateau['level'])}", flat, level),
    ]


def incident_line(incident: Incident) -> str:
    """Id, kind, severity and status in one line."""
    kind, status = incident.kind.replace("_", " "), incident.status.replace("_", " ")
    return f"{clean(incident.id)}: {kind}, {incident.severity}, {status}"
