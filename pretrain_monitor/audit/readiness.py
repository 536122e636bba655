"""From findings and criteria to a verdict: missing evidence is never a pass."""

from __future__ import annotations

from collections.abc import Sequence

from .criteria import Criteria, Criterion
from .model import Finding, Need, Verdict
from .words import number

_NONE = Criterion()


def judged(findings: Sequence[Finding], criteria: Criteria) -> list[Finding]:
    """The findings with limit, need and outcome; advice only where it is needed."""
    return [_judged(finding, criteria.checks.get(finding.check, _NONE)) for finding in findings]


def _judged(finding: Finding, criterion: Criterion) -> Finding:
    bound, limit = finding.bound, None
    if criterion.at_most is not None:
        bound, limit = "at_most", criterion.at_most
    elif criterion.at_least is not None:
        bound, limit = "at_least", criterion.at_least
    passed = None
    if finding.value is not None and limit is not None:
        # Written so that NaN, of which no limit can be kept, does not pass.
        passed = finding.value <= limit if bound == "at_most" else finding.value >= limit
    advice = finding.advice if passed is False else ""
    return finding.model_copy(
        update={"bound": bound, "limit": limit, "need": criterion.need, "passed": passed, "advice": advice}
    )


def verdict(findings: Sequence[Finding]) -> tuple[Verdict, list[str]]:
    """The verdict over judged findings, and its reasons, the gravest first."""
    failed = {need: [one for one in findings if one.need is need and one.passed is False] for need in Need}
    missing = {need: [one for one in findings if one.need is need and one.value is None] for need in Need}
    reasons = [_failure(one) for one in failed[Need.REQUIRED]]
    reasons += [_absence(one) for one in missing[Need.REQUIRED]]
    reasons += [_failure(one) for one in failed[Need.ADVISED]]
    reasons += _absences(missing[Need.ADVISED])
    counted = [one for one in findings if one.need is not Need.SHOWN]
    if not counted:
        return Verdict.NOT_ENOUGH, ["the criteria ask for nothing: name checks that are required or advised"]
    if failed[Need.REQUIRED]:
        return Verdict.NOT_READY, reasons
    if missing[Need.REQUIRED]:
        return Verdict.NOT_ENOUGH, reasons
    if failed[Need.ADVISED] or missing[Need.ADVISED]:
        return Verdict.CONDITIONS, reasons
    return Verdict.READY, [f"all {len(counted)} checks that count passed"]


def next_steps(findings: Sequence[Finding]) -> list[str]:
    """What to do about what failed and what is missing, the most urgent first, nothing twice."""
    ordered = sorted(findings, key=lambda one: list(Need).index(one.need))
    failed = [one for one in ordered if one.passed is False and one.advice]
    steps = [f"{one.title}: {one.advice}" for one in failed if one.need is not Need.SHOWN]
    wanted: dict[str, list[str]] = {}
    for one in ordered:
        if one.value is None and one.need is not Need.SHOWN:
            wanted.setdefault(one.missing, []).append(one.title)
    steps += [f"Get the evidence for {_list(titles)}: {what}." for what, titles in wanted.items()]
    steps += [f"{one.title}: {one.advice}" for one in failed if one.need is Need.SHOWN]
    return list(dict.fromkeys(steps))


def limit_words(finding: Finding) -> str:
    """
    >>> # "at most 5 %"
    """
    if finding.limit is None:
        return ""
    unit = f" {finding.unit}" if finding.unit else ""
    return f"{finding.bound.replace('_', ' ')} {number(finding.limit)}{unit}"


def _failure(one: Finding) -> str:
    return f"{one.title}: {one.summary} (limit: {limit_words(one)})"


def _absence(one: Finding) -> str:
    return f"{one.title}: no evidence; it takes {one.missing}"


def _absences(missing: Sequence[Finding]) -> list[str]:
    """Of what is only advised a line for each kind of evidence."""
    by_what: dict[str, list[str]] = {}
    for one in missing:
        by_what.setdefault(one.missing, []).append(one.title)
    return [f"{_list(titles)}: no evidence; it takes {what}" for what, titles in by_what.items()]


def _list(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
