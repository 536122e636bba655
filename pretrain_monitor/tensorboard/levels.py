"""How bad it is right now, as a number per signal."""

from __future__ import annotations

from typing import NamedTuple

from ..telemetry import Change, Event, Incident
from .tags import BANDED

# A curve may end this far before the others do, as a share of the steps so far; while an incident is open it gets
# more points, because TensorBoard scales its axis to what is common.
_QUIET_GAP, _OPEN_GAP = 0.05, 0.02


class Level(NamedTuple):
    """One point of a signal's curve: 0 quiet, 1 info, 2 warning, 3 critical."""

    step: int
    signal: str
    value: int


class IncidentLevels:
    """Severity of the open incidents of each signal, as the corners of a step curve.

    Corners only: TensorBoard keeps a thousand points of a curve unless told otherwise, and scales its axis to the bulk
    of them. A short incident would be lost twice in a curve with a point at every step.

    Args:
        first_step: first step that is watched.
    """

    def __init__(self, first_step: int) -> None:
        self._first_step = first_step
        self._open: dict[str, Incident] = {}
        self._drawn = {signal: Level(first_step, signal, 0) for signal in BANDED}
        self._turned = dict.fromkeys(BANDED, first_step)

    def on_step(self, step: int) -> list[Level]:
        """Points that keep the curves about as long as the others."""
        # One step back: an event of this step may still turn the curve here.
        return [
            self._draw(step - 1, signal, level.value)
            for signal, level in self._drawn.items()
            if step - 1 - level.step > self._gap(step, signal)
        ]

    def on_event(self, event: Event) -> list[Level]:
        if event.change is Change.CLOSED:
            self._open.pop(event.incident_id, None)
        else:
            self._open[event.incident_id] = event.incident
        corners = []
        for signal in dict.fromkeys([*self._drawn, *event.incident.signals]):
            before = self._drawn.get(signal, Level(self._first_step, signal, 0))
            value = max((i.severity.rank + 1 for i in self._open.values() if signal in i.signals), default=0)
            if value == before.value:
                continue
            self._turned[signal] = event.step
            if before.step < event.step - 1:
                corners.append(self._draw(event.step - 1, signal, before.value))
            corners.append(self._draw(event.step, signal, value))
        return corners

    def start(self) -> list[Level]:
        """Points that begin the curves."""
        return list(self._drawn.values())

    def finish(self, step: int) -> list[Level]:
        """Points that end the curves where the run ends."""
        return [self._draw(step, level.signal, level.value) for level in self._drawn.values() if level.step < step]

    def _gap(self, step: int, signal: str) -> float:
        if self._drawn[signal].value:
            return max(5, _OPEN_GAP * (step - self._turned[signal]))
        return max(50, _QUIET_GAP * step)

    def _draw(self, step: int, signal: str, value: int) -> Level:
        level = self._drawn[signal] = Level(step, signal, value)
        return level
