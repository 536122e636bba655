"""Which points of a long curve are drawn, so that a page stays small and no spike is lost."""

from __future__ import annotations

from collections.abc import Sequence


def kept(steps: Sequence[int], values: Sequence[float | None], columns: int) -> list[int]:
    """Places of the smallest and the largest value in each column of steps; a column without a number keeps its first.

    >>> kept([1, 2, 3, 4, 5, 6], [5.0, 1.0, 9.0, 4.0, 4.0, None], columns=2)
    [1, 2, 3]
    """
    if len(steps) <= 2 * columns:
        return list(range(len(steps)))
    first, span = steps[0], steps[-1] - steps[0] + 1
    ends: dict[int, tuple[int, int]] = {}
    found: list[int] = []
    for place, (step, value) in enumerate(zip(steps, values, strict=True)):
        column = (step - first) * columns // span
        low, high = ends.get(column, (place, place))
        if column in ends and value is not None:
            low = place if _is_beyond(values[low], value, is_higher=False) else low
            high = place if _is_beyond(values[high], value, is_higher=True) else high
        ends[column] = low, high
    for low, high in ends.values():
        found += sorted({low, high})
    return found


def _is_beyond(known: float | None, value: float, *, is_higher: bool) -> bool:
    return known is None or (value > known if is_higher else value < known)
