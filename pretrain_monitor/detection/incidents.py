"""Alarms -> incidents: open, merge, classify, close. One incident is told once, however many charts fire on it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..telemetry import Change, Event, Kind, Severity, Status
from .alarm import Alarm, Chart
from .bank import SignalBank
from .changepoint import BASELINE_ROWS, FrozenBaseline
from .history import KEPT_ROWS
from .open_incident import OpenIncident
from .review import RECENT_ROWS, is_over, is_raised, review
from .severity import provisional_kind, severity_of
from .telling import told
from .trend import residuals_since, trend_before, vetted

_REVIEW_ROWS = 50  # rows between two looks at an open incident
_LAST_ROWS = 8  # after the last alarm of a run that ends: enough to say that the signal came back
_SUSTAINED_ROWS, _SUSTAINED_WITHIN, _SUSTAINED_SD = 3, 6, 6.0
_LONGEST_ROWS = KEPT_ROWS - 2 * BASELINE_ROWS  # no incident but a dead run stays open for longer


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
        is_back = since_alarm >= _LAST_ROWS and not self._is_raised(self._open, min(since_alarm, RECENT_ROWS))
        return [self._close(step, self._open, Status.RECOVERED if is_back else Status.ENDED_RUN)]

    def _take(self, step: int, row: int, alarms: Sequence[Alarm]) -> list[Event]:
        incident = self._open
        is_new = incident is None
        if incident is None:
            incident = self._open = self._start(step, row, alarms[0])
        before = (incident.severity, incident.kind, tuple(incident.signals))
        for alarm in alarms:
            self._join(step, row, incident, alarm)
        severity = max(incident.severity, severity_of(incident, self._last_outlier), key=lambda s: s.rank)
        if severity > incident.severity:
            incident.severity = severity
            incident.detected_step = step
        incident.last_alarm_row = row
        incident.last_alarm_step = step
        if is_new:
            incident.kind = provisional_kind(incident)
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
        """The alarm unless its values show that it is no rise."""
        if alarm.chart not in (Chart.LEVEL, Chart.SCALE):
            return alarm
        baseline = self._open.baselines.get(alarm.signal) if self._open is not None else None
        baseline = baseline or self._trend_before(alarm.signal, row)
        return alarm if baseline is None else vetted(self._bank, alarm, baseline)

    def _freeze(self, incident: OpenIncident, name: str) -> None:
        if name in incident.baselines:
            return
        baseline = self._trend_before(name, incident.opened_row)
        if baseline is not None:
            incident.baselines[name] = baseline

    def _trend_before(self, name: str, row: int) -> FrozenBaseline | None:
        return trend_before(self._bank, name, row, self.early_reference)

    def _is_sustained(self, incident: OpenIncident) -> bool:
        """Whether the loss is far above trend for several rows: too few for the level chart, too many for a batch."""
        baseline = incident.baselines.get("loss")
        if baseline is None or not incident.has("loss", Chart.OUTLIER, Chart.SCALE):
            return False
        _, y = residuals_since(self._bank, "loss", baseline, self._bank.history.rows - _SUSTAINED_WITHIN)
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
        if is_quiet and is_over(self._bank, incident) and not self._is_raised(incident):
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

    def _is_raised(self, incident: OpenIncident, recent_rows: int = RECENT_ROWS) -> bool:
        return is_raised(self._bank, incident, self.learning_rate, recent_rows)

    def _review(self, incident: OpenIncident, row: int) -> None:
        review(self._bank, incident, row)

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
