"""An audit in the terminal: the verdict first, then what speaks against the run, then the rest in short."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from rich.console import Console, Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from ..audit.model import Audit, Finding, Need, Verdict
from ..audit.model import Table as Rows
from ..printable import clean
from ..sinks.wording import STYLES as SEVERITY_STYLES
from ..sinks.wording import count
from ..sinks.wording import words as spaced
from ..telemetry import Incident
from . import words
from .states import State, by_area, by_gravity, counts, state_of

_MAX_WIDTH = 120
_MOST_INCIDENTS, _MOST_ROWS = 20, 12
_VERDICT_STYLES = {
    Verdict.READY: "green",
    Verdict.CONDITIONS: "yellow",
    Verdict.NOT_READY: "red",
    Verdict.NOT_ENOUGH: "magenta",
}
_STATE_STYLES = {
    State.FAILED: "red",
    State.MISSING: "magenta",
    State.NOTED: "yellow",
    State.PASSED: "green",
    State.TOLD: "cyan",
}


def print_audit(audit: Audit, screen: Console) -> None:
    """All of it but the curves and the appendix. Texts of the run are never read as markup."""
    width = min(screen.width, _MAX_WIDTH)
    findings = by_gravity(audit.findings)
    for part in (
        _verdict(audit),
        "",
        _facts(audit),
        "",
        _areas(audit),
        *_against_it(findings),
        *_incidents(words.incidents_of(audit)),
        *_rest(findings),
        *_listed("Notes on the log", audit.run.notes),
        *_listed("What to do next", audit.next_steps, is_numbered=True),
    ):
        screen.print(part, width=width)


def _verdict(audit: Audit) -> RenderableType:
    style = _VERDICT_STYLES[audit.verdict]
    title = Text(clean(words.heading(audit)), style=f"bold {style} reverse")
    subtitle = Text(clean(f"criteria: {audit.criteria}"))
    body = _bullets(audit.reasons) if audit.reasons else Text("no reasons given")
    return Panel(body, title=title, title_align="left", subtitle=subtitle, subtitle_align="right", border_style=style)


def _facts(audit: Audit) -> RenderableType:
    """Of both runs side by side, if it was held against another."""
    table = Table(box=None, pad_edge=False, header_style="bold", show_header=audit.against is not None)
    table.add_column("", style="bold", no_wrap=True)
    table.add_column(_text(audit.run.name), ratio=1, overflow="fold")
    others = [""] * len(words.facts(audit.run))
    if audit.against is not None:
        table.add_column(Text.assemble("against ", clean(audit.against.name)), ratio=1, overflow="fold")
        others = [text for _, text in words.facts(audit.against)]
    for (name, text), other in zip(words.facts(audit.run), others, strict=True):
        table.add_row(name, _text(text), *([_text(other)] if audit.against is not None else []))
    return table


def _areas(audit: Audit) -> RenderableType:
    """A line for each area: how many checks came out how, and the worst of them."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("area", no_wrap=True)
    for state in (State.PASSED, State.FAILED, State.MISSING):
        table.add_column(state, justify="right", no_wrap=True)
    table.add_column("worst", ratio=1)
    for area, findings in by_area(audit):
        found, worst = counts(findings), findings[0]
        numbers = [
            Text(f"{n:,}" if n else "-", style=_STATE_STYLES[state] if n else "dim")
            for state, n in ((state, found[state]) for state in (State.PASSED, State.FAILED, State.MISSING))
        ]
        is_fine = state_of(worst) in (State.PASSED, State.TOLD)
        told = Text("-", style="dim") if is_fine else _text(f"{worst.title}: {words.measured(worst)}")
        table.add_row(words.AREA_TITLES[area], *numbers, told)
    return table


def _against_it(findings: Iterable[Finding]) -> Iterator[RenderableType]:
    """What failed, with all that is needed to act on it; what is missing, with what it would take."""
    for finding in findings:
        state = state_of(finding)
        if state in (State.FAILED, State.NOTED):
            yield _headline(finding)
            yield _indented(_details(finding))
    missing = [finding for finding in findings if state_of(finding) is State.MISSING]
    if missing:
        yield _title("Missing evidence")
        lines = [
            f"{one.title} ({words.NEED_WORDS[one.need]}): {words.statement(one)}"
            + (f"; what to do: {one.advice}" if one.advice else "")
            for one in missing
            if one.need is not Need.SHOWN
        ]
        yield _indented(_bullets([*lines, *words.not_asked_for(missing)]))


def _headline(finding: Finding) -> Text:
    state = state_of(finding)
    said = "beyond its limit, not counted" if state is State.NOTED else f"{state}, {words.NEED_WORDS[finding.need]}"
    style = _STATE_STYLES[state]
    return Text.assemble("\n", (clean(finding.title), f"bold {style}"), (f" ({said})", style))


def _details(finding: Finding) -> Group:
    value, limit = words.value_and_limit(finding)
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(style="bold", no_wrap=True)
    table.add_column(ratio=1, overflow="fold")
    table.add_row("value", _text(value))
    table.add_row("limit", _text(limit or "none"))
    for name, texts in (
        ("found", [finding.summary]),
        ("evidence", finding.evidence),
        ("look at", [words.place_words(place) for place in finding.places]),
        ("what to do", [finding.advice]),
    ):
        for place, text in enumerate(filter(None, texts)):
            table.add_row(name if place == 0 else "", _text(text))
    parts: list[RenderableType] = [table]
    if finding.table is not None:
        parts += [_rows(finding.table)]
    return Group(*parts)


def _rows(rows: Rows) -> RenderableType:
    """Those that are marked first: a long table is cut."""
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("")
    for title in rows.titles:
        table.add_column(_text(title), overflow="fold")
    order = sorted(range(len(rows.rows)), key=lambda row: row not in rows.marked)
    for row in order[:_MOST_ROWS]:
        is_marked = row in rows.marked
        table.add_row(">" if is_marked else "", *map(_text, rows.rows[row]), style="bold" if is_marked else "")
    if len(order) <= _MOST_ROWS:
        return table
    return Group(table, Text(f"and {count(len(order) - _MOST_ROWS, 'row')} more", style="dim"))


def _incidents(incidents: list[Incident]) -> Iterator[RenderableType]:
    """The gravest, in order of onset."""
    if not incidents:
        return
    chosen = sorted(incidents, key=lambda incident: -incident.severity.rank)[:_MOST_INCIDENTS]
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("onset", justify="right", no_wrap=True)
    table.add_column("incident", no_wrap=True)
    table.add_column("what happened", ratio=1)
    for incident in sorted(chosen, key=lambda incident: incident.onset_step):
        style = SEVERITY_STYLES[incident.severity]
        named = Text.assemble(f"{spaced(incident.kind)}\n", (incident.severity, style), f", {spaced(incident.status)}")
        table.add_row(f"{incident.onset_step:,}", named, _text(incident.message))
    yield _title(f"Incidents: {words.incident_words(incidents)}")
    yield table
    if len(incidents) > len(chosen):
        yield Text(f"and {len(incidents) - len(chosen):,} less grave", style="dim")


def _rest(findings: Iterable[Finding]) -> Iterator[RenderableType]:
    """What passed, and what is only told, a line each."""
    fine = [finding for finding in findings if state_of(finding) in (State.PASSED, State.TOLD)]
    if not fine:
        return
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(ratio=2)
    table.add_column(ratio=3)
    for finding in fine:
        state = state_of(finding)
        value, limit = words.value_and_limit(finding)
        table.add_row(
            Text(words.STATE_WORDS[state], style=_STATE_STYLES[state]),
            _text(finding.title),
            _text(f"{value}, {limit}" if limit else value),
        )
    yield _title("The rest")
    yield table


def _listed(title: str, texts: list[str], *, is_numbered: bool = False) -> Iterator[RenderableType]:
    if texts:
        yield _title(title)
        yield _bullets(texts, is_numbered=is_numbered)


def _bullets(texts: Iterable[str], *, is_numbered: bool = False) -> Table:
    table = Table.grid(padding=(0, 1, 0, 0))
    table.add_column(no_wrap=True, justify="right")
    table.add_column(ratio=1, overflow="fold")
    for place, text in enumerate(texts, 1):
        table.add_row(f"{place}." if is_numbered else "-", _text(text))
    return table


def _indented(part: RenderableType) -> RenderableType:
    table = Table.grid()
    table.add_column(width=2)
    table.add_column(ratio=1)
    table.add_row("", part)
    return table


def _title(text: str) -> Text:
    return Text(f"\n{text}", style="bold")


def _text(text: str) -> Text:
    return Text(clean(text))
