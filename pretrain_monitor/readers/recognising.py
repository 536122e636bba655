"""What a log is, by how it begins: a file's name says little of what is in it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from ..rundir import FILE_NAME
from .delimited import csv_table
from .errors import LogError, NoRunError
from .jsonl import jsonl_rows
from .notes import ReadNotes
from .parquet import MAGIC as PARQUET
from .parquet import parquet_rows
from .run_folders import LIGHTNING
from .source import LogSource
from .text_log import pattern_rows, text_rows
from .trainer_state import STATE, is_trainer_state, state_rows
from .wandb_file import MAGIC as WANDB
from .wandb_file import wandb_rows

_OUR_RECORDS = tuple(f'{{"type":"{kind}"' for kind in ("run", "sample", "event", "announcement", "snapshot", "end"))
_HISTORY_OF_WANDB = '"_step"'


class Rows(NamedTuple):
    """Rows of a log that is no run log, the words for its kind, and what one of them is called in messages."""

    rows: Iterator[tuple[int, Mapping[str, Any]]]
    kind: str
    unit: str = "line"
    is_chosen: bool = False  # of several runs that stand side by side


def first_line(source: LogSource) -> str:
    """Its first line, empty if it has no lines.

    Raises:
        LogError: it is no log.
    """
    return "" if source.begins_with(PARQUET) or source.begins_with(WANDB) else source.first_line()


def rows_in(
    source: LogSource, log: Path, first: str, pattern: str | None, run: str | None, notes: ReadNotes | None
) -> Rows:
    """By what a log begins with.

    Args:
        notes: None in a reading that nobody is told of.

    Raises:
        LogError: it is no log, or its header cannot be used.
    """
    if source.begins_with(PARQUET):
        return Rows(parquet_rows(source), "Parquet table", "row")
    if source.begins_with(WANDB):
        return Rows(wandb_rows(source, notes), "run of W&B", "row")
    if pattern is not None:
        return Rows(pattern_rows(source, pattern), "text log, by a pattern")
    if is_trainer_state(first, log):
        return Rows(state_rows(source, notes), f"{STATE} of the Hugging Face Trainer", "entry")
    if first.startswith("{") and not first.startswith("{'"):
        return Rows(jsonl_rows(source, notes), "W&B export" if _HISTORY_OF_WANDB in first else "JSONL")
    if first.startswith(('["', "[{")) or first == "[":
        raise LogError(f"{source.name}: a JSON array, not a CSV or JSONL log; write one object a line")
    try:
        table = csv_table(source, run, notes)
    except NoRunError:
        raise
    except LogError as refused:
        return Rows(text_rows(source, first, refused, notes), "text log")
    kind = f"{LIGHTNING} of Lightning" if log.name == LIGHTNING else "table"
    return Rows(table.rows, "W&B export" if table.is_exported else kind, is_chosen=table.is_chosen)


def begins_run_log(first_line: str, path: Path) -> bool:
    if first_line.startswith(_OUR_RECORDS):
        return True
    # A run log whose first line was cut off, and not somebody's JSONL file of the same name.
    return path.name in (FILE_NAME, f"{FILE_NAME}.gz") and not _is_object(first_line)


def _is_object(line: str) -> bool:
    try:
        return isinstance(json.loads(line), dict)
    except (ValueError, RecursionError):
        return False
