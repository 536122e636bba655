"""What a detector found of a curve's events, and what it raised for nothing.

Matching is by rows. An event from ``first`` to ``last`` is found by an alert in its window, which reaches from five
rows before it to max(50, a fifth of its length) rows behind it; it counts once, and further alerts in there are free.
Alerts outside every window are false; those at most ten rows apart are one false episode. In the lenient count, the
one to quote, harmless events have a window too; in the strict count an alert on one of them is false.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from .curves import Curve, Finding, TrueEvent, Verdict

_ROWS_BEFORE = 5
_LEAST_ROWS_AFTER = 50
_SHARE_AFTER = 0.2
_EPISODE_ROWS = 10


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one event.

    Args:
        alert: the first alert in its window; None if it was missed.
        noticed: the first finding of any severity in its window.
    """

    event: TrueEvent
    alert: Finding | None
    noticed: Finding | None

    @property
    def delay(self) -> int | None:
        """Rows from the first of the event to the alert; an early alert has no negative delay."""
        return None if self.alert is None else max(0, self.alert.row - self.event.first)

    @property
    def onset_error(self) -> int | None:
        """Rows between the told and the true beginning; None where no onset is told."""
        return None if self.alert is None or self.alert.onset is None else abs(self.alert.onset - self.event.first)


@dataclass(frozen=True, slots=True)
class Falses:
    """Alerts outside the windows, in one of the two counts."""

    alerts: int = 0
    episodes: int = 0
    clear_rows: int = 0  # rows outside all windows

    def __add__(self, other: Falses) -> Falses:
        return Falses(self.alerts + other.alerts, self.episodes + other.episodes, self.clear_rows + other.clear_rows)

    @property
    def per_10k(self) -> float:
        """False episodes per 10,000 rows outside all windows; NaN without such rows."""
        return 1e4 * self.episodes / self.clear_rows if self.clear_rows else float("nan")

    @property
    def alerts_per_10k(self) -> float:
        return 1e4 * self.alerts / self.clear_rows if self.clear_rows else float("nan")


@dataclass(frozen=True, slots=True)
class Score:
    """Counts over one curve or many; scores add up.

    Args:
        outcomes: of every event, whatever was owed to it; hits and misses are of those that must be found.
    """

    rows: int = 0
    outcomes: tuple[Outcome, ...] = ()
    lenient: Falses = field(default_factory=Falses)
    strict: Falses = field(default_factory=Falses)

    def __add__(self, other: Score) -> Score:
        return Score(
            self.rows + other.rows,
            self.outcomes + other.outcomes,
            self.lenient + other.lenient,
            self.strict + other.strict,
        )

    @property
    def musts(self) -> tuple[Outcome, ...]:
        return tuple(o for o in self.outcomes if o.event.verdict is Verdict.MUST)

    @property
    def hits(self) -> int:
        return sum(outcome.alert is not None for outcome in self.musts)

    @property
    def precision(self) -> float:
        return precision(self.hits, self.lenient.episodes)

    @property
    def recall(self) -> float:
        return recall(self.hits, len(self.musts))

    @property
    def f1(self) -> float:
        return f1(self.hits, len(self.musts), self.lenient.episodes)

    @property
    def delays(self) -> list[int]:
        return [delay for outcome in self.musts if (delay := outcome.delay) is not None]

    @property
    def onset_errors(self) -> list[int]:
        return [error for outcome in self.musts if (error := outcome.onset_error) is not None]

    @property
    def kind_right(self) -> float:
        """Share of the hits that are called by their kind, of those that are given a kind at all; NaN if none is."""
        told = [(o.event.kind, o.alert.kind) for o in self.musts if o.alert is not None and o.alert.kind is not None]
        return sum(true == said for true, said in told) / len(told) if told else float("nan")

    @property
    def confusion(self) -> Counter[tuple[str, str]]:
        """Events that must be found by (true kind, told kind); ``missed`` and ``untold`` are told kinds too."""
        return Counter((o.event.kind, "missed" if o.alert is None else o.alert.kind or "untold") for o in self.musts)

    def by_group(self) -> dict[str, list[Outcome]]:
        """Outcomes of events of any verdict, by the group of the event."""
        groups: dict[str, list[Outcome]] = {}
        for outcome in self.outcomes:
            groups.setdefault(outcome.event.group or outcome.event.kind, []).append(outcome)
        return groups


def precision(hits: int, false_episodes: int) -> float:
    """NaN where nothing was raised at all."""
    return hits / (hits + false_episodes) if hits + false_episodes else float("nan")


def recall(hits: int, events: int) -> float:
    return hits / events if events else float("nan")


def f1(hits: int, events: int, false_episodes: int) -> float:
    """Harmonic mean of precision and recall; 0 without a hit, NaN where there is nothing to find."""
    return 2 * hits / (hits + false_episodes + events) if events else float("nan")


def window(event: TrueEvent, rows: int) -> tuple[int, int]:
    """First and last row, both inclusive, at which an alert finds an event of a curve with so many rows."""
    after = max(_LEAST_ROWS_AFTER, int(_SHARE_AFTER * (event.last - event.first)))
    return max(0, event.first - _ROWS_BEFORE), min(rows - 1, event.last + after)


def covered(curve: Curve, verdicts: Iterable[Verdict]) -> NDArray[np.bool_]:
    """Which rows lie in a window of an event with one of these verdicts, shape (rows,)."""
    wanted, mask = set(verdicts), np.zeros(curve.rows, dtype=bool)
    for event in curve.events:
        if event.verdict in wanted:
            first, last = window(event, curve.rows)
            mask[first : last + 1] = True
    return mask


def score(curve: Curve, findings: Sequence[Finding]) -> Score:
    """Match findings with the events of their curve."""
    ordered = sorted(findings, key=lambda finding: finding.row)
    alerts = [finding for finding in ordered if finding.is_alert]
    return Score(
        rows=curve.rows,
        outcomes=tuple(_outcome(event, curve.rows, alerts, ordered) for event in curve.events),
        lenient=_falses(alerts, covered(curve, Verdict)),
        strict=_falses(alerts, covered(curve, (Verdict.MUST, Verdict.OPTIONAL))),
    )


def total(scores: Iterable[Score]) -> Score:
    return sum(scores, Score())


def _outcome(event: TrueEvent, rows: int, alerts: Sequence[Finding], findings: Sequence[Finding]) -> Outcome:
    first, last = window(event, rows)
    alert = next((finding for finding in alerts if first <= finding.row <= last), None)
    noticed = next((finding for finding in findings if first <= finding.row <= last), None)
    return Outcome(event, alert, noticed)


def _falses(alerts: Sequence[Finding], excused: NDArray[np.bool_]) -> Falses:
    rows = [alert.row for alert in alerts if not excused[alert.row]]
    episodes = sum(i == 0 or row - rows[i - 1] > _EPISODE_ROWS for i, row in enumerate(rows))
    return Falses(len(rows), episodes, int(np.sum(~excused)))
