"""What the page shows of findings, reasons and incidents: each with its anchor, which links lead to."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from ..audit.model import Area, Audit, Finding
from ..telemetry import Incident
from . import words
from .charts import Chart, Span
from .states import State, by_area, counts, finding_behind, state_of
from .still import Still, still_of

COUNTED = (State.PASSED, State.FAILED, State.MISSING)


@dataclass(frozen=True)
class FindingShown:
    """A finding as it stands on the page."""

    finding: Finding
    anchor: str

    @property
    def state(self) -> State:
        return state_of(self.finding)

    @property
    def speaks_against(self) -> bool:
        return self.state in (State.FAILED, State.MISSING, State.NOTED)

    @property
    def has_card(self) -> bool:
        """Whether there is more to be said than fits in a row."""
        one = self.finding
        return bool(one.evidence or one.places or one.advice or one.table)

    @property
    def value(self) -> str:
        return words.value_and_limit(self.finding)[0]

    @property
    def limit(self) -> str:
        return words.value_and_limit(self.finding)[1]

    @property
    def measured(self) -> str:
        return words.measured(self.finding)

    @property
    def need(self) -> str:
        return words.NEED_WORDS[self.finding.need]

    @property
    def statement(self) -> str:
        return words.statement(self.finding)


@dataclass(frozen=True)
class AreaShown:
    area: Area
    findings: list[FindingShown]

    @property
    def anchor(self) -> str:
        return f"area-{self.area}"

    @property
    def title(self) -> str:
        return words.AREA_TITLES[self.area]

    @property
    def counts(self) -> dict[State, int]:
        return counts(one.finding for one in self.findings)

    @property
    def others(self) -> int:
        return sum(n for state, n in self.counts.items() if state not in COUNTED)

    @property
    def words(self) -> str:
        return words.count_words(self.counts)


@dataclass(frozen=True)
class Picture:
    place: int
    chart: Chart
    picture: Still
    label: str


@dataclass(frozen=True)
class Reason:
    text: str
    anchor: str
    title: str


@dataclass(frozen=True)
class IncidentRow:
    """``advice`` is told once; after that ``advice_at`` is the anchor of the row that told it."""

    incident: Incident
    anchor: str
    first: int
    last: int
    advice: str
    advice_at: str

    @property
    def steps(self) -> str:
        return words.incident_steps(self.incident)


def areas_of(audit: Audit) -> list[AreaShown]:
    taken: set[str] = set()

    def anchor(finding: Finding) -> str:
        name = wished = f"finding-{re.sub(r'[^A-Za-z0-9_.-]+', '-', finding.check)}"
        other = 1
        while name in taken:
            other += 1
            name = f"{wished}-{other}"
        taken.add(name)
        return name

    return [AreaShown(area, [FindingShown(one, anchor(one)) for one in findings]) for area, findings in by_area(audit)]


def facts_of(audit: Audit, incidents: Sequence[Incident]) -> list[tuple[str, str, str]]:
    """Entries of the run and of the one that it was held against, whose incidents nobody told."""
    own = [("incidents", words.incident_words(incidents)), *words.facts(audit.run)]
    if audit.against is None:
        return [(name, text, "") for name, text in own]
    other = ["-", *(text for _, text in words.facts(audit.against))]
    return [(name, text, beside) for (name, text), beside in zip(own, other, strict=True)]


def reason_of(text: str, findings: Sequence[Finding], anchors: dict[str, str]) -> Reason:
    finding = finding_behind(text, findings)
    return Reason(text, anchors[finding.check] if finding else "", finding.title if finding else "")


def picture_of(place: int, chart: Chart, spans: Sequence[Span], steps: tuple[int, int]) -> Picture:
    label = f"{chart.title} over steps {steps[0]:,} to {steps[1]:,}"
    return Picture(place, chart, still_of(chart, spans, steps), label)


def incident_rows(incidents: Sequence[Incident], spans: Sequence[Span]) -> list[IncidentRow]:
    told: dict[tuple[bool, str], str] = {}
    rows = []
    for incident, span in zip(incidents, spans, strict=True):
        # What is for information stands in a list of its own, below the alerts.
        at = told.setdefault((incident.is_alert, incident.advice), span.anchor)
        is_first = at == span.anchor
        rows.append(
            IncidentRow(
                incident,
                span.anchor,
                span.first,
                span.last,
                incident.advice if is_first else "",
                "" if is_first or not incident.advice else at,
            )
        )
    return rows
