"""Results as tables: rows of text, drawn in the terminal or as Markdown."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from rich.table import Table as RichTable

from .bad_batches import BadBatches
from .calibration import Rate, poisson_interval
from .curves import Verdict
from .measure import Measured
from .scoring import Outcome

_NONE = "-"


@dataclass(frozen=True, slots=True)
class Table:
    """Cells of text under a title; ``note`` is a sentence below it."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    note: str = ""

    def markdown(self) -> str:
        lines = [f"### {self.title}", "", _line(self.columns), _line(["---"] * len(self.columns))]
        lines += [_line(row) for row in self.rows]
        return "\n".join([*lines, "", *([self.note, ""] if self.note else [])])

    def rich(self) -> RichTable:
        drawn = RichTable(title=self.title, title_justify="left", caption=self.note or None, caption_justify="left")
        for column in self.columns:
            drawn.add_column(column, no_wrap=column == self.columns[0])
        for row in self.rows:
            drawn.add_row(*row)
        return drawn


def score_table(title: str, results: Sequence[Measured], note: str = "") -> Table:
    """One row per detector and setting."""
    columns = (
        "detector", "mode", "setting", "P", "R", "F1 [95 %]", "hits", "false /10k", "strict /10k",
        "delay", "onset error", "kind right", "us/row",
    )  # fmt: skip
    return Table(title, columns, tuple(_score_row(result) for result in results), note)


def _score_row(result: Measured) -> tuple[str, ...]:
    score, f1 = result.total, result.intervals.f1
    return (
        result.detector.name,
        result.detector.mode,
        result.setting,
        _share(score.precision),
        _share(score.recall),
        f"{_share(score.f1)} [{_share(f1.low)}, {_share(f1.high)}]",
        f"{score.hits}/{len(score.musts)}",
        _rate(score.lenient.per_10k),
        _rate(score.strict.per_10k),
        _quantiles(score.delays),
        _quantiles(score.onset_errors),
        _share(score.kind_right),
        _rate(result.us_per_row),
    )


def class_table(title: str, result: Measured, note: str = "") -> Table:
    """One row per class of events: what was found of it, and what it was called."""
    columns = ("class", "owed", "events", "alerts", "noticed", "delay", "onset error", "told as")
    groups = sorted(result.total.by_group().items(), key=lambda item: (_rank(item[1]), item[0]))
    return Table(title, columns, tuple(_class_row(name, outcomes) for name, outcomes in groups), note)


def _class_row(name: str, outcomes: Sequence[Outcome]) -> tuple[str, ...]:
    alerts = [outcome.alert for outcome in outcomes if outcome.alert is not None]
    told = Counter(alert.kind or "untold" for alert in alerts)
    verdicts = Counter(outcome.event.verdict.value for outcome in outcomes)
    return (
        name,
        ", ".join(verdicts) if len(verdicts) == 1 else ", ".join(f"{n} {v}" for v, n in verdicts.items()),
        str(len(outcomes)),
        str(len(alerts)),
        str(sum(outcome.noticed is not None for outcome in outcomes)),
        _quantiles([delay for outcome in outcomes if (delay := outcome.delay) is not None]),
        _quantiles([error for outcome in outcomes if (error := outcome.onset_error) is not None]),
        ", ".join(f"{kind} {n}" for kind, n in told.most_common()) or _NONE,
    )


def _rank(outcomes: Sequence[Outcome]) -> int:
    order = list(Verdict)
    return min(order.index(outcome.event.verdict) for outcome in outcomes)


def calibration_table(title: str, rates: Sequence[Rate], note: str = "") -> Table:
    """Alerts per 10,000 rows by what was asked for, with 95 % intervals."""
    cells = {(rate.noise, rate.asked): rate for rate in rates}
    settings = sorted({rate.asked for rate in rates})
    rows = []
    for noise in dict.fromkeys(rate.noise for rate in rates):
        own = [cells[noise, asked] for asked in settings]
        rows.append((noise, *(f"{_rate(r.per_10k)} [{_rate(r.interval[0])}, {_rate(r.interval[1])}]" for r in own)))
    return Table(title, ("noise", *(f"asked {asked:g}" for asked in settings)), tuple(rows), note)


def bad_batch_table(title: str, results: Sequence[tuple[str, BadBatches]], note: str = "") -> Table:
    """One row per kind of curve: what is told as a single bad batch, and what becomes of those that are known."""
    columns = (
        "curves", "rows", "told", "/10k [95 %]", "elsewhere /10k", "known", "of them told", "alert instead", "silent",
    )  # fmt: skip
    return Table(title, columns, tuple(_bad_batch_row(name, result) for name, result in results), note)


def _bad_batch_row(name: str, result: BadBatches) -> tuple[str, ...]:
    per_10k = 1e4 / result.rows if result.rows else math.nan
    low, high = poisson_interval(result.told)
    return (
        name,
        f"{result.rows:,}",
        str(result.told),
        f"{_rate(per_10k * result.told)} [{_rate(per_10k * low)}, {_rate(per_10k * high)}]",
        _rate(per_10k * result.elsewhere),
        str(result.known),
        str(result.met),
        str(result.alerted),
        str(result.known - result.met - result.alerted),
    )


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", r"\|") for cell in cells) + " |"


def _share(value: float) -> str:
    """Two decimals without the leading zero."""
    if math.isnan(value):
        return _NONE
    return f"{value:.2f}".removeprefix("0") if value < 1 else f"{value:.2f}"


def _rate(value: float) -> str:
    if math.isnan(value):
        return _NONE
    return f"{value:.2f}" if value < 10 else f"{value:.0f}"


def _quantiles(values: Sequence[int]) -> str:
    """Median / 90th percentile, in rows."""
    if not values:
        return _NONE
    median, high = np.percentile(values, (50, 90))
    return f"{median:.0f} / {high:.0f}"
