"""What a log holds beside its samples, and whether it can be read twice."""

from __future__ import annotations

import stat
from pathlib import Path

from ..printable import shown_path
from ..records import RunLogIndex, event_of, record_of
from ..run_settings import run_log
from .errors import ExplainError


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


def ids_told(path: Path) -> set[str] | None:
    """Ids of the incidents in a run log, superseded ones left out; None if ``path`` is no run log."""
    log = run_log(path)
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
