"""What probes found, in words: a line for a round, a table for a run."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from rich.table import Table

from ..detection.messages import number
from ..telemetry import Sample

_MOST = 6  # domains named in a line
_MAX_WIDTH = 100
_MAX_ROWS = 20

# The part of a metric's name that people read, whether less of it is better, and what it is called.
_READ = {"bits_per_byte": (True, "bits per byte"), "loss": (True, "loss"), "accuracy": (False, "accuracy")}
_GROUPS = ("heldout/", "task/")


@dataclass(slots=True)
class Course:
    """One value over the rounds of a run, as long as they are of the same documents.

    Args:
        error: standard error of the last one.
        changed_at: step from which on the documents are these; None if there were no others.
    """

    first: tuple[int, float]
    best: tuple[int, float]
    last: tuple[int, float]
    is_less_better: bool
    error: float | None = None
    changed_at: int | None = None

    @property
    def share_lost(self) -> float:
        """How far the last value is from the best, as a share of that; infinite for NaN."""
        lost = abs(self.last[1] - self.best[1]) / max(abs(self.best[1]), 1e-9)
        return math.inf if math.isnan(lost) else lost

    def add(self, step: int, value: float, error: float | None) -> None:
        self.last, self.error = (step, value), error
        if math.isnan(self.best[1]) or (value < self.best[1] if self.is_less_better else value > self.best[1]):
            self.best = step, value


@dataclass(slots=True)
class ProbeCourses:
    """What of a run's probes is told in the terminal: bits per byte or loss of a domain, accuracy of a suite.

    Args:
        by_name: such as ``heldout/code`` or ``task/lambada``.
    """

    by_name: dict[str, Course] = field(default_factory=dict)

    def add(self, sample: Sample) -> str | None:
        """Take in a round; the line that tells it, None if there is nothing to read in it."""
        parts: dict[str, list[str]] = {}
        begun = _begun(sample)
        changed: list[str] = []
        for name, (metric, is_less_better, title) in _told(sample.metrics).items():
            value = sample.metrics[metric]
            # What was measured on other documents is another course.
            course = None if name in begun else self.by_name.get(name)
            before = None if course is None else course.last[1]
            error = sample.metrics.get(f"{metric}_se")
            if course is None:
                here = (sample.step, value)
                # An earlier session of the run may have measured others.
                has_changed = name in self.by_name or begun.get(name, False)
                self.by_name[name] = Course(
                    here, here, here, is_less_better, error, sample.step if has_changed else None
                )
                changed += [_short(name)] if has_changed else []
            else:
                course.add(sample.step, value, error)
            parts.setdefault(title, []).append(_part(_short(name), value, before))
        if not parts:
            return None
        texts = [f"{title} {_listed(values)}" for title, values in parts.items()]
        if changed:
            texts.append(f"not the documents, or windows, of the rounds before: {_listed(changed)}")
        return f"step {sample.step:,}{_circumstances(sample)}: {'; '.join(texts)}"

    def table(self, width: int) -> Table:
        table = Table(box=None, pad_edge=False, header_style="bold", width=min(width, _MAX_WIDTH))
        table.add_column("held-out", ratio=1)
        for column in ("first", "best", "at step", "last", "± 95 %"):
            table.add_column(column, justify="right", no_wrap=True)
        for row in self._rows():
            table.add_row(*row)
        if more := self._more():
            table.add_row(more)
        return table

    def lines(self) -> list[str]:
        """The same for a log file."""
        return [
            f"  {name}: first {first}, best {best} at step {step}, last {last}{f' ± {error}' if error else ''}"
            for name, first, best, step, last, error in self._rows()
        ] + ([f"  {more}"] if (more := self._more()) else [])

    def _rows(self) -> list[tuple[str, ...]]:
        return [
            (
                self._label(name, course),
                _figure(course.first[1]),
                _figure(course.best[1]),
                f"{course.best[0]:,}",
                _figure(course.last[1]),
                "" if course.error is None else _figure(1.96 * course.error),
            )
            for name, course in self._shown()
        ]

    def _label(self, name: str, course: Course) -> str:
        is_alone = sum(_short(other) == _short(name) for other in self.by_name) == 1
        label = _short(name) if is_alone else name
        return label if course.changed_at is None else f"{label} (changed at step {course.changed_at:,})"

    def _shown(self) -> list[tuple[str, Course]]:
        """All of them, or of many those that are farthest from their best."""
        courses = list(self.by_name.items())
        if len(courses) <= _MAX_ROWS:
            return courses
        return sorted(courses, key=lambda pair: pair[1].share_lost, reverse=True)[:_MAX_ROWS]

    def _more(self) -> str:
        more = len(self.by_name) - _MAX_ROWS
        return f"and {more:,} more, nearer to their best" if more > 0 else ""


def _told(metrics: Mapping[str, float]) -> dict[str, tuple[str, bool, str]]:
    """By domain or suite: the metric that is read of it. Averages are left to TensorBoard."""
    told: dict[str, tuple[str, bool, str]] = {}
    for part, (is_less_better, title) in _READ.items():
        for metric in metrics:
            name, _, last = metric.rpartition("/")
            if last == part and name.startswith(_GROUPS) and not name.endswith(("/micro", "/macro")):
                told.setdefault(name, (metric, is_less_better, title))
    return told


def _begun(sample: Sample) -> dict[str, bool]:
    """Domains and suites of which nothing was known of these documents, and whether there were others before."""
    changes = (sample.meta or {}).get("retention")
    first = [one for one in changes if isinstance(one, Mapping) and one.get("is_first")] if changes else []
    return {str(one.get("domain")): bool(one.get("note")) for one in first}


def _short(name: str) -> str:
    return name.partition("/")[2]


def _part(name: str, value: float, before: float | None) -> str:
    if before is None or not math.isfinite(value - before):
        return f"{name} {_figure(value)}"
    return f"{name} {_figure(value)} ({value - before:+.3f})"


def _figure(value: float) -> str:
    """With the same digits for all, so that a column of them can be compared."""
    return f"{value:.3f}" if abs(value) < 100 else number(value)


def _listed(values: list[str]) -> str:
    more = len(values) - _MOST
    return ", ".join(values[:_MOST]) + (f" and {more} more" if more > 0 else "")


def _circumstances(sample: Sample) -> str:
    facts: Mapping[str, Any] = (sample.meta or {}).get("probes") or {}
    seconds = sum(each.get("seconds", 0.0) for each in facts.get("each", {}).values())
    reason = facts.get("reason", "")
    told = {"incident": "after an incident", "checkpoint": "checkpoint", "start": "baseline", "end": "end"}.get(reason)
    return f" ({', '.join(part for part in (told, f'{seconds:.1f} s') if part)})"
