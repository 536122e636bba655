"""The second of two passes over a log: replays it up to an incident and keeps what lies around that."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ..config import MonitorConfig
from ..detection.alarm import Alarm, Chart
from ..detection.detector import InstabilityDetector
from ..detection.history import KEPT_ROWS
from ..detection.reading import BlockReading, FrozenTrend, Reading
from ..detection.residual import Floats
from ..detection.scales import from_scale
from ..detection.severity import CORROBORATION_ROWS
from ..telemetry import Change, Event, Incident, Kind, Sample
from .errors import ExplainError
from .story import Blocks, Explanation, Firing, Segment, Track
from .survey import Survey

_BEFORE, _BEFORE_BLOCKS = 160, 640  # samples before the onset: more than the trend before it is made of
_AFTER = 80
_LONGEST = 800  # samples from the first alarm on; a dead run stays one incident for as long as it goes on
_MOST_ROWS = 8192
_MOST_TRACKS = 4
_LARGEST = 1e100  # as the detector sees it
SECOND_RISE = "a second rise, from where it had come to rest after the one before"
SUSTAINED = "several samples in a row far above the trend before"
_NOTHING = Reading(
    value=math.nan,
    expected=math.nan,
    lower=math.nan,
    upper=math.nan,
    residual=math.nan,
    outlier_threshold=math.nan,
    level=math.nan,
    level_threshold=math.nan,
    scale=math.nan,
    scale_threshold=math.nan,
    is_judged=False,
)


def explain(samples: Iterable[Sample], incident: Incident, found: Survey, config: MonitorConfig) -> Explanation:
    """Replay the samples of a survey once more, from the beginning, and keep what lies around one of its incidents.

    Raises:
        ExplainError: these are other samples.
    """
    scene = _Scene(incident, found)
    detector = InstabilityDetector(config)
    for number, sample in enumerate(samples):
        if number == found.samples:
            break
        events = detector.update(sample)
        if scene.begins_by(number, sample.step):
            scene.take(number, sample, detector, events)
        if scene.is_over:
            break
    if not scene.told:
        raise ExplainError(f"{incident.id} is not there any more: the log has changed while it was read; try again")
    return scene.explanation()


@dataclass(slots=True)
class _Row:
    """One sample of the window."""

    row: int
    step: int
    values: dict[str, float]
    readings: dict[str, Reading]
    reference: float | None


class _Scene:
    """Collects the samples around one incident, in bounded memory."""

    def __init__(self, incident: Incident, found: Survey) -> None:
        self._incident = incident
        self._found = found
        self._has_blocks = Chart.DRIFT in incident.evidence["charts"].get("loss", {})
        self._is_plateau = incident.kind is Kind.PLATEAU
        self._before = _BEFORE_BLOCKS if self._has_blocks else _BEFORE
        self._opened = found.opened[incident.id]
        self._closed = found.closed.get(incident.id, found.samples - 1)
        self._names = _names(incident, found.signals)
        self._rows: list[_Row] = []
        self._per_pair = 1
        self._alarms: list[tuple[int, int, Alarm]] = []  # number of the sample, step
        self._blocks: list[tuple[int, BlockReading]] = []  # step
        self._trends: dict[str, FrozenTrend] = {}
        self._after = 0
        self.told: list[Event] = []

    @property
    def is_over(self) -> bool:
        return self._after > _AFTER

    def begins_by(self, number: int, step: int) -> bool:
        if self._is_plateau:
            # The rule holds the newest half of the run against the quarter before it.
            return step >= self._incident.onset_step // 2
        return number >= self._opened - KEPT_ROWS - self._before

    def take(self, number: int, sample: Sample, detector: InstabilityDetector, events: Sequence[Event]) -> None:
        names = [name for name in self._names if name in sample.metrics]
        values = {name: _bounded(sample.metrics[name]) for name in names}
        readings = {n: reading for n in names if (reading := self._reading(detector, n)) is not None}
        self._rows.append(_Row(detector.row, sample.step, values, readings, detector.early_reference))
        if len(self._rows) > _MOST_ROWS:
            self._thin()
        if not self._is_plateau or number >= self._opened:
            self._alarms += [(number, sample.step, a) for a in detector.alarms if a.signal in self._names]
        # Without a loss the newest block is that of an earlier sample.
        has_loss = math.isfinite(values.get("loss", math.nan))
        if self._has_blocks and has_loss and (block := detector.block) is not None:
            self._blocks.append((sample.step, block))
        mine = [event for event in events if event.incident_id == self._incident.id]
        self.told += mine
        if any(event.change is not Change.CLOSED for event in mine) and (frozen := detector.frozen_trends()):
            identity, trends = frozen
            if identity == self._incident.id:
                self._trends.update(trends)
        if number >= min(self._closed, self._opened + _LONGEST) or self._has_ended_before(number, sample.step):
            self._after += 1

    def _reading(self, detector: InstabilityDetector, name: str) -> Reading | None:
        # Of half a run nobody can see the charts, and the rule does not look at them.
        return None if self._is_plateau else detector.reading(name)

    def _has_ended_before(self, number: int, step: int) -> bool:
        end = self._incident.end_step
        return end is not None and step >= end and number >= self._opened

    def _thin(self) -> None:
        """Of every four rows keep those with the smallest and the largest value of the leading signal."""
        lead = self._names[0]

        def height(row: _Row) -> float:
            value = row.values.get(lead, math.nan)
            return value if math.isfinite(value) else math.inf

        kept = []
        for start in range(0, len(self._rows), 4):
            part = self._rows[start : start + 4]
            ends = {id(min(part, key=height)), id(max(part, key=height))}
            kept += [row for row in part if id(row) in ends]
        self._rows = kept
        self._per_pair = 4 if self._per_pair == 1 else 2 * self._per_pair

    def explanation(self) -> Explanation:
        self._cut()
        firings = self._firings()
        rows = self._rows
        first, last = rows[0].step, rows[-1].step
        early = [(row.step, row.reference) for row in rows if row.reference is not None and "loss" in row.values]
        goes_on = self._closed > self._opened + _LONGEST and self._incident.end_step is None
        incident = self._incident
        is_probe = incident.kind is Kind.PROBE_FAILURE
        others = [other for other in self._found.incidents if other.id != incident.id]
        again = [
            other for other in others if is_probe and (other.kind, other.signals) == (incident.kind, incident.signals)
        ]
        return Explanation(
            incident=incident,
            tracks=tuple(self._track(name, firings) for name in self._names),
            firings=tuple(firings),
            told=tuple(self.told),
            blocks=self._block_chart(),
            early_steps=np.array([step for step, _ in early], dtype=float),
            early_reference=np.array([reference for _, reference in early], dtype=float),
            first_step=first,
            last_step=last,
            goes_on=goes_on,
            samples_per_pair=self._per_pair,
            # Of a probe that failed the signal is its name.
            unshown=() if is_probe else tuple(name for name in incident.signals if name not in self._names),
            neighbours=tuple(other for other in others if first <= other.detected_step <= last and other not in again),
            again=tuple(again),
        )

    def _cut(self) -> None:
        """Leave out what lies so far before the onset that it would only make the rest small."""
        if self._is_plateau:
            return
        onset = min(self._incident.onset_step, int(self._incident.evidence["opened_step"]))
        begins = next((place for place, row in enumerate(self._rows) if row.step >= onset), 0)
        self._rows = self._rows[max(begins - self._before, 0) :]
        first = self._rows[0].step
        self._alarms = [entry for entry in self._alarms if entry[1] >= first]
        self._blocks = [entry for entry in self._blocks if entry[0] >= first]

    def _firings(self) -> list[Firing]:
        firings = [
            Firing(step, a.signal, a.chart, a.score, a.threshold, a.value, self._is_counted(number, a))
            for number, step, a in self._alarms
        ]
        # Rules that look at an open incident say so in the incident only.
        for event in self.told:
            for signal, fired in event.incident.evidence["charts"].items():
                for chart, score in fired.items():
                    if signal in self._names and not _has(firings, signal, Chart(chart), event.step):
                        value = self._value_at(signal, event.step)
                        rule = SECOND_RISE if event.change is Change.OPENED else SUSTAINED
                        firings.append(Firing(event.step, signal, Chart(chart), float(score), None, value, True, rule))
        return sorted(firings, key=lambda firing: firing.step)

    def _is_counted(self, number: int, alarm: Alarm) -> bool:
        at_opening = self.told[0].incident.evidence["charts"]
        if number <= self._opened:
            # Other alarms of the sample that opened it belong to what was open until then. Of the samples shortly
            # before, it takes up outliers, if with others they make it an alert.
            reach = CORROBORATION_ROWS if alarm.chart is Chart.OUTLIER else 0
            return self._opened - number <= reach and _is_among(alarm, at_opening)
        return number <= self._closed and _is_among(alarm, self._incident.evidence["charts"])

    def _value_at(self, signal: str, step: int) -> float:
        return next((row.values.get(signal, math.nan) for row in self._rows if row.step == step), math.nan)

    def _track(self, name: str, firings: Sequence[Firing]) -> Track:
        rows = [row for row in self._rows if name in row.values]
        finite = [row for row in rows if math.isfinite(row.values[name])]
        readings = [row.readings.get(name, _NOTHING) for row in finite]
        steps = np.array([row.step for row in finite], dtype=float)

        def column(field: str, *, is_judged: bool = False) -> Floats:
            return np.array(
                [getattr(r, field) if r.is_judged or not is_judged else math.nan for r in readings], dtype=float
            )

        charts = {Chart.LEVEL: column("level", is_judged=True), Chart.SCALE: column("scale", is_judged=True)}
        for firing in firings:
            if firing.signal == name and firing.threshold is not None and firing.chart in charts:
                charts[firing.chart][steps == firing.step] = firing.score
        frozen_steps, frozen, segments = self._frozen(name)
        return Track(
            name=name,
            steps=steps,
            values=np.array([row.values[name] for row in finite], dtype=float),
            expected=column("expected"),
            lower=column("lower"),
            upper=column("upper"),
            residual=column("residual"),
            outlier_threshold=column("outlier_threshold"),
            level=charts[Chart.LEVEL],
            level_threshold=column("level_threshold", is_judged=True),
            scale=charts[Chart.SCALE],
            scale_threshold=column("scale_threshold", is_judged=True),
            nonfinite=np.array([row.step for row in rows if not math.isfinite(row.values[name])], dtype=float),
            frozen_steps=frozen_steps,
            frozen=frozen,
            segments=segments,
        )

    def _frozen(self, name: str) -> tuple[Floats, Floats, tuple[Segment, ...]]:
        trend = self._trends.get(name)
        if trend is None or self._is_plateau:
            return np.zeros(0), np.zeros(0), ()
        rows = [row for row in self._rows if row.row >= trend.baseline.first_row]
        row_of = {row.step: row.row for row in reversed(self._rows)}
        segments = []
        # Segments are of the leading signal.
        for first, last, sd in self._incident.evidence.get("segments", ()) if name == self._names[0] else ():
            if first in row_of:
                ends = trend.at(row_of[first], sd), trend.at(row_of.get(last, rows[-1].row), sd)
                segments.append(Segment(int(first), int(last), float(sd), *ends))
        return (
            np.array([row.step for row in rows], dtype=float),
            np.array([trend.at(row.row) for row in rows], dtype=float),
            tuple(segments),
        )

    def _block_chart(self) -> Blocks | None:
        if not self._blocks:
            return None
        is_log = self._trends["loss"].is_log if "loss" in self._trends else False
        step_of = {row.row: row.step for row in self._rows}
        blocks = [block for _, block in self._blocks]
        scores = {firing.step: firing.score for firing in self._firings() if firing.chart is Chart.DRIFT}
        return Blocks(
            first_steps=np.array([step_of.get(block.first_row, step) for step, block in self._blocks], dtype=float),
            last_steps=np.array([step for step, _ in self._blocks], dtype=float),
            means=np.array([from_scale(block.mean, is_log=is_log) for block in blocks]),
            expected=np.array([from_scale(block.expected, is_log=is_log) for block in blocks]),
            level=np.array([scores.get(step, block.level) for step, block in self._blocks]),
            threshold=np.array([block.level_threshold for block in blocks]),
        )


def _bounded(value: float) -> float:
    return max(min(value, _LARGEST), -_LARGEST) if math.isfinite(value) else value


def _is_among(alarm: Alarm, charts: Mapping[str, Mapping[str, float]]) -> bool:
    fired = charts.get(alarm.signal, {})
    # A level alarm that turns out to be noise on both sides counts as one of scale.
    return alarm.chart in fired or (alarm.chart is Chart.LEVEL and Chart.SCALE in fired)


def _has(firings: Sequence[Firing], signal: str, chart: Chart, until: int) -> bool:
    same = (chart, Chart.LEVEL) if chart is Chart.SCALE else (chart,)
    return any(f.is_counted and f.signal == signal and f.chart in same and f.step <= until for f in firings)


def _names(incident: Incident, logged: Sequence[str]) -> list[str]:
    """The signals to show: those of the incident, those that moved with them, and loss and norm for comparison."""
    evidence = incident.evidence
    about_rate = ("learning_rate",) if "learning_rate" in evidence else ()
    wanted = (*incident.signals[: _MOST_TRACKS - 1], *evidence.get("lead_steps", ()), *about_rate, "loss", "grad_norm")
    return [name for name in dict.fromkeys(wanted) if name in logged][:_MOST_TRACKS]
