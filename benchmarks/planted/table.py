"""What the audit said of each run, as tables."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich.table import Table

from pretrain_monitor.audit.model import Audit, Finding

from .cases import Case


@dataclass(frozen=True, slots=True)
class Outcome:
    """One run and what was found.

    Args:
        seconds: that writing the run took, and auditing it.
    """

    case: Case
    audit: Audit
    seconds: tuple[float, float]

    @property
    def failing(self) -> list[Finding]:
        return [finding for finding in self.audit.findings if finding.passed is False]

    @property
    def found_by(self) -> list[Finding]:
        """The failing findings that were expected."""
        return [finding for finding in self.failing if finding.check in self.case.expects]

    @property
    def others(self) -> list[str]:
        return [finding.check for finding in self.failing if finding.check not in self.case.expects]


def planted_table(outcomes: Sequence[Outcome]) -> Table:
    table = _table(
        "planted defects", "defect", "what was planted", "expected", "found by", "value / limit", "also failing"
    )
    for outcome in outcomes:
        found = outcome.found_by
        values = [_value(finding) for finding in found] or [_expected(outcome)]
        table.add_row(
            outcome.case.name,
            outcome.case.planted,
            "\n".join(outcome.case.expects),
            "\n".join(finding.check for finding in found) or "NOT FOUND",
            "\n".join(values),
            " ".join(outcome.others) or "-",
        )
    count = sum(bool(outcome.found_by) for outcome in outcomes)
    table.caption = f"{count} of {len(outcomes)} found by the right finding"
    return table


def healthy_table(outcomes: Sequence[Outcome]) -> Table:
    table = _table("healthy runs", "run", "what it is", "verdict", "falsely failing", "value / limit")
    for outcome in outcomes:
        table.add_row(
            outcome.case.name,
            outcome.case.planted,
            outcome.audit.verdict.value,
            "\n".join(finding.check for finding in outcome.failing) or "-",
            "\n".join(_value(finding) for finding in outcome.failing) or "-",
        )
    false = sum(len(outcome.failing) for outcome in outcomes)
    table.caption = f"{false} false failing findings in {len(outcomes)} runs"
    return table


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left", caption_justify="left", show_lines=True)
    for column in columns:
        table.add_column(column, overflow="fold")
    return table


def _value(finding: Finding) -> str:
    if finding.value is None:
        return f"no value: {finding.missing}"
    limit = "none" if finding.limit is None else f"{finding.limit:.4g}"
    return f"{finding.value:.4g} / {limit}"


def _expected(outcome: Outcome) -> str:
    """What the check that should have failed had to say."""
    by_name = {finding.check: finding for finding in outcome.audit.findings}
    check = outcome.case.expects[0]
    return _value(by_name[check]) if check in by_name else "no such check"
