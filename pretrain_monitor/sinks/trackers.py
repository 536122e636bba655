"""Alerts and trends in the experiment tracker that the program uses already: wandb, trackio, MLflow, Lightning's."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from ..actions.orders import ActionRecord
from ..config import ConfigError
from ..printable import shorten
from ..telemetry import Event, Incident, Sample, Severity, Status
from . import wording
from .base import checked_severity
from .messages import OUTCOMES
from .telling import News, Teller, Telling
from .tracker_adapters import PREFIX, MlflowTracker, Tracker, TrackioTracker, WandbTracker, finite, tracker_of

logger = logging.getLogger(__name__)

_DERIVED = tuple(f"{signal}/{part}" for signal in ("loss", "grad_norm") for part in ("expected", "lower", "upper"))
_COUNTS = {severity: f"{PREFIX}incidents/{severity.value}" for severity in Severity}
_OPEN_ALERTS = f"{PREFIX}open_alerts"
_NAMES = (*(f"{PREFIX}{name}" for name in _DERIVED), *_COUNTS.values(), _OPEN_ALERTS)
_MAX_TEXT = 1_500


class TrackerSink:
    """Writes what was expected, how many incidents there are, and every alert, into runs that are active anyway.

    A run may be started before or after this; without one nothing is written, and nothing is ever started. A tracker
    that fails is logged once and switched off; the others go on.

    >>> TrackerSink(every_steps=10).on_sample(Sample(10, {"loss": 2.0}))

    Args:
        loggers: Lightning loggers, or others with ``log_metrics(metrics, step=)``.
        every_steps: between two points of a curve; a change of an alert is a point as well.
        minimum_severity: ``info``, ``warning`` or ``critical``: from which on incidents are told.

    Raises:
        ConfigError: a setting that cannot be used.
    """

    def __init__(
        self, loggers: Sequence[Any] = (), *, every_steps: int = 50, minimum_severity: str = "warning"
    ) -> None:
        if every_steps < 1:
            raise ConfigError(f"TrackerSink: every_steps={every_steps!r}: give 1 or more")
        for place, one in enumerate(loggers):
            if not callable(getattr(one, "log_metrics", None)):
                raise ConfigError(f"TrackerSink: loggers[{place}] = {one!r} has no log_metrics(metrics, step=)")
        self._minimum = checked_severity("TrackerSink", minimum_severity)
        self._every_steps = every_steps
        given = (tracker_of(one) for one in loggers)
        found: tuple[Tracker, ...] = (WandbTracker(_NAMES), TrackioTracker(), MlflowTracker())
        self._trackers = (*found, *(one for one in given if one is not None))
        self._teller = Teller(self._minimum)
        self._incidents: dict[str, Incident] = {}
        self._derived: dict[str, float] = {}
        self._written_step: int | None = None

    def on_handover(self) -> None:
        self._each(lambda tracker: tracker.attend())

    def on_sample(self, sample: Sample) -> None:
        self._derived.update({name: sample.metrics[name] for name in _DERIVED if name in sample.metrics})
        if sample.meta is not None and "probes" in sample.meta:
            return  # no step of the training
        if self._written_step is None or abs(sample.step - self._written_step) >= self._every_steps:
            self._write_values(sample.step)

    def on_event(self, event: Event) -> None:
        self._incidents[event.incident_id] = event.incident
        telling = self._teller.tell(event)
        if telling is None:
            return
        self._write_values(event.step)
        severity, title, text = _told(telling)
        self._each(lambda tracker: tracker.alert(event.incident_id, severity, title, text))

    def on_action(self, record: ActionRecord) -> None:
        if record.do == "rewind" and record.is_done:
            self._teller.forget_after(record.step)
            self._incidents = {key: one for key, one in self._incidents.items() if one.detected_step <= record.step}

    def close(self) -> None:
        # The training waits for this: what only its thread may do is safe here as well.
        self._each(lambda tracker: tracker.attend())

    def _write_values(self, step: int) -> None:
        self._written_step = step
        incidents = self._incidents.values()
        counts = Counter(incident.severity for incident in incidents)
        values = {f"{PREFIX}{name}": value for name, value in self._derived.items()}
        values |= {name: float(counts[severity]) for severity, name in _COUNTS.items()}
        values[_OPEN_ALERTS] = float(sum(one.is_alert and one.status is Status.OPEN for one in incidents))
        shown = finite(values)
        self._each(lambda tracker: tracker.values(step, shown))

    def _each(self, do: Callable[[Tracker], None]) -> None:
        for tracker in self._trackers:
            try:
                do(tracker)
            except Exception:
                self._trackers = tuple(one for one in self._trackers if one is not tracker)
                logger.exception("%s failed and is told no more; training goes on", tracker.name)


def _told(telling: Telling) -> tuple[Severity, str, str]:
    """How severe, title and text."""
    incident, told = telling.incident, telling.told
    if telling.news is News.OVER and told is not None:
        title = f"{wording.words(incident.kind)} at step {incident.onset_step:,}: {OUTCOMES[incident.status]}"
        severity = Severity.INFO if incident.status is Status.RECOVERED else incident.severity
        return severity, title, wording.closing_line(incident, told)
    if telling.news is News.OTHER:
        return incident.severity, wording.headline(incident), wording.update_line(incident)
    text = shorten(incident.message, _MAX_TEXT)
    if incident.advice:
        text = f"{text}\nWhat to do: {shorten(incident.advice, _MAX_TEXT)}"
    return incident.severity, wording.headline(incident, None if told is None else told.severity), text
