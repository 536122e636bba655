"""Any readable log -> samples."""

from __future__ import annotations

import itertools
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

from ..printable import shown_path
from ..records import records_in, samples_in
from ..rundir import FILE_NAME
from ..telemetry import Sample
from .delimited import read_csv
from .errors import LogError
from .event_files import read_event_files
from .jsonl import read_jsonl
from .source import LogSource
from .text_log import read_text_log
from .trainer_state import STATE, is_trainer_state, read_trainer_state

_OUR_RECORDS = tuple(f'{{"type":"{kind}"' for kind in ("run", "sample", "event", "announcement", "snapshot", "end"))

EVENTS = ".tfevents."
_MOST_NAMED = 3
_NO_RECORDS = "it holds no sample and no record that a run began: not a run log, or a damaged one"


def read_run(path: str | Path) -> Iterator[Sample]:
    """Samples of a run, oldest first, superseded steps already dropped.

    Args:
        path: a run directory, its ``run.jsonl``, a directory with TensorBoard event files or one of these, a
            ``trainer_state.json`` or a directory with checkpoints of the Hugging Face Trainer, or a table (cells
            between commas, semicolons or tabs) or JSONL file with step, loss and any other signal, or what a program
            printed, with a step and a loss in one line; plain or gzipped. Besides files, a pipe, or ``-`` for standard
            input.

    Raises:
        LogError: no such log, not readable, not text, no loss, steps that go backwards; one line for the user.
    """
    reading = _reading(Path(path))
    next(reading)  # opens it: what is wrong with the log as such is said now, not at the first sample
    return cast(Iterator[Sample], reading)


def _reading(path: Path) -> Iterator[Sample | None]:
    """None once the log is open, then the samples; closed in the middle, it closes the log."""
    is_run_directory = _is_directory(path)
    if _has_event_files(path, is_run_directory):
        yield from _event_files(path)
        return
    log = _log_in(path) if is_run_directory else path
    is_ours = is_run_directory and log.name == FILE_NAME
    with LogSource(log) as source:
        # A run log may begin with anything: its readers drop what they cannot read.
        first = "" if is_ours else source.first_line()
        if is_ours or _begins_run_log(first, log):
            samples = _run_log(source)
        elif is_trainer_state(first, log):
            samples = read_trainer_state(source)
        elif first.startswith("{"):
            samples = read_jsonl(source)
        elif first.startswith("["):
            raise LogError(f"{source.name}: a JSON array, not a CSV or JSONL log; write one object a line")
        else:
            try:
                samples = read_csv(source)
            except LogError as refused:
                samples = read_text_log(source, first, refused)
        yield None
        yield from samples


def _is_directory(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError:
        return False  # a name too long, a directory that may not be entered: opening it says so


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


def _event_files(path: Path) -> Iterator[Sample | None]:
    yield None
    try:
        yield from read_event_files(path)
    except OSError as error:
        raise LogError(f"{shown_path(path)}: cannot be read: {error.strerror}") from None


def _event_files_below(run_dir: Path) -> list[Path]:
    """A few, and never a search through a whole disk."""
    found: list[Path] = []
    for pattern in (f"*/*{EVENTS}*", f"*/*/*{EVENTS}*"):
        found += itertools.islice(run_dir.glob(pattern), _MOST_NAMED)
    return found[:_MOST_NAMED]


def _begins_run_log(first_line: str, path: Path) -> bool:
    if first_line.startswith(_OUR_RECORDS):
        return True
    # A run log whose first line was cut off, and not somebody's JSONL file of the same name.
    return path.name in (FILE_NAME, f"{FILE_NAME}.gz") and not _is_object(first_line)


def _is_object(line: str) -> bool:
    try:
        return isinstance(json.loads(line), dict)
    except (ValueError, RecursionError):
        return False


def _run_log(source: LogSource) -> Iterator[Sample]:
    file = source.seekable()
    is_run_log = False

    def seen() -> Iterator[dict[str, Any]]:
        nonlocal is_run_log
        for record in records_in(source.name, file):
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
