"""What of an incident's life is news to somebody who is told of alerts: that it began, got worse, changed or ended."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from ..telemetry import Change, Event, Incident, Severity


class News(StrEnum):
    NEW = "new"
    WORSE = "worse"  # a higher severity than it was told with
    OTHER = "other"  # the same alert, but now about something else: a jump of the learning rate that the loss followed
    OVER = "over"


@dataclass(frozen=True, slots=True)
class Telling:
    """One thing to tell.

    Args:
        told: the incident as it was told before; None if this is new.
    """

    news: News
    incident: Incident
    told: Incident | None = None


class Teller:
    """Turns events into tellings: one when an alert begins, and as few as possible after that.

    Args:
        minimum: severity from which on an incident is told.
    """

    def __init__(self, minimum: Severity) -> None:
        self._minimum = minimum
        self._told: dict[str, Incident] = {}  # as it was when it was told last; until it is over

    def remember(self, incident: Incident) -> None:
        """It was told before, by somebody else or in an earlier session."""
        self._told[incident.id] = incident

    def forget_after(self, step: int) -> list[str]:
        """The run went back to ``step``: what was told of later is undone, and told anew if it comes again.

        Returns:
            Their ids.
        """
        undone = [key for key, incident in self._told.items() if incident.detected_step > step]
        for key in undone:
            del self._told[key]
        return undone

    def tell(self, event: Event) -> Telling | None:
        incident = event.incident
        told = self._told.get(incident.id)
        is_over = event.change is Change.CLOSED
        if incident.severity >= self._minimum and (told is None or incident.severity > told.severity):
            if is_over:
                self._told.pop(incident.id, None)
            else:
                self._told[incident.id] = incident
            return Telling(News.NEW if told is None else News.WORSE, incident, told)
        if told is None:
            return None
        if is_over:
            del self._told[incident.id]
            return Telling(News.OVER, incident, told)
        if incident.signals[0] != told.signals[0]:
            self._told[incident.id] = incident
            return Telling(News.OTHER, incident, told)
        return None
