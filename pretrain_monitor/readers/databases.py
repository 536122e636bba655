"""Runs in SQLite databases: those of trackio and of MLflow, told apart by their tables."""

from __future__ import annotations

import contextlib
import json
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

from ..printable import shown_path
from .choosing import choose
from .columns import NamedRows
from .errors import LogError
from .notes import ReadNotes


def database_kind(path: Path) -> str:
    """
    Raises:
        LogError: neither trackio's nor MLflow's, or damaged.
    """
    try:
        with contextlib.closing(_opened(path)) as database:
            tables = {row[0]: _columns(database, row[0]) for row in database.execute(_TABLES)}
    except sqlite3.Error as error:
        raise LogError(f"{shown_path(path)}: an SQLite database that cannot be read: {error}") from None
    metrics = tables.get("metrics", set())
    if {"run_uuid", "key", "value", "step"} <= metrics and "runs" in tables:
        return "MLflow database"
    if {"run_name", "step", "metrics"} <= metrics:
        return "trackio database"
    raise LogError(
        f"{shown_path(path)}: an SQLite database, and neither trackio's nor MLflow's; export it as CSV or JSONL"
    )


def rows_in_database(path: Path, kind: str, run: str | None, notes: ReadNotes) -> Iterator[tuple[int, dict[str, Any]]]:
    """The metrics of one run, by step.

    Args:
        kind: as ``database_kind`` says it.
        run: its number, its name or the beginning of that; None: the last.
        notes: told of the others.

    Raises:
        LogError: no such run, no loss.
    """
    read = _of_mlflow if kind == "MLflow database" else _of_trackio
    return _told(path, read(path, run, notes))


def _told(path: Path, rows: Iterator[tuple[int, dict[str, Any]]]) -> Iterator[tuple[int, dict[str, Any]]]:
    try:
        yield from rows
    except sqlite3.Error as error:
        raise LogError(f"{shown_path(path)}: the database cannot be read to its end: {error}") from None


def _of_mlflow(path: Path, run: str | None, notes: ReadNotes) -> Iterator[tuple[int, dict[str, Any]]]:
    """Of the last run, or of the one whose id begins as was asked for."""
    with contextlib.closing(_opened(path)) as database:
        known = [row[0] for row in database.execute("SELECT run_uuid FROM runs ORDER BY start_time")]
        chosen = known[choose(shown_path(path), known, run, notes)]
        rows = NamedRows(shown_path(path))
        query = "SELECT step, key, value, is_nan FROM metrics WHERE run_uuid = ? ORDER BY step, timestamp"
        for number, (step, name, value, is_nan) in enumerate(database.execute(query, (chosen,)), 1):
            yield number, rows.row({"step": step, name: float("nan") if is_nan else value}, f"value {number}")
        rows.check("the metrics are")


def _of_trackio(path: Path, run: str | None, notes: ReadNotes) -> Iterator[tuple[int, dict[str, Any]]]:
    with contextlib.closing(_opened(path)) as database:
        # Two runs may have one name; older versions had nothing but that.
        key = "run_id" if "run_id" in _columns(database, "metrics") else "run_name"
        known = database.execute(f"SELECT {key}, run_name FROM metrics GROUP BY {key} ORDER BY MIN(id)").fetchall()
        chosen, _ = known[choose(shown_path(path), [name for _, name in known], run, notes)]
        rows = NamedRows(shown_path(path))
        query = f"SELECT step, metrics FROM metrics WHERE {key} = ? ORDER BY step, id"
        for number, (step, text) in enumerate(database.execute(query, (chosen,)), 1):
            try:
                record = json.loads(text)
            except ValueError:
                raise LogError(f"{shown_path(path)}: row {number} of the run holds no JSON") from None
            if isinstance(record, dict):
                values = {name: _plain(value) for name, value in record.items()}
                plain = {name: value for name, value in values.items() if value is not None and name != "step"}
                yield number, rows.row({"step": step, **plain}, f"row {number}")
        rows.check("the metrics are")


def _plain(value: Any) -> float | str | None:
    """A number; those that JSON has not got are spelled."""
    if isinstance(value, str):
        return {"NaN": "nan", "Infinity": "inf", "-Infinity": "-inf"}.get(value)
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None


def _opened(path: Path) -> sqlite3.Connection:
    """A database, for reading only."""
    return sqlite3.connect(f"file:{quote(str(path.resolve()))}?mode=ro", uri=True)


def _columns(database: sqlite3.Connection, table: str) -> set[str]:
    return {row[1] for row in database.execute("SELECT * FROM pragma_table_info(?)", (table,))}


_TABLES = "SELECT name FROM sqlite_master WHERE type = 'table'"
