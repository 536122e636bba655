"""Alarms -> incidents: open, merge, classify, close. One incident is told once, however many charts fire on it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ..telemetry import Change, Event, Kind, Severity, Status
from .alarm import Alarm, Chart
from .bank import SignalBank
from .changepoint import (
    BASELINE_ROWS,
    FrozenBaseline,
    freeze,
    is_only_fall,
    is_only_flattening,
    is_only_noise,
    raised_segments,
    segments,
    span,
)
from .classify import classify_loss
from .history import KEPT_ROWS
from .open_incident import OpenIncident
from .telling import told

_REVIEW_ROWS = 50  # rows between two looks at an open incident
_CORROBORATION_ROWS = 8  # loss and gradient-norm outliers this close together are one alert
_RECENT_ROWS = 16
_LAST_ROWS = 8  # after the last alarm of a run that ends: enough to say that the signal came back
_SUSTAINED_ROWS, _SUSTAINED_WITHIN, _SUSTAINED_SD = 3, 6, 6.0
_RAISED_SD = 1.0
_RATE_BACK = math.log(1.5)  # a learning rate within this factor of what it was before a jump has come back
_LONGEST_ROWS = KEPT_ROWS - 2 * BASELINE_ROWS  # no incident but a dead run stays open for longer
_STATISTICAL = (Chart.LEVEL, Chart.OUTLIER, Chart.EARLY)


class IncidentTracker:
    """At most one incident is open at a time; every alarm while it is open belongs to it.

    Args:
        bank: the charts whose alarms arrive here; its history holds the samples.
        merge_steps: quiet steps after which an incident that is back at trend is over.
        confirm_rows: rows after which a level that has not come back is called lasting.
    """

    def __init__(self, bank: SignalBank, merge_steps: int, confirm_rows: int) -> None:
        self._bank = bank
        self._merge_steps = merge_steps
        self._confirm_rows = confirm_rows
        self._open: OpenIncident | None = None
        self._last_id = ""
        self._last_outlier: dict[str, int] = {}  # signal -> row
        self.early_reference: float | None = None  # best loss level so far while early rules watch
        self.learning_rate: float | None = None  # of the newest sample

    @property
    def is_open(self) -> bool:
        return self._open is not None

    def observe(self, step: int, alarms: Sequence[Alarm]) -> list[Event]:
        """Events caused by one sample: what its alarms open or change, and what its values end."""
        row = self._bank.history.rows - 1
        events: list[Event] = []
        alarms = [alarm for raw in alarms if (alarm := self._vetted(raw, row)) is not None]
        if alarms:
            for alarm in alarms:
                if alarm.chart is Chart.OUTLIER:
                    self._last_outlier[alarm.signal] = row
            events += self._take(step, row, alarms)
        if self._open is not None:
            events += self._follow(step, row, self._open)
        return events

    def finish(self, step: int) -> list[Event]:
        """The run is over: close what is open, with the outcome left open unless the signal is back by now."""
        if self._open is None:
            return []
        row = self._bank.history.rows - 1
        self._review(self._open, row)
        since_alarm = row - self._open.last_alarm_row
        is_back = since_alarm >= _LAST_ROWS and not self._is_raised(self._open, min(since_alarm, _RECENT_ROWS))
        return [self._close(step, self._open, Status.RECOVERED if is_back else Status.ENDED_RUN)]

    def _take(self, step: int, row: int, alarms: Sequence[Alarm]) -> list[Event]:
        incident = self._open
        is_new = incident is None
        if incident is None:
            incident = self._open = self._start(step, row, alarms[0])
        before = (incident.severity, incident.kind, tuple(incident.signals))
        for alarm in alarms:
            self._join(step, row, incident, alarm)
        severity = max(incident.severity, self._severity(incident), key=lambda s: s.rank)
        if severity > incident.severity:
            incident.severity = severity
            incident.detected_step = step
        incident.last_alarm_row = row
        incident.last_alarm_step = step
        if is_new:
            incident.kind = self._provisional_kind(incident)
            self._review(incident, row)
            return [self._event(step, incident, Change.OPENED)]
        if severity > before[0] or tuple(incident.signals) != before[2]:
            self._review(incident, row)
            return [self._event(step, incident, Change.UPDATED)]
        return []

    def _start(self, step: int, row: int, alarm: Alarm) -> OpenIncident:
        identity = f"{alarm.signal.replace('/', '.')}-{step}"
        if identity == self._last_id:
            identity += "-2"
        self._last_id = identity
        onset_row = row - alarm.detail.get("rows_ago", 0)
        incident = OpenIncident(
            id=identity,
            opened_row=row,
            opened_step=step,
            detected_step=step,
            last_alarm_row=row,
            last_alarm_step=step,
            severity=Severity.INFO,
            kind=Kind.SPIKE,
            signals=[],
            alarm_rows={},
            charts={},
            baselines={},
            onset_row=onset_row,
            onset_step=self._bank.history.step_of(onset_row),
        )
        for name in ("loss", "grad_norm"):
            self._freeze(incident, name)
        return incident

    def _join(self, step: int, row: int, incident: OpenIncident, alarm: Alarm) -> None:
        name = alarm.signal
        if name not in incident.signals:
            incident.signals.append(name)
            incident.alarm_rows[name] = row
            self._freeze(incident, name)
        charts = incident.charts.setdefault(name, {})
        charts[alarm.chart] = max(charts.get(alarm.chart, 0.0), alarm.score)
        if alarm.chart is Chart.SCHEDULE:
            began = self._bank.history.step_of(row - alarm.detail["rows_ago"])
            incident.facts.setdefault("learning_rate", {**alarm.detail, "step": began})
        elif alarm.detail:
            incident.facts.update(alarm.detail)
        if alarm.chart is Chart.NONFINITE:
            incident.facts.setdefault("first_nonfinite", {"signal": name, "step": step, "value": alarm.value})
            incident.facts["last_nonfinite_row"] = row

    def _vetted(self, alarm: Alarm, row: int) -> Alarm | None:
        """The alarm as it is, as a matter of noise, or None if it is a fall or no rise at all."""
        if alarm.chart not in (Chart.LEVEL, Chart.SCALE):
            return alarm
        name, column = alarm.signal, self._bank.column(alarm.signal)
        baseline = self._open.baselines.get(name) if self._open is not None else None
        baseline = baseline or self._baseline(name, row)
        if column is None or baseline is None:
            return alarm
        rows, values = self._bank.history.column(column, baseline.first_row)
        x = self._bank.to_scale(name, values)
        y = baseline.residuals(rows, x)
        if alarm.chart is Chart.SCALE:
            return None if is_only_fall(y) else alarm
        first, last = span(y, [], len(y) - 1, is_shift=True)
        if is_only_flattening(x, baseline.scale, first):
            return None
        return replace(alarm, chart=Chart.SCALE) if is_only_noise(y[first : last + 1]) else alarm

    def _freeze(self, incident: OpenIncident, name: str) -> None:
        if name not in incident.baselines and (baseline := self._baseline(name, incident.opened_row)) is not None:
            incident.baselines[name] = baseline

    def _baseline(self, name: str, row: int) -> FrozenBaseline | None:
        """The trend of a signal before ``row``; None if it has no sample there."""
        column = self._bank.column(name)
        if column is None:
            return None
        rows, values = self._bank.history.column(column, row - BASELINE_ROWS)
        before = rows < row
        x = self._bank.to_scale(name, values)
        if not before.any():
            return None
        reference = None
        if name == "loss" and self.early_reference is not None:
            reference = float(self._bank.to_scale(name, self.early_reference))
        return freeze(rows[before], x[before], row, reference=reference)

    def _severity(self, incident: OpenIncident) -> Severity:
        if self._is_nonfinite(incident):
            return Severity.CRITICAL
        if incident.has("loss", Chart.LEVEL, Chart.EARLY) or incident.has("learning_rate", Chart.SCHEDULE):
            return Severity.WARNING
        loss_row, norm_row = (self._last_outlier.get(name, -(10**9)) for name in ("loss", "grad_norm"))
        is_joint = incident.has("loss", Chart.OUTLIER) and incident.has("grad_norm", Chart.OUTLIER)
        if is_joint and abs(loss_row - norm_row) <= _CORROBORATION_ROWS:
            return Severity.WARNING
        return Severity.INFO

    def _provisional_kind(self, incident: OpenIncident) -> Kind:
        if any(Chart.NONFINITE in charts for charts in incident.charts.values()):
            return Kind.NONFINITE
        if incident.has("loss", *_STATISTICAL, Chart.SCALE):
            return Kind.SPIKE if incident.has("loss", Chart.LEVEL, Chart.EARLY) else Kind.BAD_BATCH
        if incident.has("learning_rate", Chart.SCHEDULE):
            return Kind.LR_ANOMALY
        if incident.has("grad_norm", *_STATISTICAL):
            return Kind.GRAD_SPIKE
        if any(charts.keys() & set(_STATISTICAL) for charts in incident.charts.values()):
            return Kind.SPIKE
        return Kind.NOISE_CHANGE

    def _is_nonfinite(self, incident: OpenIncident) -> bool:
        return any(incident.has(name, Chart.NONFINITE) for name in ("loss", "grad_norm", "learning_rate"))

    def _is_sustained(self, incident: OpenIncident) -> bool:
        """Whether the loss is far above trend for several rows: too few for the level chart, too many for a batch."""
        column, baseline = self._bank.column("loss"), incident.baselines.get("loss")
        if column is None or baseline is None or not incident.has("loss", Chart.OUTLIER, Chart.SCALE):
            return False
        rows, values = self._bank.history.column(column, self._bank.history.rows - _SUSTAINED_WITHIN)
        y = baseline.residuals(rows, self._bank.to_scale("loss", values))
        return int(np.sum(y > _SUSTAINED_SD)) >= _SUSTAINED_ROWS

    def _follow(self, step: int, row: int, incident: OpenIncident) -> list[Event]:
        """Look at an open incident as time passes: revise it, and close it when it is over or here to stay."""
        age = row - incident.opened_row
        if not incident.severity.is_alert and age < _SUSTAINED_WITHIN and self._is_sustained(incident):
            incident.charts["loss"].setdefault(Chart.LEVEL, float(_SUSTAINED_ROWS))
            incident.severity, incident.detected_step = Severity.WARNING, step
            self._review(incident, row)
            return [self._event(step, incident, Change.UPDATED)]
        # Counted in optimizer steps, so that a log with every tenth step merges what a full one would; but never in
        # fewer rows than it takes to see that the signal is back.
        is_quiet = step - incident.last_alarm_step >= self._merge_steps
        if is_quiet and self._is_over(incident) and not self._is_raised(incident):
            self._review(incident, row)
            return [self._close(step, incident, Status.RECOVERED)]
        if age == 0 or age % _REVIEW_ROWS:
            return []
        before = incident.kind
        self._review(incident, row)
        # A run that is dead or diverging stays one incident until it recovers or ends.
        is_dying = incident.kind in (Kind.NONFINITE, Kind.DIVERGENCE)
        if is_dying and incident.severity < Severity.CRITICAL:
            incident.severity = Severity.CRITICAL
            incident.is_classified = True
            return [self._event(step, incident, Change.CLASSIFIED)]
        if age >= self._confirm_rows and not is_dying:
            is_lasting = incident.kind in (Kind.LEVEL_SHIFT, Kind.DRIFT) or incident.lead != "loss"
            if (is_lasting and self._is_raised(incident)) or age >= _LONGEST_ROWS:
                return [self._close(step, incident, Status.PERSISTENT)]
        if incident.kind is not before:
            return [self._event(step, incident, Change.UPDATED)]
        return []

    def _is_raised(self, incident: OpenIncident, recent_rows: int = _RECENT_ROWS) -> bool:
        """Whether the leading signal is still above the trend before the incident, judged by its newest rows."""
        name = incident.lead
        if name == "learning_rate":
            return self._is_rate_off(incident)
        column, baseline = self._bank.column(name), incident.baselines.get(name)
        if column is None or baseline is None:
            return False
        rows, values = self._bank.history.column(column, self._bank.history.rows - recent_rows)
        if not len(values):
            return incident.kind is Kind.NONFINITE
        y = baseline.residuals(rows, self._bank.to_scale(name, values))
        return float(np.median(y)) > _RAISED_SD

    def _is_over(self, incident: OpenIncident) -> bool:
        """Whether enough samples have passed since the last alarm to say how it ended."""
        return self._bank.history.rows - 1 - incident.last_alarm_row >= _RECENT_ROWS

    def _is_rate_off(self, incident: OpenIncident) -> bool:
        """Whether the learning rate is still what it became."""
        change, rate = incident.facts.get("learning_rate"), self.learning_rate
        if rate is None or change is None or not math.isfinite(rate):
            return rate is not None and not math.isfinite(rate)
        if change["what"] in ("zero", "negative"):
            return rate <= 0
        return abs(math.log(max(rate, 1e-300) / max(change["before"], 1e-300))) > _RATE_BACK

    def _review(self, incident: OpenIncident, row: int) -> None:
        """Bring onset, peaks, excess loss, segments and kind up to date from the history."""
        lead = incident.lead
        column, baseline = self._bank.column(lead), incident.baselines.get(lead)
        if column is not None and baseline is not None:
            rows, values = self._bank.history.column(column, baseline.first_row)
            if len(rows):
                y = baseline.residuals(rows, self._bank.to_scale(lead, values))
                self._place(incident, lead, rows, y)
        if incident.kind is Kind.NONFINITE or "first_nonfinite" in incident.facts:
            first = incident.facts["first_nonfinite"]
            # A loss that was rising before it became NaN began then; else nothing came before.
            is_sudden = first["signal"] == lead and not incident.has(lead, *_STATISTICAL, Chart.SCALE)
            incident.onset_step = first["step"] if is_sudden else min(incident.onset_step, first["step"])
        self._count(incident, row)

    def _place(self, incident: OpenIncident, lead: str, rows: np.ndarray, y: np.ndarray) -> None:
        alarm = min(int(np.searchsorted(rows, incident.alarm_rows[lead])), len(rows) - 1)
        parts = segments(y)
        raised = raised_segments(y, parts, alarm)
        onset, last = span(y, raised, alarm, is_shift=incident.has(lead, Chart.LEVEL))
        # Once the window has moved past the onset it can only be remembered.
        if rows[0] <= incident.onset_row:
            incident.onset_row = int(rows[onset])
            incident.onset_step = self._bank.history.step_of(incident.onset_row)
        step_of = self._bank.history.step_of
        incident.parts = [
            [step_of(int(rows[part.first])), step_of(int(rows[part.last])), round(part.level, 2)] for part in raised
        ]
        if lead == "loss" and not self._is_nonfinite(incident) and incident.has("loss", *_STATISTICAL, Chart.SCALE):
            incident.kind = classify_loss(
                y,
                raised,
                onset,
                self._log_ratio(incident),
                has_level_alarm=incident.has("loss", Chart.LEVEL, Chart.EARLY),
                has_scale_alarm=incident.has("loss", Chart.SCALE),
            )
        else:
            incident.kind = self._provisional_kind(incident)
        incident.end_step = step_of(int(rows[last + 1])) if last + 1 < len(rows) else None
        if incident.kind is Kind.BAD_BATCH and incident.severity.is_alert and not self._is_over(incident):
            # Whether a rise told to people is just one bad batch only shows afterwards.
            incident.kind = Kind.SPIKE

    def _log_ratio(self, incident: OpenIncident) -> float:
        """Log of the recent loss over what the trend before the incident expects."""
        column = self._bank.column("loss")
        baseline = incident.baselines["loss"]
        rows, values = self._bank.history.column(column or 0, self._bank.history.rows - _RECENT_ROWS)
        expected = self._bank.from_scale("loss", baseline.expected(float(rows[-1]))) if len(rows) else 0.0
        level = float(np.median(values)) if len(values) else 0.0
        return math.log(level / expected) if level > 0 and expected > 0 else 0.0

    def _count(self, incident: OpenIncident, row: int) -> None:
        """Peaks and excess loss from the onset on; from the last count on once the onset has left the window."""
        history = self._bank.history
        has_onset = history.rows - incident.onset_row <= KEPT_ROWS
        start = incident.onset_row if has_onset else incident.counted_row + 1
        if has_onset:
            incident.excess_loss = 0.0
            incident.peaks.clear()
        for name, baseline in incident.baselines.items():
            # A gradient norm may lead the loss by some steps.
            reach = start - _CORROBORATION_ROWS if has_onset and name != incident.lead else start
            rows, values = history.column(self._bank.column(name) or 0, reach)
            if not len(rows):
                continue
            top = int(np.argmax(values))
            if name not in incident.peaks or values[top] > incident.peaks[name][0]:
                incident.peaks[name] = (float(values[top]), history.step_of(int(rows[top])))
            if name == "loss":
                counted = rows >= start
                expected = [self._bank.from_scale(name, baseline.expected(float(r))) for r in rows[counted]]
                incident.excess_loss += float(np.sum(values[counted] - expected))
        incident.counted_row = row

    def _close(self, step: int, incident: OpenIncident, status: Status) -> Event:
        event = self._event(step, incident, Change.CLOSED, status)
        self._open = None
        return event

    def _event(self, step: int, incident: OpenIncident, change: Change, status: Status = Status.OPEN) -> Event:
        return Event(step, incident.id, change, told(self._bank, step, incident, status))

    def state_dict(self) -> dict[str, Any]:
        return {
            "open": None if self._open is None else self._open.to_json(),
            "last_id": self._last_id,
            "last_outlier": dict(self._last_outlier),
            "early_reference": self.early_reference,
            "learning_rate": self.learning_rate,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self._open = None if state["open"] is None else OpenIncident.from_json(state["open"])
        self._last_id = state["last_id"]
        self._last_outlier = dict(state["last_outlier"])
        self.early_reference = state["early_reference"]
        self.learning_rate = None if state["learning_rate"] is None else float(state["learning_rate"])
