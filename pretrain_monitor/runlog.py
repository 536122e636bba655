"""The run log: append-only JSON lines that survive the process which writes them.

``run.jsonl`` holds one record a line: ``run`` opens a session, ``sample``, ``event`` and ``snapshot`` records follow,
and ``end`` closes it.
A session that resumes from step k supersedes every earlier record past step k; nothing is ever rewritten.
"""

from __future__ import annotations

import json
import logging
import os
import re
import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .rundir import RunDirectoryLock
from .telemetry import Event, Sample, spell_nonfinite

logger = logging.getLogger(__name__)

FILE_NAME = "run.jsonl"
FORMAT_VERSION = 1

# Lines kept in memory while the disk refuses them: some hours of a run at one step a second.
MAX_PENDING_LINES = 20_000
_RETRY_EVERY_LINES = 50

# Made once: json.dumps with options makes one for each call.
_ENCODER = json.JSONEncoder(separators=(",", ":"), allow_nan=False, default=str)

_STEP = re.compile(rb'"step":(-?\d+)')
_RESUMED_FROM = re.compile(rb'"resumed_from":(\d+)')


class RunLog:
    """Writes samples and events of one run, one system call per step.

    Args:
        run_dir: made if it does not exist.

    Raises:
        RunDirectoryError: the directory cannot be written, or belongs to another live process.
    """

    def __init__(self, run_dir: str | Path) -> None:
        self.path = Path(run_dir) / FILE_NAME
        self._lock = RunDirectoryLock(run_dir)
        try:
            # Unbuffered: a line is with the operating system when write() returns, and outlives kill -9.
            self._file = self.path.open("ab", buffering=0)
            self._ends_torn = _ends_torn(self.path)
        except OSError as error:
            self._lock.release()
            raise self._lock.error(f"cannot be written: {error.strerror}") from None
        self._pending: deque[bytes] = deque(maxlen=MAX_PENDING_LINES)
        self._lost_lines = 0
        self._lines_until_retry = 0

    def begin(self, resumed_from: int | None, **facts: Any) -> None:
        """Open a session; everything in the file past step ``resumed_from`` is superseded from here on."""
        self._append(
            _line("run", {"version": FORMAT_VERSION, "resumed_from": resumed_from, "time": time.time(), **facts})
        )

    def write(self, sample: Sample, events: Sequence[Event] = ()) -> None:
        """Append a sample and the events it caused, in one write."""
        data = _line("sample", sample.to_json())
        if events:
            data += b"".join(_line("event", event.to_json()) for event in events)
        self._append(data)

    def write_events(self, events: Sequence[Event]) -> None:
        if events:
            self._append(b"".join(_line("event", event.to_json()) for event in events))

    def write_snapshot(self, step: int, key: dict[str, Any], state: dict[str, Any]) -> None:
        """Append the detector's state after ``step``; ``key`` says under which settings it was made."""
        self._append(_line("snapshot", {"step": step, "key": key, "state": state}))

    def end(self, step: int, reason: str) -> None:
        self._append(_line("end", {"step": step, "time": time.time(), "reason": reason}))

    def close(self) -> None:
        """Flush what the disk refused so far, if it takes it now, and give the directory free."""
        if self._file.closed:
            return
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
            self._write_all(data)
        except OSError as error:
            logger.error(
                "%s: cannot write (%s); training goes on, telemetry is kept in memory and written when the disk "
                "takes it again",
                self.path,
                error.strerror,
            )
            self._lines_until_retry = _RETRY_EVERY_LINES
            self._defer(data)

    def _retry(self) -> None:
        self._lines_until_retry -= 1
        if self._lines_until_retry > 0 or not self._pending:
            return
        try:
            while self._pending:
                self._write_all(self._pending[0])
                self._pending.popleft()
            logger.info("%s: writing again, nothing was lost", self.path)
        except OSError:
            self._lines_until_retry = _RETRY_EVERY_LINES

    def _defer(self, data: bytes) -> None:
        if len(self._pending) == self._pending.maxlen:
            self._lost_lines += 1
        self._pending.append(data)

    def _write_all(self, data: bytes) -> None:
        if self._ends_torn:
            # A line that was cut off stays in the file as one unreadable line; readers drop and report it.
            data = b"\n" + data
        written = self._file.write(data)
        if written != len(data):
            self._ends_torn = True
            raise OSError(28, "only a part of the line fitted")
        self._ends_torn = False


def _line(kind: str, record: dict[str, Any]) -> bytes:
    # "type" and "step" come first, so that an index needs no JSON parsing.
    record = {"type": kind, **record}
    try:
        text = _ENCODER.encode(record)
    except ValueError:
        text = _ENCODER.encode(spell_nonfinite(record))
    return text.encode() + b"\n"


def _ends_torn(path: Path) -> bool:
    with path.open("rb") as file:
        if file.seek(0, os.SEEK_END) == 0:
            return False
        file.seek(-1, os.SEEK_END)
        return file.read(1) != b"\n"


@dataclass(frozen=True, slots=True)
class RunLogIndex:
    """Where sessions and snapshots lie in a run log, found without parsing the samples."""

    path: Path
    sessions: tuple[tuple[int, int], ...]  # (byte offset, resumed_from), sessions that supersede something only
    snapshots: tuple[tuple[int, int], ...]  # (byte offset, step)
    events: tuple[int, ...]  # byte offsets

    @classmethod
    def of(cls, path: Path) -> RunLogIndex:
        sessions, snapshots, events = [], [], []
        offset = 0
        with path.open("rb") as file:
            for line in file:
                if line.startswith(b'{"type":"run"'):
                    if found := _RESUMED_FROM.search(line):
                        sessions.append((offset, int(found[1])))
                elif line.startswith(b'{"type":"snapshot"') and (found := _STEP.search(line[:64])):
                    snapshots.append((offset, int(found[1])))
                elif line.startswith(b'{"type":"event"') and line.endswith(b"\n"):
                    events.append(offset)
                offset += len(line)
        return cls(path, tuple(sessions), tuple(snapshots), tuple(events))

    def is_superseded(self, offset: int, step: int) -> bool:
        return any(start > offset and step > resumed_from for start, resumed_from in self.sessions)

    def last_snapshot(self, step: int) -> int:
        """Byte offset of the last snapshot that holds at ``step``; 0, the start of the log, if there is none."""
        usable = [o for o, made_at in self.snapshots if made_at <= step and not self.is_superseded(o, made_at)]
        return max(usable, default=0)


def read_records(path: Path, *, start: int = 0, index: RunLogIndex | None = None) -> Iterator[dict[str, Any]]:
    """Records of a run log from byte ``start`` on, superseded ones left out, unreadable lines dropped and reported."""
    index = index or RunLogIndex.of(path)
    unreadable = 0
    with path.open("rb") as file:
        offset = file.seek(start)
        for line in file:
            here, offset = offset, offset + len(line)
            record = _parse(line)
            if record is None:
                unreadable += bool(line.strip())
            elif not index.is_superseded(here, record.get("step", 0)):
                yield record
    if unreadable:
        plural = "line" if unreadable == 1 else "lines"
        logger.warning("%s: dropped %d %s cut off when the run was killed", path, unreadable, plural)


def _parse(line: bytes) -> dict[str, Any] | None:
    # A line without its end is still being written, even if it happens to parse.
    if not line.endswith(b"\n"):
        return None
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(record, dict) or "type" not in record:
        return None
    return record if isinstance(record.get("step", 0), int) else None


def read_samples(path: Path) -> Iterator[Sample]:
    return samples_in(path, read_records(path))


def samples_in(path: Path, records: Iterable[dict[str, Any]]) -> Iterator[Sample]:
    """The samples among records; what is not in the form of one is dropped and reported."""
    broken = 0
    for record in records:
        if record["type"] == "sample":
            try:
                yield Sample.from_json(record)
            except (AttributeError, KeyError, TypeError, ValueError):
                broken += 1
    if broken:
        logger.warning("%s: dropped %d records that are no samples", path, broken)


def read_events(path: Path) -> Iterator[Event]:
    return (Event.from_json(record) for record in read_records(path) if record["type"] == "event")


class RunLogTail:
    """Follows a run log that another process writes.

    >>> tail = RunLogTail(Path("runs/x/run.jsonl"))     # doctest: +SKIP
    >>> for record in tail.poll():                      # doctest: +SKIP
    ...     print(record["type"])
    """

    def __init__(self, path: Path, *, offset: int = 0) -> None:
        self.path = path
        self.offset = offset

    def poll(self) -> list[dict[str, Any]]:
        """The records completed since the last call; an empty list if the file is not there yet."""
        try:
            with self.path.open("rb") as file:
                file.seek(self.offset)
                data = file.read()
        except FileNotFoundError:
            return []
        complete = data[: data.rfind(b"\n") + 1]
        self.offset += len(complete)
        return [record for line in complete.splitlines(keepends=True) if (record := _parse(line)) is not None]
