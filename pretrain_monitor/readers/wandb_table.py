"""Tables that W&B exports from a chart: a column for each run, and two more for what the drawing has averaged away."""

from __future__ import annotations

import re
from collections.abc import Sequence

from .choosing import choose
from .notes import ReadNotes

_COLUMN = re.compile(r"(?P<run>.+) - (?P<signal>.+?)(?P<range>__MIN|__MAX)?")


def signal_in(name: str) -> str | None:
    """The signal of a column, as in ``lively-sun-1 - train/loss``; None for the least and the most of a drawn point.

    Any other name is a signal as it is.
    """
    found = _COLUMN.fullmatch(name)
    if found is None:
        return name
    return None if found["range"] else found["signal"]


def is_exported(header: Sequence[str]) -> bool:
    """Whether a table has the columns that only W&B makes."""
    return any(range_of(name) is not None for name in header)


def runs_in(header: Sequence[str]) -> list[str]:
    """The runs of a table that has the same signal of several; none if it has but one."""
    columns = [found for name in header if (found := _COLUMN.fullmatch(name)) is not None and not found["range"]]
    runs = list(dict.fromkeys(column["run"] for column in columns))
    has_same = len({column["signal"] for column in columns}) < len(columns)
    return runs if len(runs) > 1 and has_same else []


def of_one_run(log: str, header: Sequence[str], run: str | None, notes: ReadNotes | None) -> list[str]:
    """The header with the names of all other runs' columns taken away.

    Raises:
        LogError: there is no such run.
    """
    runs = runs_in(header)
    chosen = runs[choose(log, runs, run, notes)]
    columns = [(name, _COLUMN.fullmatch(name)) for name in header]
    return [name if found is None or found["run"] == chosen else "" for name, found in columns]


def range_of(name: str) -> tuple[str, str] | None:
    """Signal and end, as in ``lively-sun-1 - train/loss__MIN``; None for any other column."""
    found = _COLUMN.fullmatch(name)
    return None if found is None or not found["range"] else (found["signal"], found["range"])
