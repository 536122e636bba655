"""Tables in text: cells between commas, semicolons or tabs under a header that names step and loss."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from typing import NamedTuple

from .columns import Columns, check_columns, field_of
from .errors import LogError
from .notes import ReadNotes
from .source import LogSource
from .wandb_table import is_exported, of_one_run, range_of, runs_in

_DELIMITERS = (",", ";", "\t")


class Table(NamedTuple):
    """The rows of a table with their lines, under the names of fields; empty cells are values that were not logged.

    Args:
        is_exported: by W&B, from a chart.
        is_chosen: it has columns for several runs, and these are of one of them.
    """

    rows: Iterator[tuple[int, dict[str, str]]]
    is_exported: bool
    is_chosen: bool


def csv_table(source: LogSource, run: str | None = None, notes: ReadNotes | None = None) -> Table:
    """
    Args:
        run: number or name of the run that is wanted of several that stand side by side; None: the last.
        notes: told of other runs, and of a last line that breaks off before its last cell, which is left out.

    Raises:
        LogError: at once if the header cannot be used, later if a row cannot.
    """
    lines = (line for line in source if line.strip())
    header, delimiter = _header(source, next(lines))
    is_chosen = bool(runs_in(header))
    if is_chosen:
        header = of_one_run(source.name, header, run, notes)
    fields = Columns(source.name).fields(header, "the header")
    check_columns(source.name, fields, header, "the header has")
    rows = _rows(source, fields, lines, delimiter, _averaged(header), notes)
    return Table(rows, is_exported(header), is_chosen)


def _header(source: LogSource, line: str) -> tuple[list[str], str]:
    """The names, and what stands between them: of the three the one that makes the most of step and loss appear."""
    if "\r" in line.strip():
        raise LogError(f"{source.name}: its lines end in carriage returns alone; save it with line feeds")
    headers = []
    for delimiter in _DELIMITERS:
        try:
            names = next(csv.reader([line], delimiter=delimiter))
        except csv.Error as error:  # a long header is one long field to the wrong delimiter
            refused = error
            continue
        found = set(map(field_of, names)) & {"step", "loss"}
        headers.append((len(found), names, delimiter))
    if not headers:
        raise LogError(f"{source.name}: not a CSV file: {refused}")
    _, names, delimiter = max(headers, key=lambda header: (header[0], len(header[1])))
    return names, delimiter


def _averaged(header: list[str]) -> tuple[int, int] | None:
    """Columns of the least and the most loss of each row that W&B has exported."""
    ends = {}
    for column, name in enumerate(header):
        if (found := range_of(name)) is not None and field_of(found[0]) == "loss":
            ends[found[1]] = column
    return (ends["__MIN"], ends["__MAX"]) if len(ends) == 2 else None


def _rows(
    source: LogSource,
    fields: tuple[str | None, ...],
    lines: Iterator[str],
    delimiter: str,
    averaged: tuple[int, int] | None,
    notes: ReadNotes | None,
) -> Iterator[tuple[int, dict[str, str]]]:
    rows = has_loss = False
    points = 0  # that are the mean of several
    try:
        # Strict: a quote that is never closed would swallow the rest of the file.
        for cells in csv.reader(lines, delimiter=delimiter, strict=True):
            if len(cells) > len(fields) and any(cell.strip() for cell in cells[len(fields) :]):
                raise LogError(
                    f"{source.name}: line {source.line_number} has {len(cells)} cells, the header {len(fields)}: "
                    "a comma inside a number or a text? Write 3.21, and texts in quotes"
                )
            if len(cells) < len(fields) and rows and source.is_cut_off:
                if notes is not None:
                    notes.say_cut_off(source.name)
                break
            rows = True
            row = {field: cell for field, cell in zip(fields, cells, strict=False) if field is not None}
            has_loss = has_loss or bool(row.get("loss", "").strip())
            if averaged is not None and max(averaged) < len(cells) and cells[averaged[0]] != cells[averaged[1]]:
                points += 1
            yield source.line_number, row
    except csv.Error as error:
        raise LogError(f"{source.name}: not a CSV file: line {source.line_number}: {error}") from None
    if points and notes is not None:
        notes.say(
            source.name,
            f"W&B has averaged over several steps in this export, rows: {points:,}; spikes are smaller in it, "
            "and the history of the run has every step",
        )
    if not rows:
        raise LogError(f"{source.name}: a header and no rows: nothing has been logged")
    if not has_loss:
        raise LogError(f"{source.name}: the loss column is empty in every row")
