"""The tables of the results, as text: the terminal and the page show the same."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from ..results import ModelResult, Results
from .curves import Curve, Point, answer_curves, are_steps, labels, task_curves, text_curves
from .wording import NO_VALUE, gap_words, number

# More models than these, and checkpoints of one run, are told by the first, the best and the last of them.
_MOST_COLUMNS = 4

Cell = Callable[[Curve], str]


@dataclass(frozen=True, slots=True)
class Sheet:
    """A table.

    Args:
        titles: of the columns; the first names the rows.
        marked: numbers of the rows that somebody should look at.
    """

    titles: Sequence[str]
    rows: Sequence[Sequence[str]]
    marked: frozenset[int] = frozenset()


def text_sheet(results: Results, reference: ModelResult | None) -> Sheet | None:
    """Bits per byte of each domain; None if no texts were measured."""
    curves = text_curves(results, reference)
    has_one = len(results.measured) == 1
    more: dict[str, Cell] = {
        "± 95 %": lambda curve: _reach(curve) if has_one else NO_VALUE,
        "perplexity": lambda curve: number(_fact(curve, "perplexity")) if has_one else NO_VALUE,
        "xz": lambda curve: number(_fact(curve, "compressor_bits_per_byte")),
        "coverage": lambda curve: number(_fact(curve, "coverage"), 3),
        "last against best": _change,
        "gap to reference": lambda curve: gap_words(curve.to_reference),
    }
    if not curves:
        return None
    units = ", ".join(dict.fromkeys(curve.unit for curve in curves))
    return _sheet(results, "text", units, curves, more, lambda point: number(point.value), curves)


def task_sheet(results: Results, reference: ModelResult | None) -> Sheet | None:
    """Accuracy of each task beside chance, and what the right answers cost; None if none was asked."""
    curves = task_curves(results)
    answers = {curve.name: curve for curve in answer_curves(results, reference)}
    more: dict[str, Cell] = {
        "95 %": lambda curve: f"{curve.last.lower:.3f}-{curve.last.upper:.3f}",
        "chance": lambda curve: number(curve.chance, 3),
        "bits/byte": lambda curve: number(_fact(curve, "gold_bits_per_byte")),
        "learned": lambda curve: number(_fact(curve, "bits_learned")),
        "bits against best": lambda curve: _of(answers, curve, _change),
        "gap to reference": lambda curve: _of(answers, curve, lambda found: gap_words(found.to_reference)),
        "n": lambda curve: f"{_fact(curve, 'questions') or 0:,.0f}",
    }
    if not curves:
        return None
    judged = [answers.get(curve.name, curve) for curve in curves]
    return _sheet(results, "task", "accuracy", curves, more, lambda point: f"{point.value:.3f}", judged)


def _sheet(
    results: Results,
    what: str,
    unit: str,
    curves: Sequence[Curve],
    more: Mapping[str, Cell],
    say: Callable[[Point], str],
    judged: Sequence[Curve],
) -> Sheet:
    values = _values(results, curves, say)
    columns = {**values, **more}
    cells = {title: [cell(curve) for curve in curves] for title, cell in columns.items()}
    shown = [title for title in columns if title in values or any(cell != NO_VALUE for cell in cells[title])]
    # A single model needs no column named after it.
    titles = [what, unit, *shown[1:]] if len(results.measured) == 1 else [unit, *shown]
    rows = [[curve.domain, *(cells[title][row] for title in shown)] for row, curve in enumerate(curves)]
    marked = frozenset(row for row, curve in enumerate(judged) if curve.is_worse)
    return Sheet(titles, rows, marked)


def _values(results: Results, curves: Sequence[Curve], say: Callable[[Point], str]) -> dict[str, Cell]:
    """Columns with the values of the models."""
    known = labels(results)
    numbers = [number for number, model in enumerate(results.models) if model in results.measured]

    def of_model(place: int) -> Cell:
        return lambda curve: next((say(point) for point in curve.points if point.model == place), NO_VALUE)

    if len(numbers) <= _MOST_COLUMNS and not are_steps(results):
        return {known[place]: of_model(place) for place in numbers}

    def told(point: Point) -> str:
        return f"{say(point)} ({known[point.model]})"

    # The first and the last are the same models in most rows, and are named once.
    first, last = ({point.model for point in ends} for ends in zip(*((c.first, c.last) for c in curves), strict=True))
    return {
        _title("first", first, known): lambda curve: say(curve.first) if len(first) == 1 else told(curve.first),
        "best": lambda curve: told(curve.best),
        _title("last", last, known): lambda curve: say(curve.last) if len(last) == 1 else told(curve.last),
    }


def _title(end: str, models: set[int], known: Sequence[str]) -> str:
    return f"{end} ({known[next(iter(models))]})" if len(models) == 1 else end


def _reach(curve: Curve) -> str:
    reach = curve.last.upper - curve.last.value
    return number(reach, 2) if reach > 0 else NO_VALUE  # of a single document nobody knows


def _fact(curve: Curve, name: str) -> float | None:
    return (curve.facts or {}).get(name)


def _change(curve: Curve) -> str:
    if curve.change is None:
        return NO_VALUE
    if curve.best is curve.last:
        return "is the best"
    return gap_words(curve.change) + (", worse" if curve.is_worse else "")


def _of(answers: Mapping[str, Curve], curve: Curve, cell: Cell) -> str:
    return cell(answers[curve.name]) if curve.name in answers else NO_VALUE
