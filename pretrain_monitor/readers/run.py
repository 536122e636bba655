"""Any readable log -> samples."""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

from ..printable import shown_path
from ..records import RunLogIndex, records_in, samples_in
from ..rundir import FILE_NAME
from ..telemetry import Sample
from .errors import LogError
from .event_files import read_event_files
from .mlflow_store import is_run, run_rows
from .notes import ReadNotes
from .recognising import begins_run_log, first_line, rows_in
from .rows import samples_of
from .run_folders import LIGHTNING, run_in_folder
from .sessions import Selection, sessions_in
from .source import LogSource
from .trainer_state import STATE

EVENTS = ".tfevents."
DATABASE = b"SQLite format 3"
_MOST_NAMED = 3
_NO_RECORDS = "it holds no sample and no record that a run began: not a run log, or a damaged one"
_WITH_RUN = re.compile(r"(.+)#([^#/]+)")


def read_run(path: str | Path, *, pattern: str | None = None, notes: ReadNotes | None = None) -> Iterator[Sample]:
    """Samples of a run, oldest first, superseded steps already dropped.

    Args:
        path: a run directory, its ``run.jsonl``, a directory with TensorBoard event files or one of these, a
            ``trainer_state.json`` or a directory with checkpoints of the Hugging Face Trainer, Lightning's
            ``metrics.csv`` or its directory, a table (cells between commas, semicolons or tabs; Parquet) or JSONL file
            with step, loss and any other signal, an export of W&B, a run or database of MLflow, a database of trackio,
            or what a program printed, with a step and a loss; plain or gzipped. Besides files, a pipe, or ``-`` for
            standard input. Where a log holds several runs, the last; ``PATH#2`` is the second.
        pattern: regular expression for the lines of a text, whose named groups are the signals: step, loss, others.
        notes: filled with what was found out about the log.

    Raises:
        LogError: no such log, not readable, not text, no loss, steps that go backwards; one line for the user.
    """
    reading = _reading(Path(path), pattern, notes if notes is not None else ReadNotes())
    next(reading)  # opens it: what is wrong with the log as such is said now, not at the first sample
    return cast(Iterator[Sample], reading)


def _reading(path: Path, pattern: str | None, notes: ReadNotes) -> Iterator[Sample | None]:
    """None once the log is open, then the samples; closed in the middle, it closes the log."""
    path, run = _with_run(path)
    is_run_directory = _is_directory(path)
    if _has_event_files(path, is_run_directory):
        _only_run(path, run)
        notes.source = "TensorBoard event files"
        _no_pattern(path, pattern, notes)
        yield from _event_files(path, notes)
        return
    if is_run_directory and not _holds_a_log(path) and (inner := run_in_folder(path, run, notes)) is not None:
        path, run, is_run_directory = inner, None, inner.is_dir()
    if is_run_directory and is_run(path):
        _only_run(path, run)
        notes.source = "MLflow metrics"
        _no_pattern(path, pattern, notes)
        yield None
        yield from samples_of(shown_path(path), run_rows(path), unit="value", notes=notes)
        return
    log = _log_in(path) if is_run_directory else path
    is_ours = is_run_directory and log.name == FILE_NAME
    with LogSource(log) as source:
        if source.begins_with(DATABASE) and source.is_file:
            from .databases import database_kind, rows_in_database  # which is a quarter of what readers load

            notes.source = database_kind(log)
            _no_pattern(path, pattern, notes)
            rows = rows_in_database(log, notes.source, run, notes)
            yield None
            yield from samples_of(source.name, rows, unit="row", notes=notes)
            return
        # A run log may begin with anything: its readers drop what they cannot read.
        first = "" if is_ours else first_line(source)
        if is_ours or (pattern is None and first and begins_run_log(first, log)):
            _only_run(path, run)
            notes.source = "run log"
            _no_pattern(path, pattern, notes)
            samples = _run_log(source, notes)
        else:
            found = rows_in(source, log, first, pattern, run, notes)
            notes.source = found.kind
            if found.unit == "row":
                _no_pattern(path, pattern, notes)
            selection = _selection(log, source, pattern, run, found.is_chosen)
            samples = samples_of(
                source.name,
                found.rows,
                unit=found.unit,
                selection=selection,
                notes=notes,
                is_pipe=not source.is_file,
            )
        yield None
        yield from samples


def _selection(log: Path, source: LogSource, pattern: str | None, run: str | None, is_chosen: bool) -> Selection | None:
    """Of a log that can be read twice which rows count, by a reading ahead.

    Raises:
        LogError: there is no such run in it.
    """
    number = None if run is None or is_chosen else int(run) if run.isdecimal() else 0
    if not source.is_file:
        return None if number is None else sessions_in(source.name, (), number)
    with LogSource(log) as ahead:
        try:
            rows = rows_in(ahead, log, first_line(ahead), pattern, run, None).rows
        except LogError:
            return None  # it has been read before, and was well then
        return sessions_in(source.name, rows, number)


def _with_run(path: Path) -> tuple[Path, str | None]:
    """A path, and the number or name of the run in it behind a ``#``, unless that is part of the path."""
    found = _WITH_RUN.fullmatch(str(path))
    if found is None:
        return path, None
    try:
        return (path, None) if path.exists() else (Path(found[1]), found[2])
    except (OSError, ValueError):
        return path, None  # to open it says what is wrong with it


def _only_run(path: Path, run: str | None) -> None:
    if run not in (None, "1"):
        raise LogError(f"{shown_path(path)}: there is no run {run} in this log: it has 1")


def _no_pattern(path: Path, pattern: str | None, notes: ReadNotes) -> None:
    if pattern is not None:
        raise LogError(f"{shown_path(path)}: {notes.source}, no lines of text: it is read without a pattern")


def _is_directory(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError:
        return False  # a name too long, a directory that may not be entered: opening it says so


def _holds_a_log(folder: Path) -> bool:
    """Whether a directory is that of one run itself; what lies below it then is part of the run."""
    try:
        return is_run(folder) or any((folder / name).exists() for name in (FILE_NAME, STATE, LIGHTNING))
    except OSError:
        return True  # opening it says what is wrong with it


def _log_in(run_dir: Path) -> Path:
    name, log = shown_path(run_dir), run_dir / FILE_NAME
    try:
        if log.is_file():
            return log
        entries = [entry.name for entry in run_dir.iterdir()]
    except OSError as error:
        raise LogError(f"{name}: cannot be read: {error.strerror}") from None
    if FILE_NAME in entries:
        raise LogError(f"{name}: {FILE_NAME} in this directory is no regular file, or a link to nothing")
    if (state := _trainer_state_in(run_dir)) is not None:
        return state
    if LIGHTNING in entries:
        return run_dir / LIGHTNING
    below = sorted(str(file.parent.relative_to(run_dir)) for file in _event_files_below(run_dir))
    hint = f"; there are event files below it: give one of {', '.join(dict.fromkeys(below))}" if below else ""
    raise LogError(f"{name}: no {FILE_NAME} and no event files in this directory, so it is no run directory{hint}")


def _trainer_state_in(folder: Path) -> Path | None:
    """Of a checkpoint of the Hugging Face Trainer, or of the newest of several."""
    found = [folder / STATE, *folder.glob(f"checkpoint-*/{STATE}")]
    steps = {path: int(digits) for path in found if (digits := path.parent.name.rpartition("-")[2]).isdecimal()}
    return max((path for path in found if path.is_file()), key=lambda path: steps.get(path, -1), default=None)


def _has_event_files(path: Path, is_directory: bool) -> bool:
    try:
        if not is_directory:
            return EVENTS in path.name and path.is_file()
        return not (path / FILE_NAME).exists() and any(EVENTS in entry.name for entry in path.iterdir())
    except OSError:
        return False  # opening it says what is wrong with it


def _event_files(path: Path, notes: ReadNotes) -> Iterator[Sample | None]:
    yield None
    try:
        yield from read_event_files(path, notes)
    except OSError as error:
        raise LogError(f"{shown_path(path)}: cannot be read: {error.strerror}") from None


def _event_files_below(run_dir: Path) -> list[Path]:
    """A few, and never a search through a whole disk."""
    found: list[Path] = []
    for pattern in (f"*/*{EVENTS}*", f"*/*/*{EVENTS}*"):
        found += itertools.islice(run_dir.glob(pattern), _MOST_NAMED)
    return found[:_MOST_NAMED]


def _run_log(source: LogSource, notes: ReadNotes) -> Iterator[Sample]:
    file = source.seekable()
    index = RunLogIndex.of_file(Path(source.name), file)
    # One that went on from step 0 is the first, or has made the others void.
    notes.resumed_after += [after for _, after in index.sessions if after > 0]
    is_run_log = False

    def seen() -> Iterator[dict[str, Any]]:
        nonlocal is_run_log
        for record in records_in(source.name, file, index=index):
            is_run_log = is_run_log or record["type"] == "run"
            yield record

    last: int | None = None
    for sample in samples_in(source.name, seen()):
        if last is not None and sample.step < last:
            raise LogError(
                f"{source.name}: steps go backwards: {sample.step} after {last}, and no record says that the run was "
                "resumed: the log of two runs at once, or put together from two logs"
            )
        last = sample.step
        yield sample
    if last is None and not is_run_log:
        is_empty = file.seek(0, os.SEEK_END) == 0
        raise LogError(f"{source.name}: {'the log is empty' if is_empty else _NO_RECORDS}")
