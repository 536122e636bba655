"""The run log: append-only JSON lines that survive the process which writes them.

``run.jsonl`` holds one record a line: ``run`` opens a session, ``sample``, ``event``, ``announcement``, ``probe``,
``action`` and ``snapshot`` records follow, and ``end`` closes it.
A session that resumes from step k supersedes every earlier record past step k; nothing is ever rewritten.
"""

from __future__ import annotations

import logging
import os
import time
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .announcing import Announcement
from .lines import line, sample_line
from .rundir import FILE_NAME, RunDirectoryError, RunDirectoryLock, is_deleted
from .telemetry import Event, Sample

logger = logging.getLogger(__name__)

FORMAT_VERSION = 1

# Lines kept in memory while the disk refuses them: some hours of a run at one step a second.
MAX_PENDING_LINES = 20_000
_RETRY_EVERY_LINES = 50

_LOOK_EVERY_S = 1.0  # looking whether the files are still there costs as much as writing a line


class RunLog:
    """Writes samples and events of one run, one system call per step.

    Args:
        run_dir: made if it does not exist.

    Raises:
        RunDirectoryError: the directory cannot be written, or belongs to another live process.
    """

    def __init__(self, run_dir: str | Path) -> None:
        self.path = Path(run_dir) / FILE_NAME
        self.was_deleted = False  # the file of this session, so that there is a new one without the steps before
        self._is_closed = False
        self._facts: dict[str, Any] = {}
        self._pending: deque[bytes] = deque(maxlen=MAX_PENDING_LINES)
        self._lost_lines = 0
        self._lines_until_retry = 0
        self._last_step = 0
        self._open()
        self._expect_all_is_well()

    def begin(self, resumed_from: int | None, **facts: Any) -> None:
        """Open a session; everything in the file past step ``resumed_from`` is superseded from here on."""
        self._facts = facts
        self._last_step = self._step_at_look = resumed_from or 0
        self._append(_session(resumed_from, facts))

    def write(self, sample: Sample, events: Sequence[Event] = ()) -> None:
        """Append a sample and the events it caused, in one write."""
        data = sample_line(sample)
        if events:
            data += b"".join(line("event", event.to_json()) for event in events)
        self._append(data)
        self._last_step = sample.step

    def write_events(self, events: Sequence[Event]) -> None:
        if events:
            self._append(b"".join(line("event", event.to_json()) for event in events))

    def write_announcement(self, announcement: Announcement) -> None:
        """Append what a human said; a sample still to come is to carry it."""
        self._append(line("announcement", {**announcement.to_json(), "time": time.time()}))

    def write_probe(self, record: dict[str, Any]) -> None:
        """Append what a probe measured document by document; ``step`` comes first in the record."""
        self._append(line("probe", record))

    def write_action(self, record: dict[str, Any]) -> None:
        """Append what was done about an incident, or why nothing was; ``step`` comes first in the record."""
        self._append(line("action", record))

    def write_snapshot(self, step: int, key: dict[str, Any], state: dict[str, Any]) -> None:
        """Append the detector's state after ``step``; ``key`` says under which settings it was made."""
        self._append(line("snapshot", {"step": step, "key": key, "state": state}))

    def end(self, step: int, reason: str) -> None:
        self._next_look = 0.0
        self._append(line("end", {"step": step, "time": time.time(), "reason": reason}))

    def close(self) -> None:
        """Flush what the disk refused so far, if it takes it now, and give the directory free."""
        if self._is_closed:
            return
        self._is_closed = True
        self._lines_until_retry = 0
        self._retry()
        if self._pending or self._lost_lines:
            lost = len(self._pending) + self._lost_lines
            logger.error("%s: the disk refused the last %d lines; they are lost", self.path, lost)
        self._file.close()
        self._lock.release()

    def _append(self, data: bytes) -> None:
        if self._pending:
            self._defer(data)
            self._retry()
            return
        try:
            if time.monotonic() >= self._next_look:
                self._look()
            self._write_all(data)
            self._since_look.append(data)
        except (OSError, RunDirectoryError) as error:
            logger.error(
                "%s: cannot write (%s); training goes on, telemetry is kept in memory and written when the disk "
                "takes it again",
                self.path,
                error.strerror if isinstance(error, OSError) else error,
            )
            self._lines_until_retry = _RETRY_EVERY_LINES
            self._defer(data)

    def _retry(self) -> None:
        self._lines_until_retry -= 1
        if self._lines_until_retry > 0 or not self._pending:
            return
        try:
            self._look()
            while self._pending:
                self._write_all(self._pending[0])
                self._pending.popleft()
            logger.info("%s: writing again, nothing was lost", self.path)
        except (OSError, RunDirectoryError):
            self._lines_until_retry = _RETRY_EVERY_LINES

    def _defer(self, data: bytes) -> None:
        if len(self._pending) == self._pending.maxlen:
            self._lost_lines += 1
        self._pending.append(data)

    def _open(self) -> None:
        self._lock = RunDirectoryLock(self.path.parent)
        try:
            # Unbuffered: a line is with the operating system when write() returns, and outlives kill -9.
            self._file = self.path.open("ab", buffering=0)
            self._ends_torn = _ends_torn(self.path)
        except OSError as error:
            self._lock.release()
            raise self._lock.error(f"cannot be written: {error.strerror}") from None

    def _look(self) -> None:
        """Make sure that the log and its lock are still there: nothing fails when somebody has deleted them.

        Raises:
            RunDirectoryError: they are not, and cannot be made again.
        """
        if self._file.closed or is_deleted(self._file, self.path) or self._lock.is_gone():
            self._file.close()
            self._lock.release()
            self._open()
            logger.error("%s or its lock was deleted while the run goes on; it goes on in a new one", self.path)
            self.was_deleted = True
            # What was written since the last look is repeated here, and superseded in case it is there already.
            session = _session(self._step_at_look, {**self._facts, "note": "the log was deleted"})
            self._write_all(session + b"".join(self._since_look))
        self._expect_all_is_well()

    def _expect_all_is_well(self) -> None:
        self._next_look = time.monotonic() + _LOOK_EVERY_S
        self._step_at_look = self._last_step
        self._since_look: list[bytes] = []

    def _write_all(self, data: bytes) -> None:
        if self._ends_torn:
            # A line that was cut off stays in the file as one unreadable line; readers drop and report it.
            data = b"\n" + data
        written = self._file.write(data)
        if written != len(data):
            self._ends_torn = True
            raise OSError(28, "only a part of the line fitted")
        self._ends_torn = False


def _session(resumed_from: int | None, facts: dict[str, Any]) -> bytes:
    record = {"version": FORMAT_VERSION, "resumed_from": resumed_from, "time": time.time(), **facts}
    return line("run", record)


def _ends_torn(path: Path) -> bool:
    with path.open("rb") as file:
        if file.seek(0, os.SEEK_END) == 0:
            return False
        file.seek(-1, os.SEEK_END)
        return file.read(1) != b"\n"
