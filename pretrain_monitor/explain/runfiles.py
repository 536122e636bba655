"""What a run directory holds beside its samples: the settings it was watched with, and the incidents it was told."""

from __future__ import annotations

import stat
from pathlib import Path

from ..printable import shown_path
from ..records import RunLogIndex, event_of, record_of
from ..runlog import FILE_NAME
from .errors import ExplainError

CONFIG_NAME = "config.yaml"


def check_readable_twice(path: Path) -> None:
    """Refuse what can be read only once; what is not there at all is for the reader to say.

    Raises:
        ExplainError: standard input, or a pipe.
    """
    try:
        is_once = str(path) in ("-", "/dev/stdin") or stat.S_ISFIFO(path.stat().st_mode)
    except (OSError, ValueError):
        return
    if is_once:
        name = "standard input" if str(path) in ("-", "/dev/stdin") else shown_path(path)
        raise ExplainError(f"{name}: a log is read twice to explain an incident, and a pipe only once: save it first")


def own_settings(path: Path) -> Path | None:
    """The settings as resolved when the run was watched, if ``path`` is a run directory or its log."""
    log = _run_log(path)
    config = log.with_name(CONFIG_NAME) if log is not None else None
    return config if config is not None and config.is_file() else None


def ids_told(path: Path) -> set[str] | None:
    """Ids of the incidents in a run log, superseded ones left out; None if ``path`` is no run log."""
    log = _run_log(path)
    if log is None:
        return None
    index = RunLogIndex.of(log)
    found = set()
    with log.open("rb") as file:
        for offset in index.events:
            file.seek(offset)
            record = record_of(file.readline())
            if record is None or index.is_superseded(offset, record.get("step", 0)):
                continue
            if (event := event_of(record)) is not None:
                found.add(event.incident_id)
    return found


def _run_log(path: Path) -> Path | None:
    try:
        log = path / FILE_NAME if path.is_dir() else path
        return log if log.name == FILE_NAME and log.is_file() else None
    except OSError:
        return None  # to open it says what is wrong with it
