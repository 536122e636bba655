"""Probes that could not measure, as samples tell: worth knowing, and no reason to wake anybody."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from ..telemetry import Change, Event, Incident, Kind, Sample, Severity, Status
from .messages import advise, describe

KEY = "probe_failures"  # in the meta of a sample


@dataclass(slots=True)
class _Failing:
    """A probe that has failed and is tried again."""

    id: str
    probe: str
    problem: str
    first_step: int
    last_step: int
    failures: int


class ProbeFailures:
    """One incident for each probe that fails, closed when the probe is switched off."""

    def __init__(self) -> None:
        self._failing: dict[str, _Failing] = {}

    def update(self, sample: Sample) -> list[Event]:
        """Events of one sample; none for one that tells of no failure."""
        entries = sample.meta.get(KEY) if sample.meta else None
        events: list[Event] = []
        for entry in entries if isinstance(entries, list | tuple) else ():
            name, problem = (entry.get(key) if isinstance(entry, Mapping) else None for key in ("probe", "problem"))
            if isinstance(name, str) and isinstance(problem, str):
                events += self._take(sample.step, name, problem, is_off=entry.get("switched_off") is True)
        return events

    def finish(self, step: int) -> list[Event]:
        """The run is over."""
        failing, self._failing = self._failing, {}
        return [_event(step, found, Change.CLOSED, Status.ENDED_RUN) for found in failing.values()]

    def _take(self, step: int, name: str, problem: str, *, is_off: bool) -> list[Event]:
        events = []
        found = self._failing.get(name)
        if found is None:
            found = _Failing(f"{Kind.PROBE_FAILURE}-{name}-{step}", name, problem, step, step, 1)
            self._failing[name] = found
            events.append(_event(step, found, Change.OPENED, Status.OPEN))
        else:
            found.problem, found.last_step = problem, step
            found.failures += 1
        if is_off:
            del self._failing[name]
            events.append(_event(step, found, Change.CLOSED, Status.PERSISTENT))
        return events

    def state_dict(self) -> dict[str, Any]:
        return {name: asdict(found) for name, found in self._failing.items()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self._failing = {name: _Failing(**record) for name, record in state.items()}


def _event(step: int, found: _Failing, change: Change, status: Status) -> Event:
    evidence = {
        "charts": {},
        "opened_step": found.first_step,
        "duration_steps": found.last_step - found.first_step,
        "probe": found.probe,
        "problem": found.problem,
        "failures": found.failures,
    }
    incident = Incident(
        id=found.id,
        kind=Kind.PROBE_FAILURE,
        severity=Severity.INFO,
        status=status,
        signals=(found.probe,),
        onset_step=found.first_step,
        detected_step=found.first_step,
        peak_step=found.first_step,
        end_step=None,
        expected=None,
        peak=None,
        score=None,
        relative_increase=None,
        excess_loss=None,
        evidence=evidence,
    )
    return Event(step, found.id, change, replace(incident, message=describe(incident), advice=advise(incident.kind)))
