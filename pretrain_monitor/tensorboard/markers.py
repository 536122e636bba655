"""Which points of the curves belong to an alert."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from ..telemetry import Change, Event, Incident, Sample
from .tags import BANDED, UPPER

# The onset of an incident is placed at most a few hundred steps before its detection.
_KEPT_STEPS = 1000


class Marker(NamedTuple):
    """One point to draw in the colour of alerts; a NaN ends the line that TensorBoard draws through them."""

    step: int
    signal: str
    value: float


class _Point(NamedTuple):
    step: int
    value: float
    upper: float  # what the trend of the moment allowed; NaN while nobody knows
    height: float  # where to draw it: the last finite value for one that has no place of its own


@dataclass(slots=True)
class _Alert:
    incident: Incident
    limits: dict[str, float] = field(default_factory=dict)  # signal -> a value above it belongs to the alert
    seen_until: dict[str, int] = field(default_factory=dict)  # signal -> last step that was looked at


class AlertMarkers:
    """Picks the points that stand out of the trend as it was before the onset, while an alert is open.

    An incident is open for longer than it is visible, so that being open is not enough. Points between onset and
    detection are picked late, but always in the order of steps: TensorBoard drops what a later point precedes.
    """

    def __init__(self) -> None:
        self._recent = {signal: deque[_Point](maxlen=_KEPT_STEPS) for signal in BANDED}
        self._marked_until = dict.fromkeys(BANDED, -1)
        self._open: dict[str, _Alert] = {}

    def on_sample(self, sample: Sample) -> list[Marker]:
        for signal, recent in self._recent.items():
            if signal in sample.metrics:
                value = sample.metrics[signal]
                before = recent[-1].height if recent else math.nan
                upper = sample.metrics.get(f"{signal}/{UPPER}", math.nan)
                recent.append(_Point(sample.step, value, upper, value if math.isfinite(value) else before))
        return [marker for alert in self._open.values() for marker in self._due(alert)]

    def on_event(self, event: Event) -> list[Marker]:
        incident = event.incident
        alert = self._open.get(incident.id)
        if alert is None:
            if not incident.is_alert:
                return []
            alert = self._open[incident.id] = _Alert(incident)
        alert.incident = incident
        markers = list(self._due(alert))
        if event.change is Change.CLOSED:
            del self._open[incident.id]
            markers += self._ends(incident)
        return markers

    def _due(self, alert: _Alert) -> Iterator[Marker]:
        """Points of the alert that are not drawn yet."""
        incident = alert.incident
        for signal in incident.signals:
            if signal not in self._recent:
                continue
            if signal not in alert.limits:
                alert.limits[signal] = self._limit(signal, incident)
            seen_until = max(alert.seen_until.get(signal, -1), self._marked_until[signal], incident.onset_step - 1)
            for point in self._after(signal, seen_until):
                alert.seen_until[signal] = point.step
                if incident.end_step is not None and point.step >= incident.end_step:
                    continue
                stands_out = not math.isfinite(point.value) or point.value > alert.limits[signal]
                if (stands_out or point.step == incident.detected_step) and math.isfinite(point.height):
                    self._marked_until[signal] = point.step
                    yield Marker(point.step, signal, point.height)

    def _ends(self, incident: Incident) -> Iterator[Marker]:
        for signal in incident.signals:
            if self._marked_until.get(signal, -1) >= incident.onset_step:
                self._marked_until[signal] += 1
                yield Marker(self._marked_until[signal], signal, math.nan)

    def _after(self, signal: str, step: int) -> list[_Point]:
        points = []
        for point in reversed(self._recent[signal]):
            if point.step <= step:
                break
            points.append(point)
        return points[::-1]

    def _limit(self, signal: str, incident: Incident) -> float:
        """The upper edge of the band before the onset: later ones follow the values up."""
        for point in reversed(self._recent[signal]):
            if point.step < incident.onset_step and not math.isnan(point.upper):
                return point.upper
        # Before the charts are warm only the expected value is known.
        if signal == incident.signals[0] and incident.expected is not None:
            return incident.expected
        return math.inf
