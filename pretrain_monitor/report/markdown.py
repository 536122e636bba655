"""An audit as Markdown, for a pull request, a model card or a wiki."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence

from ..audit.model import Audit, Finding, Need
from ..audit.model import Table as Rows
from ..printable import clean
from ..sinks.wording import words as spaced
from ..telemetry import Incident
from . import words
from .states import SIGNS, State, by_area, by_gravity, counts, state_of

_SPEAK_AGAINST = (State.FAILED, State.NOTED)
# Everything that Markdown or HTML could read as more than a character; an underscore inside a word is none.
_MARKUP = re.compile(r"[\\`*\[\]<>|~]|(?<!\w)_|_(?!\w)|&(?=#?\w+;)")
_LINE_START = re.compile(r"^(?=#)|^(?=[+=-](?:[+=\s-]|$))|^(\d+)(?=[.)](?:\s|$))")


def markdown_of(audit: Audit) -> str:
    """The same as the page, without curves."""
    blocks = [
        f"# {words.VERDICT_SIGNS[audit.verdict]} {escaped(words.heading(audit))}",
        _bullets(audit.reasons),
        escaped(f"Criteria: {audit.criteria}." + (f" Made {audit.made}." if audit.made else "")),
        *_section("What to do next", [_numbered(audit.next_steps)] if audit.next_steps else []),
        *_section("What was audited", _facts(audit)),
        *_section("Checks", [_areas(audit)]),
        *_section("What speaks against it", _against_it(audit.findings)),
        *_section("Missing evidence", _missing(audit.findings)),
        *_section("Incidents", _incidents(words.incidents_of(audit))),
        *_section("The rest", _rest(audit.findings)),
        *_section("Method", [escaped(text) for text in audit.method]),
        *_section("Versions", [_bullets(f"{name} {version}" for name, version in audit.versions.items())]),
    ]
    return "\n\n".join(block for block in blocks if block) + "\n"


def escaped(text: str) -> str:
    r"""One line that shows what it says, whatever it says.

    >>> print(escaped("a|b <i>grad_norm</i> *"))
    a\|b \<i\>grad_norm\</i\> \*
    """
    text = _MARKUP.sub(lambda found: f"\\{found[0]}", clean(text))
    return _LINE_START.sub(lambda found: f"{found[1]}\\" if found[1] else "\\", text)


def _section(title: str, blocks: Iterable[str]) -> Iterator[str]:
    found = [block for block in blocks if block]
    if found:
        yield f"## {title}"
        yield from found


def _facts(audit: Audit) -> Iterator[str]:
    """Of both runs side by side, if it was held against another."""
    columns = [words.facts(run) for run in (audit.run, audit.against) if run is not None]
    names = [audit.run.name, *([f"against {audit.against.name}"] if audit.against is not None else [])]
    rows = [[entries[0][0], *(text for _, text in entries)] for entries in zip(*columns, strict=True)]
    yield _table(["", *names], rows)
    yield _bullets(audit.run.notes)


def _areas(audit: Audit) -> str:
    rows = []
    for area, findings in by_area(audit):
        found, worst = counts(findings), findings[0]
        told = "" if state_of(worst) in (State.PASSED, State.TOLD) else f"{worst.title}: {words.measured(worst)}"
        numbers = [f"{found[state]:,}" for state in (State.PASSED, State.FAILED, State.MISSING)]
        rows.append([words.AREA_TITLES[area], *numbers, told])
    return _table(["area", "passed", "failed", "missing", "worst"], rows)


def _against_it(findings: Sequence[Finding]) -> Iterator[str]:
    for finding in by_gravity(findings):
        state = state_of(finding)
        if state not in _SPEAK_AGAINST:
            continue
        yield f"### {SIGNS[state]} {escaped(finding.title)}"
        yield f"**{escaped(words.measured(finding))}.** {escaped(finding.summary)}".rstrip()
        places = [f"Look at {words.place_words(place)}" for place in finding.places]
        yield _bullets([*finding.evidence, *places])
        if finding.table is not None:
            yield _marked(finding.table)
        if finding.advice:
            yield f"What to do: {escaped(finding.advice)}"


def _missing(findings: Sequence[Finding]) -> Iterator[str]:
    rows = [
        [finding.title, words.NEED_WORDS[finding.need], words.statement(finding), finding.advice]
        for finding in by_gravity(findings)
        if state_of(finding) is State.MISSING and finding.need is not Need.SHOWN
    ]
    if rows:
        yield _table(["check", "need", "what is missing", "what to do"], rows)
    yield from map(escaped, words.not_asked_for([one for one in findings if state_of(one) is State.MISSING]))


def _incidents(incidents: Sequence[Incident]) -> Iterator[str]:
    if not incidents:
        return
    yield f"{words.incident_words(incidents)}."
    rows = [
        [
            incident.severity.value,
            spaced(incident.kind),
            words.incident_steps(incident),
            spaced(incident.status),
            incident.message,
        ]
        for incident in incidents
    ]
    yield _table(["severity", "kind", "steps", "outcome", "what happened"], rows)
    # Incidents of a kind mostly have the same advice: once is enough.
    advice: dict[str, list[str]] = {}
    for incident in incidents:
        if incident.advice and incident.is_alert:
            advice.setdefault(incident.advice, []).append(f"{incident.onset_step:,}")
    yield _bullets(f"Step {', '.join(steps)}: {text}" for text, steps in advice.items())


def _rest(findings: Sequence[Finding]) -> Iterator[str]:
    rows = []
    for finding in by_gravity(findings):
        state = state_of(finding)
        if state in (State.PASSED, State.TOLD):
            value, limit = words.value_and_limit(finding)
            need = words.NEED_WORDS[finding.need] if finding.need is not Need.SHOWN else ""
            rows.append(
                [f"{SIGNS[state]} {words.STATE_WORDS[state]}", finding.title, value, limit, need, finding.summary]
            )
    if rows:
        yield _table(["", "check", "value", "limit", "need", "found"], rows)
    for finding in by_gravity(findings):
        if finding.table is not None and state_of(finding) in (State.PASSED, State.TOLD):
            yield f"### {escaped(finding.title)}"
            yield _marked(finding.table)


def _marked(rows: Rows) -> str:
    """With a column that says which rows speak against the run."""
    if not rows.marked:
        return _table(rows.titles, rows.rows)
    signs = [SIGNS[State.FAILED] if row in rows.marked else "" for row in range(len(rows.rows))]
    return _table(["", *rows.titles], [[sign, *row] for sign, row in zip(signs, rows.rows, strict=True)])


def _table(titles: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Every row must have as many cells as there are titles."""
    head = [_line(titles), f"| {' | '.join('---' for _ in titles)} |"]
    return "\n".join([*head, *map(_line, rows)])


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(map(escaped, cells))} |"


def _bullets(texts: Iterable[str]) -> str:
    return "\n".join(f"- {escaped(text)}" for text in texts)


def _numbered(texts: Iterable[str]) -> str:
    return "\n".join(f"{place}. {escaped(text)}" for place, text in enumerate(texts, 1))
