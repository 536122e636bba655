"""What is not worth a message of its own: gathered, and told together a little later."""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

from ..telemetry import Incident, Severity
from .telling import News, Telling

_HOUR_S = 3600.0


class Gathered(NamedTuple):
    """
    Args:
        why: completes "5 alerts ...".
        incidents: in their latest state.
    """

    why: str
    incidents: list[Incident]


class Holding:
    """Cool-down after an alert of a kind, and a limit on messages per hour. Critical alerts pass both.

    Times are seconds of one clock that never goes back.

    Args:
        cooldown_s: for which further alerts of the same kind are gathered; 0 gathers none.
        max_per_hour: of all messages.
    """

    def __init__(self, cooldown_s: float, max_per_hour: int) -> None:
        self._cooldown_s = cooldown_s
        self._max_per_hour = max_per_hour
        self._sent: deque[float] = deque(maxlen=max_per_hour)
        self._last_of_kind: dict[str, float] = {}
        self._held: dict[str, Incident] = {}
        self._until: float | None = None

    def admits(self, telling: Telling, now: float) -> bool:
        """Whether it is told now; if not, it comes with ``due``."""
        incident = telling.incident
        is_urgent = incident.severity is Severity.CRITICAL and telling.news in (News.NEW, News.WORSE)
        until = None if is_urgent else self._blocked_until(telling, now)
        if until is not None:
            self._held[incident.id] = incident
            self._until = until if self._until is None else min(self._until, until)
            return False
        self._held.pop(incident.id, None)
        self.count(now)
        if telling.news is News.NEW:
            self._last_of_kind[incident.kind.value] = now
        return True

    def count(self, now: float) -> None:
        """A message is sent."""
        self._sent.append(now)

    def due(self, now: float, *, is_over: bool = False) -> Gathered | None:
        """What was held back and may be told by now; once.

        Args:
            is_over: there will be no later.
        """
        if not self._held or not (is_over or (self._until is not None and now >= self._until)):
            return None
        incidents = list(self._held.values())
        self._held.clear()
        self._until = None
        self.count(now)
        for incident in incidents:
            self._last_of_kind[incident.kind.value] = now
        return Gathered("held back", incidents)

    def _blocked_until(self, telling: Telling, now: float) -> float | None:
        if telling.incident.id in self._held:
            return self._until  # the rest of its story comes with its beginning
        if len(self._sent) == self._max_per_hour and now - self._sent[0] < _HOUR_S:
            return self._sent[0] + _HOUR_S
        if telling.news is News.NEW and self._cooldown_s:
            last = self._last_of_kind.get(telling.incident.kind.value)
            if last is not None and now - last < self._cooldown_s:
                return last + self._cooldown_s
        return None


class Digest:
    """Incidents that are no alerts, told together now and then.

    Args:
        every_s: seconds that the first of them waits.
        most: of them; the oldest are only counted beyond it.
    """

    def __init__(self, every_s: float, most: int = 500) -> None:
        self._every_s = every_s
        self._most = most
        self._notes: dict[str, Incident] = {}
        self._left_out = 0
        self._since: float | None = None

    def note(self, incident: Incident, now: float) -> None:
        if self._since is None:
            self._since = now
        if incident.id not in self._notes and len(self._notes) >= self._most:
            del self._notes[next(iter(self._notes))]
            self._left_out += 1
        self._notes[incident.id] = incident

    def drop(self, incident: Incident) -> None:
        """It has become an alert."""
        self._notes.pop(incident.id, None)

    def due(self, now: float, *, is_over: bool = False) -> Gathered | None:
        if self._since is None or not (is_over or now - self._since >= self._every_s):
            return None
        notes, left_out = list(self._notes.values()), self._left_out
        self._notes.clear()
        self._left_out, self._since = 0, None
        if not notes:
            return None
        more = f", {left_out:,} more left out" if left_out else ""
        return Gathered(f"below an alert{more}", notes)
