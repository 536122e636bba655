"""What became of each check, and which of them a reader has to see first."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum

from ..audit.model import Area, Audit, Finding, Need


class State(StrEnum):
    """In the order in which reports show them."""

    FAILED = "failed"
    MISSING = "missing"  # no value: there was not enough evidence
    NOTED = "noted"  # beyond its limit, which the criteria do not count
    PASSED = "passed"
    TOLD = "told"  # a value without a limit


# Beside the word, never instead of it.
SIGNS = {State.FAILED: "✗", State.MISSING: "?", State.NOTED: "!", State.PASSED: "✓", State.TOLD: "·"}
_STATE_RANKS = {state: rank for rank, state in enumerate(State)}
_NEED_RANKS = {need: rank for rank, need in enumerate(Need)}


def state_of(finding: Finding) -> State:
    if finding.value is None:
        return State.MISSING
    if finding.passed is None:
        return State.TOLD
    if finding.passed:
        return State.PASSED
    return State.NOTED if finding.need is Need.SHOWN else State.FAILED


def by_gravity(findings: Iterable[Finding]) -> list[Finding]:
    """The gravest first; what weighs the same stays in its order."""
    return sorted(findings, key=lambda one: (_STATE_RANKS[state_of(one)], _NEED_RANKS[one.need]))


def by_area(audit: Audit) -> list[tuple[Area, list[Finding]]]:
    """Areas that anything was checked in, each with its findings, the gravest first."""
    found = ((area, [one for one in audit.findings if one.area is area]) for area in Area)
    return [(area, by_gravity(findings)) for area, findings in found if findings]


def counts(findings: Iterable[Finding]) -> dict[State, int]:
    """How many of each state, none left out."""
    states = [state_of(finding) for finding in findings]
    return {state: states.count(state) for state in State}


def finding_behind(reason: str, findings: Iterable[Finding]) -> Finding | None:
    """The finding that a reason of the verdict speaks of: by its check, its summary or its title; the longest of
    several, for one title may be part of another.
    """
    text = reason.casefold()

    def length(finding: Finding) -> int:
        told = (finding.check, finding.summary.rstrip("."), finding.missing.rstrip("."), finding.title)
        return max((len(words) for words in told if words and words.casefold() in text), default=0)

    best = max(findings, key=length, default=None)
    return best if best is not None and length(best) else None
