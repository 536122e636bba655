"""Alarms -> incidents: open, merge, classify, close. One incident is told once, however many charts fire on it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from ..telemetry import Change, Event, Kind, Severity, Status
from .aftershock import Settled
from .alarm import Alarm, Chart
from .bank import SignalBank
from .changepoint import BASELINE_ROWS, FrozenBaseline
from .context import RunContext
from .explained import explain, may_be_explained
from .history import KEPT_ROWS
from .open_incident import OpenIncident
from .past import Past
from .plateau import PlateauRule
from .review import RECENT_ROWS, end_where_it_came_back, is_over, is_raised, is_still_rising, review, was_raised
from .second import go_on_from, keep_apart, rest_before, risen_again
from .severity import CORROBORATION_ROWS, STATISTICAL, provisional_kind, severity_of
from .telling import told
from .trend import residuals_since, vetted

_REVIEW_ROWS = 50  # rows between two looks at an open incident
_REACHES_BACK = 4  # rows by which a second event may have begun before the rise that gave it away
_TAIL_SHARE = 0.2  # of its peak: where a spike may rest when the next one begins and still be called over
_LAST_ROWS = 8  # after the last alarm of a run that ends: enough to say that the signal came back
_SUSTAINED_ROWS, _SUSTAINED_WITHIN, _SUSTAINED_SD = 3, 6, 6.0
_LONGEST_ROWS = KEPT_ROWS - 2 * BASELINE_ROWS  # no incident but a dead run stays open for longer
_LASTING = (Kind.LEVEL_SHIFT, Kind.DRIFT, Kind.NOISE_CHANGE, Kind.PLATEAU)


class IncidentTracker:
    """At most one incident is open at a time; every alarm while it is open belongs to it.

    Args:
        bank: the charts whose alarms arrive here; its history holds the samples.
        context: changes of the run that explain a shift.
        plateau: the rule that says whether a plateau still goes on.
        merge_steps: quiet steps after which an incident that is back at trend is over.
        confirm_rows: rows after which a level that has not come back is called lasting.
    """

    def __init__(
        self, bank: SignalBank, plateau: PlateauRule, context: RunContext, merge_steps: int, confirm_rows: int
    ) -> None:
        self._bank = bank
        self._context = context
        self._plateau = plateau
        self._merge_steps = merge_steps
        self._confirm_rows = confirm_rows
        self._open: OpenIncident | None = None
        self._last_id = ""
        self._past = Past()
        self._last_outlier: dict[str, tuple[int, Alarm]] = {}  # signal -> row, alarm
        self.is_update_left_out = False  # that of the newest sample, by an action
        self.early_reference: float | None = None  # best loss level so far while early rules watch
        self.learning_rate: float | None = None  # of the newest sample

    @property
    def is_open(self) -> bool:
        return self._open is not None

    @property
    def has_open_alert(self) -> bool:
        return self._open is not None and self._open.severity.is_alert

    @property
    def open_baselines(self) -> tuple[str, dict[str, FrozenBaseline]] | None:
        """Id of the open incident, and the trends it is held against by signal."""
        return None if self._open is None else (self._open.id, dict(self._open.baselines))

    @property
    def may_look_for_plateau(self) -> bool:
        """While something else goes on with the loss, what it does says nothing of a plateau."""
        return self._open is None or self._open.kind is Kind.PLATEAU

    def observe(self, step: int, alarms: Sequence[Alarm]) -> list[Event]:
        """Events caused by one sample: what its alarms open or change, and what its values end."""
        row = self._bank.history.rows - 1
        events: list[Event] = []
        alarms = [alarm for raw in alarms if (alarm := self._vetted(raw, row)) is not None]
        if alarms:
            for alarm in alarms:
                if alarm.chart is Chart.OUTLIER:
                    self._last_outlier[alarm.signal] = (row, alarm)
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
        events: list[Event] = []
        incident = self._open
        if incident is not None and (another := self._another(step, row, incident, alarms)) is not None:
            rest = rest_before(self._bank, incident, row) if incident.severity.is_alert else None
            events.append(self._replace(step, incident, another, rest))
            incident = None
        is_new = incident is None
        incident = self._open = self._open or self._start(step, row, alarms[0])
        before = (incident.severity, incident.kind, tuple(incident.signals))
        for alarm in alarms:
            self._join(step, row, incident, alarm)
        severity = max(incident.severity, severity_of(incident, self._outlier_rows()), key=lambda s: s.rank)
        if severity is Severity.WARNING and not incident.severity.is_alert and self._is_explained(step, row, incident):
            severity = Severity.INFO
        if severity > incident.severity:
            if not incident.severity.is_alert:
                incident.detected_step = step
            incident.severity = severity
        incident.last_alarm_row = row
        incident.last_alarm_step = step
        if is_new:
            incident.kind = provisional_kind(incident)
            self._review(incident, row)
            return [*events, self._event(step, incident, Change.OPENED)]
        if severity > before[0] or tuple(incident.signals) != before[2]:
            self._review(incident, row)
            return [self._event(step, incident, Change.UPDATED)]
        return []

    def _is_explained(self, step: int, row: int, incident: OpenIncident) -> bool:
        """Whether a change of the run, declared or seen in its telemetry, accounts for a rise of the loss by now."""
        if not may_be_explained(incident):
            return False
        self._review(incident, row)
        return explain(incident, self._context, self._bank.history.steps_per_row())

    def _another(self, step: int, row: int, incident: OpenIncident, alarms: Sequence[Alarm]) -> OpenIncident | None:
        """An incident of its own, if the newest alarms make an alert and what is open has nothing to do with it.

        That is old information, as a noisy stretch that would give its onset and its trend to a spike; or a rise that
        had come back before something became NaN.
        """
        if incident.severity.is_alert:
            is_nonfinite = any(alarm.chart is Chart.NONFINITE for alarm in alarms)
            if not is_nonfinite or incident.is_nonfinite or (rest := rest_before(self._bank, incident, row)) is None:
                return None
            another = self._start(step, row, alarms[0])
            go_on_from(incident, another, rest, row)
            return another
        # Outliers of the last rows belong to it: with the newest they may be what makes the alert.
        past = [entry for entry in self._last_outlier.values() if row - entry[0] <= CORROBORATION_ROWS]
        first_row = min((entry[0] for entry in past), default=row)
        if not self._is_aside(incident, row):
            return None
        another = self._start(step, first_row, alarms[0])
        for alarm_row, alarm in [*past, *((row, alarm) for alarm in alarms)]:
            self._join(self._bank.history.step_of(alarm_row), alarm_row, another, alarm)
        return another if severity_of(another, self._outlier_rows()).is_alert else None

    def _second(self, step: int, row: int, incident: OpenIncident) -> list[Event]:
        """Close an alert and open another, if the loss has just risen again from where it had come to rest."""
        if (found := risen_again(self._bank, incident, row)) is None:
            return []
        first_row, rise = found
        newest = self._bank.history.newest(self._bank.column("loss") or 0)
        alarm = Alarm("loss", Chart.LEVEL, rise.score, rise.limit, newest)
        another = self._start(step, first_row, alarm)
        go_on_from(incident, another, rise.before, another.opened_row - _REACHES_BACK)
        events = [self._replace(step, incident, another, rise.before)]
        self._join(step, row, another, alarm)
        another.last_alarm_row, another.last_alarm_step = row, step
        if incident.severity.is_alert or not self._is_explained(step, row, another):
            another.severity = Severity.WARNING
            self._review(another, row)
        return [*events, self._event(step, another, Change.OPENED)]

    def _replace(self, step: int, incident: OpenIncident, another: OpenIncident, before: Settled | None) -> Event:
        """Close what is open, as of before ``another`` began, and go on with that."""
        self._review(incident, another.opened_row - 1)
        is_back = before is None or before.is_back or incident.is_nonfinite
        if before is not None and not is_back and (peak := incident.peaks.get("loss")):
            top = incident.baselines["loss"].residual(incident.onset_row, self._bank.to_scale("loss", peak[0]))
            is_back = before.level < _TAIL_SHARE * float(top)
            if not is_back and incident.kind is Kind.SPIKE:
                incident.kind = Kind.LEVEL_SHIFT
        if is_back:
            end_where_it_came_back(self._bank, incident)
        event = self._event(step, incident, Change.CLOSED, Status.RECOVERED if is_back else Status.PERSISTENT)
        if incident.end_row is not None:
            keep_apart(another, incident.lead, incident.end_row)
        self._open = another
        return event

    def _is_aside(self, incident: OpenIncident, row: int) -> bool:
        """Whether an open incident says nothing about alarms at ``row``: old, information, and not raised before."""
        if incident.kind is Kind.PLATEAU:
            return True
        # What the leading signal joined only now is no old information.
        if incident.severity.is_alert or row - incident.alarm_rows[incident.lead] < 2 * RECENT_ROWS:
            return False
        return not was_raised(self._bank, incident, row - CORROBORATION_ROWS)

    def _outlier_rows(self) -> dict[str, int]:
        return {name: row for name, (row, _) in self._last_outlier.items()}

    def _start(self, step: int, row: int, alarm: Alarm) -> OpenIncident:
        identity = f"{alarm.signal.replace('/', '.')}-{step}"
        if identity == self._last_id:
            identity += "-2"
        self._last_id = identity
        onset_row = max(row - alarm.detail.get("rows_ago", 0), row - _LONGEST_ROWS)
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
        incident.facts["steps_per_sample"] = self._bank.history.steps_per_row()
        # A slow change began long before its alarm.
        before = onset_row if alarm.chart is Chart.DRIFT else row
        for name in ("loss", "grad_norm"):
            self._freeze(incident, name, before)
        return incident

    def _join(self, step: int, row: int, incident: OpenIncident, alarm: Alarm) -> None:
        name = alarm.signal
        if name not in incident.signals:
            if name == "loss" and incident.signals and not incident.severity.is_alert:
                incident.detected_step = step  # from here on it is told by the loss
            incident.signals.append(name)
            incident.alarm_rows[name] = row
            self._freeze(incident, name, incident.opened_row)
        if alarm.chart in STATISTICAL:
            incident.last_rise_row[name] = row
        charts = incident.charts.setdefault(name, {})
        charts[alarm.chart] = max(charts.get(alarm.chart, 0.0), float(alarm.score))
        if alarm.chart is Chart.SCHEDULE:
            began = self._bank.history.step_of(row - alarm.detail["rows_ago"])
            incident.facts.setdefault("learning_rate", {**alarm.detail, "step": began})
        elif alarm.detail and alarm.chart is not Chart.DRIFT:
            incident.facts.update(alarm.detail)
        if alarm.chart is Chart.NONFINITE:
            incident.facts.setdefault("first_nonfinite", {"signal": name, "step": step, "value": alarm.value})
            if self.is_update_left_out:
                incident.facts.setdefault("updates_left_out", True)
            else:
                incident.facts["updates_left_out"] = False
            incident.facts["last_nonfinite_row"] = row

    def _vetted(self, alarm: Alarm, row: int) -> Alarm | None:
        """The alarm unless its values show that it is no rise."""
        if alarm.chart not in (Chart.LEVEL, Chart.SCALE, Chart.OUTLIER):
            return alarm
        baseline = None
        if self._open is not None and not self._is_aside(self._open, row):
            baseline = self._open.baselines.get(alarm.signal)
        baseline = baseline or self._past.trend_before(self._bank, alarm.signal, row, self.early_reference)
        return alarm if baseline is None else vetted(self._bank, alarm, baseline)

    def _freeze(self, incident: OpenIncident, name: str, before: int) -> None:
        if name in incident.baselines:
            return
        baseline = self._past.trend_before(self._bank, name, before, self.early_reference)
        if baseline is not None:
            incident.baselines[name] = baseline
        if (noise := self._bank.noise_state(name)) is not None:
            incident.noises[name] = noise
            incident.was_log[name] = self._bank.is_log(name)

    def _is_sustained(self, incident: OpenIncident) -> bool:
        """Whether the loss is far above trend for several rows: too few for the level chart, too many for a batch."""
        baseline = incident.baselines.get("loss")
        if baseline is None or not incident.has("loss", Chart.OUTLIER, Chart.SCALE):
            return False
        newest = self._bank.history.rows - 1
        rows, y = residuals_since(self._bank, "loss", baseline, newest + 1 - _SUSTAINED_WITHIN - RECENT_ROWS, newest)
        is_last = rows > newest - _SUSTAINED_WITHIN
        # A trend that had drifted off before is no part of the rise.
        usual = max(float(np.median(y[~is_last])), 0.0) if not is_last.all() else 0.0
        return int(np.sum(y[is_last] - usual > _SUSTAINED_SD)) >= _SUSTAINED_ROWS

    def _follow(self, step: int, row: int, incident: OpenIncident) -> list[Event]:
        """Look at an open incident as time passes: revise it, and close it when it is over or here to stay."""
        age = row - incident.opened_row
        if age > 0 and (events := self._second(step, row, incident)):
            return events
        if (
            not incident.severity.is_alert
            and age < _SUSTAINED_WITHIN
            and self._is_sustained(incident)
            and not self._is_explained(step, row, incident)
        ):
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
            is_lasting = incident.kind in _LASTING or incident.lead != "loss"
            if is_lasting and is_still_rising(self._bank, incident) and age < _LONGEST_ROWS:
                return []
            if (is_lasting and self._is_raised(incident)) or age >= _LONGEST_ROWS:
                return [self._close(step, incident, Status.PERSISTENT)]
        if incident.kind is not before:
            return [self._event(step, incident, Change.UPDATED)]
        return []

    def _is_raised(self, incident: OpenIncident, recent_rows: int = RECENT_ROWS) -> bool:
        if incident.kind is Kind.PLATEAU:
            return self._plateau.is_flat
        return is_raised(self._bank, incident, self.learning_rate, recent_rows)

    def _review(self, incident: OpenIncident, row: int) -> None:
        review(self._bank, incident, row)

    def _close(self, step: int, incident: OpenIncident, status: Status) -> Event:
        if status is Status.RECOVERED:
            end_where_it_came_back(self._bank, incident)
        event = self._event(step, incident, Change.CLOSED, status)
        self._past.add(incident, self._bank.history.rows - 1, has_recovered=status is Status.RECOVERED)
        if incident.severity.is_alert:
            for name, noise in incident.noises.items():
                if self._bank.is_log(name) == incident.was_log[name]:
                    self._bank.put_back(name, noise, RECENT_ROWS)
        self._open = None
        return event

    def _event(self, step: int, incident: OpenIncident, change: Change, status: Status = Status.OPEN) -> Event:
        return Event(step, incident.id, change, told(self._bank, step, incident, status))

    def state_dict(self) -> dict[str, Any]:
        return {
            "open": None if self._open is None else self._open.to_json(),
            "last_id": self._last_id,
            "past": self._past.state_dict(),
            "last_outlier": {name: [row, asdict(alarm)] for name, (row, alarm) in self._last_outlier.items()},
            "early_reference": self.early_reference,
            "learning_rate": self.learning_rate,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self._open = None if state["open"] is None else OpenIncident.from_json(state["open"])
        self._last_id = state["last_id"]
        self._past.load_state_dict(state["past"])
        self._last_outlier = {name: (row, _alarm(alarm)) for name, (row, alarm) in state["last_outlier"].items()}
        self.early_reference = state["early_reference"]
        self.learning_rate = None if state["learning_rate"] is None else float(state["learning_rate"])


def _alarm(record: Mapping[str, Any]) -> Alarm:
    """An alarm from the log, where numbers that are not finite are spelled as strings."""
    numbers = {name: float(record[name]) for name in ("score", "threshold", "value")}
    expected = None if record["expected"] is None else float(record["expected"])
    return Alarm(record["signal"], Chart(record["chart"]), **numbers, expected=expected, detail=record["detail"])
