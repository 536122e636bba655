"""Tables in text: cells between commas, semicolons or tabs under a header that names step and loss."""

from __future__ import annotations

import csv
from collections.abc import Iterator

from .columns import Columns, check_columns, field_of
from .errors import LogError
from .notes import ReadNotes
from .source import LogSource

_DELIMITERS = (",", ";", "\t")


def csv_rows(source: LogSource, notes: ReadNotes | None = None) -> Iterator[tuple[int, dict[str, str]]]:
    """Rows of a table with their lines, under the names of fields; empty cells are values that were not logged.

    A last line that breaks off before its last cell is left out.

    Raises:
        LogError: at once if the header cannot be used, later if a row cannot.
    """
    lines = _Lines(source)
    header, delimiter = _header(source, next(lines))
    fields = Columns(source.name).fields(header, "the header")
    check_columns(source.name, fields, header, "the header has")
    return _rows(source, fields, lines, delimiter, notes)


class _Lines:
    """The lines of a log that are not blank, and the newest of them as it is."""

    def __init__(self, source: LogSource) -> None:
        self._lines = iter(source)
        self.newest = ""

    def __iter__(self) -> _Lines:
        return self

    def __next__(self) -> str:
        self.newest = next(self._lines)
        while not self.newest.strip():
            self.newest = next(self._lines)
        return self.newest


def _header(source: LogSource, line: str) -> tuple[list[str], str]:
    """The names, and what stands between them: of the three the one that makes the most of step and loss appear."""
    if "\r" in line.strip():
        raise LogError(f"{source.name}: its lines end in carriage returns alone; save it with line feeds")
    headers = []
    for delimiter in _DELIMITERS:
        names = _parsed(source, line, delimiter)
        found = set(map(field_of, names)) & {"step", "loss"}
        headers.append((len(found), names, delimiter))
    _, names, delimiter = max(headers, key=lambda header: (header[0], len(header[1])))
    return names, delimiter


def _parsed(source: LogSource, line: str, delimiter: str) -> list[str]:
    try:
        return next(csv.reader([line], delimiter=delimiter))
    except csv.Error as error:
        raise LogError(f"{source.name}: not a CSV file: {error}") from None


def _rows(
    source: LogSource, fields: tuple[str | None, ...], lines: _Lines, delimiter: str, notes: ReadNotes | None
) -> Iterator[tuple[int, dict[str, str]]]:
    rows = has_loss = False
    try:
        # Strict: a quote that is never closed would swallow the rest of the file.
        for cells in csv.reader(lines, delimiter=delimiter, strict=True):
            if len(cells) > len(fields) and any(cell.strip() for cell in cells[len(fields) :]):
                raise LogError(
                    f"{source.name}: line {source.line_number} has {len(cells)} cells, the header {len(fields)}: "
                    "a comma inside a number or a text? Write 3.21, and texts in quotes"
                )
            if rows and len(cells) < len(fields) and not lines.newest.endswith("\n"):
                if notes is not None:
                    notes.say_cut_off(source.name)
                break
            rows = True
            row = {field: cell for field, cell in zip(fields, cells, strict=False) if field is not None}
            has_loss = has_loss or bool(row.get("loss", "").strip())
            yield source.line_number, row
    except csv.Error as error:
        raise LogError(f"{source.name}: not a CSV file: line {source.line_number}: {error}") from None
    if not rows:
        raise LogError(f"{source.name}: a header and no rows: nothing has been logged")
    if not has_loss:
        raise LogError(f"{source.name}: the loss column is empty in every row")
