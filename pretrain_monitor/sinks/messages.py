"""Messages about a run for people who are elsewhere: pure functions, nothing is sent here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from ..printable import clean, shorten
from ..telemetry import Incident, Severity, Status, in_order
from .telling import News, Telling
from .wording import closing_line, count, headline, update_line, words

_MAX_LISTED = 12
_MAX_TEXT = 1500  # services cut off, or refuse, what is longer than some thousand characters


@dataclass(frozen=True, slots=True)
class Message:
    """
    Args:
        key: what is told once only, also if the run is restarted: the same incident in the same state.
        level: info, warning, critical, or good for what is over: services have a colour or a priority for it.
        picture: PNG of the curves around the incident.
        incident: for those who come after and want to know how it was told.
    """

    key: str
    level: str
    title: str
    body: str
    picture: bytes | None = None
    incident: Incident | None = None

    @property
    def is_urgent(self) -> bool:
        return self.level == Severity.CRITICAL

    def with_picture(self, picture: bytes | None) -> Message:
        return replace(self, picture=picture)

    def left_out(self, messages: int) -> Message:
        """The same, with a word on how many before it were never delivered."""
        lost = f"{count(messages, 'message')} before this one could not be delivered and had to be left out."
        return replace(self, body=f"{self.body}\n{lost}")


class Words:
    """What messages of one run say.

    Args:
        run: what it is called.
        place: where its files are and on which machine, for whoever wants to look; empty if nowhere.
        explain: command that shows why an incident was told, with ``{id}`` in it; empty if there is none.
    """

    def __init__(self, run: str, place: str = "", explain: str = "") -> None:
        self._run = shorten(run, 60)
        self._place = place
        self._explain = explain

    def of_incident(self, telling: Telling) -> Message:
        incident, told = telling.incident, telling.told
        key = f"{incident.id}/{_state(telling)}"
        if telling.news is News.OVER and told is not None:
            ending = f"{words(incident.kind)} at step {incident.onset_step:,}: {OUTCOMES[incident.status]}"
            return self._message(key, _level_of_ending(incident), ending, [closing_line(incident, told)], incident)
        if telling.news is News.OTHER:
            return self._message(key, incident.severity.value, headline(incident), [update_line(incident)], incident)
        lines = [incident.message]
        if incident.advice:
            lines.append(f"What to do: {incident.advice}")
        if self._explain:
            lines.append("Why: " + self._explain.replace("{id}", incident.id))
        title = headline(incident, told.severity if told is not None else None)
        return self._message(key, incident.severity.value, title, lines, incident)

    def of_held_back(self, incidents: Sequence[Incident], key: str, why: str) -> Message:
        """Alerts that were not told one by one.

        Args:
            incidents: in their latest state.
        """
        worst = max(incident.severity for incident in incidents)
        lines = [
            f"{incident.severity.value}: {words(incident.kind)} at step {incident.onset_step:,} "
            f"({OUTCOMES[incident.status]}): {incident.message}"
            for incident in in_order(incidents)[-_MAX_LISTED:]
        ]
        if len(incidents) > _MAX_LISTED:
            lines.insert(0, f"the last {_MAX_LISTED} of {len(incidents):,}:")
        noun = "note" if worst is Severity.INFO else "alert"
        return self._message(key, worst.value, f"{count(len(incidents), noun)} {why}", lines)

    def of_silence(self, key: str, how_long: str, step: int | None, what: str) -> Message:
        at = "before its first step" if step is None else f"since step {step:,}"
        return self._message(key, "critical", f"no step for {how_long}, {at}", [what])

    def of_new_steps(self, key: str, step: int) -> Message:
        return self._message(key, "good", f"going on at step {step:,}", ["Steps are coming again."])

    def of_end(self, key: str, step: int | None, reason: str, alerts: int, still_open: int) -> Message:
        is_well = reason == "finished"
        at = "before its first step" if step is None else f"at step {step:,}"
        lines = [f"{count(alerts, 'alert')} in this run" if alerts else "No alerts in this run"]
        if still_open:
            lines[0] += f", {still_open:,} not over"
        level = "critical" if not is_well else "warning" if still_open else "good"
        return self._message(key, level, f"{clean(reason)} {at}", [f"{lines[0]}."])

    def of_action(self, key: str, title: str, line: str) -> Message:
        return self._message(key, "warning", title, [line])

    def _message(
        self, key: str, level: str, title: str, lines: Sequence[str], incident: Incident | None = None
    ) -> Message:
        said = [shorten(line, _MAX_TEXT) for line in (*lines, self._place) if line]
        return Message(key, level, shorten(f"{self._run}: {title}", 200), "\n".join(said), None, incident)


OUTCOMES = {
    Status.OPEN: "still open",
    Status.RECOVERED: "recovered",
    Status.PERSISTENT: "did not come back",
    Status.ENDED_RUN: "not over when the run ended",
}


def _state(telling: Telling) -> str:
    """What of an incident is told once only."""
    if telling.news is News.OTHER:
        return f"about {telling.incident.signals[0]}"
    return "over" if telling.news is News.OVER else telling.incident.severity.value


def _level_of_ending(incident: Incident) -> str:
    return "good" if incident.status is Status.RECOVERED else incident.severity.value
