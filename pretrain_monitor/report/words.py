"""Numbers and sentences that all reports share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime

from ..audit.model import Area, Audit, Finding, Need, Place, RunFacts, Verdict
from ..detection.messages import number, two_numbers
from ..durations import duration
from ..naming import SIGNAL_NAMES
from ..sinks.wording import count, words
from ..telemetry import Incident
from .states import State, state_of

AREA_TITLES = {
    Area.EVIDENCE: "Evidence",
    Area.STABILITY: "Stability",
    Area.SCHEDULE: "Learning-rate schedule",
    Area.GRADIENTS: "Gradients",
    Area.HELD_OUT: "Held-out text",
    Area.KNOWLEDGE: "Knowledge",
    Area.TOKENIZATION: "Tokenization",
    Area.COVERAGE: "Coverage of domains",
    Area.DATA: "Data",
}
VERDICT_SIGNS = {Verdict.READY: "✓", Verdict.CONDITIONS: "!", Verdict.NOT_READY: "✗", Verdict.NOT_ENOUGH: "?"}
NEED_WORDS = {Need.REQUIRED: "required", Need.ADVISED: "advised", Need.SHOWN: "not counted"}
STATE_WORDS = {
    State.FAILED: "failed",
    State.MISSING: "missing",
    State.NOTED: "not counted",
    State.PASSED: "passed",
    State.TOLD: "info",
}
UNKNOWN = "not known"


def heading(audit: Audit) -> str:
    """``NOT READY: pile-1b``"""
    return f"{audit.verdict.upper()}: {audit.run.name}"


def value_and_limit(finding: Finding) -> tuple[str, str]:
    """As people read them, with as many digits as it takes to tell one from the other; no limit is an empty text."""
    unit = f" {finding.unit}" if finding.unit else ""
    value, limit = finding.value, finding.limit
    bound = words(finding.bound)
    if value is not None and limit is not None:
        # A limit is a round number: 1 %, not 1.000 %.
        told, bounded = (number(value), number(limit)) if value == limit else two_numbers(value, limit)
        return f"{told}{unit}", f"{bound} {bounded}{unit}"
    return (
        UNKNOWN if value is None else f"{number(value)}{unit}",
        "" if limit is None else f"{bound} {number(limit)}{unit}",
    )


def statement(finding: Finding) -> str:
    """What was found, in a sentence; of a check without a value, what is missing."""
    return finding.missing or "not enough evidence" if state_of(finding) is State.MISSING else finding.summary


def not_asked_for(missing: Sequence[Finding]) -> list[str]:
    """A line for what is missing and does not count, if there is any: nobody has to do anything about it."""
    titles = [one.title for one in missing if one.need is Need.SHOWN]
    return [f"not measured, and not counted: {', '.join(titles)}"] if titles else []


def measured(finding: Finding) -> str:
    """``3.1 %, at most 1 % (required)``"""
    value, limit = value_and_limit(finding)
    return f"{value}, {limit} ({NEED_WORDS[finding.need]})" if limit else value


def place_words(place: Place) -> str:
    """``loss, steps 8,120 to 8,300: it does not come back``"""
    where = f"{signal_name(place.signal)}, {step_range(place.first_step, place.last_step)}"
    return f"{where}: {place.note}" if place.note else where


def signal_name(signal: str) -> str:
    return SIGNAL_NAMES.get(signal, signal)


def step_range(first: int, last: int) -> str:
    return f"step {first:,}" if first == last else f"steps {first:,} to {last:,}"


def count_words(found: dict[State, int]) -> str:
    """``1 failed, 2 missing, 4 passed``; none is left out."""
    return ", ".join(f"{n:,} {STATE_WORDS[state]}" for state, n in found.items() if n) or "nothing checked"


def incidents_of(audit: Audit) -> list[Incident]:
    return [Incident.from_json(record) for record in audit.incidents]


def incident_words(incidents: Sequence[Incident]) -> str:
    """``3 alerts (1 critical), 2 for information``"""
    alerts = sum(incident.is_alert for incident in incidents)
    critical = sum(incident.severity == "critical" for incident in incidents)
    text = f"{count(alerts, 'alert') if alerts else 'no alerts'}" + (f" ({critical:,} critical)" if critical else "")
    return f"{text}, {len(incidents) - alerts:,} for information" if len(incidents) > alerts else text


def incident_steps(incident: Incident) -> str:
    """From onset to the last step of it, as far as that is known."""
    if incident.end_step is None:
        return f"from {incident.onset_step:,} on"
    return f"{incident.onset_step:,} to {incident.end_step:,}"


def facts(run: RunFacts) -> list[tuple[str, str]]:
    """What was audited; every run has the same entries, so that two stand side by side."""
    return [(name, tell(run)) for name, tell in _FACTS.items()]


def _steps(run: RunFacts) -> str:
    if run.first_step is None or run.last_step is None:
        return "none"
    return f"{run.first_step:,} to {run.last_step:,}"


def _samples(run: RunFacts) -> str:
    if run.interval is None:
        return f"{run.samples:,}"
    every = "every step" if run.interval == 1 else f"one in {number(run.interval)} steps"
    return f"{run.samples:,}, {every}"


def _time(run: RunFacts) -> str:
    if run.began is None or run.ended is None:
        return UNKNOWN
    try:
        first, last = (f"{datetime.fromtimestamp(at, UTC):%Y-%m-%d %H:%M}" for at in (run.began, run.ended))
    except (OverflowError, OSError, ValueError):  # a log may hold anything
        return UNKNOWN
    return f"{duration(run.ended - run.began)}, {first} to {last} UTC"


def _tokens(run: RunFacts) -> str:
    if run.tokens_seen is None:
        return UNKNOWN
    for size, unit in ((1e12, "T"), (1e9, "B"), (1e6, "M")):
        if run.tokens_seen >= size:
            return f"{run.tokens_seen / size:.3g} {unit}"
    return f"{run.tokens_seen:,}"


_FACTS: dict[str, Callable[[RunFacts], str]] = {
    "steps": _steps,
    "tokens seen": _tokens,
    "final loss": lambda run: UNKNOWN if run.final_loss is None else number(run.final_loss),
    "samples": _samples,
    "sessions": lambda run: f"{run.sessions:,}",
    "time": _time,
    "ended": lambda run: run.end_reason or UNKNOWN,
    "log": lambda run: f"{run.source}: {run.path}",
}
