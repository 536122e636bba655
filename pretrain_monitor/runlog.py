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
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from .lines import line, sample_line
from .rundir import RunDirectoryError, RunDirectoryLock, is_deleted
from .telemetry import Event, Sample

logger = logging.getLogger(__name__)

FILE_NAME = "run.jsonl"
FORMAT_VERSION = 1

# Lines kept in memory while the disk refuses them: some hours of a run at one step a second.
MAX_PENDING_LINES = 20_000
_RETRY_EVERY_LINES = 50

_LOOK_EVERY_S = 1.0  # looking whether the files are still there costs as much as writing a line

_STEP = re.compile(rb'"step":(-?\d+)')
_RESUMED_FROM = re.compile(rb'"resumed_from":(\d{1,18})[,}]')

_LARGEST_STEP = 2**62  # what a history of steps can hold
# What a record of another form raises where it is taken apart.
_BROKEN = (AttributeError, KeyError, TypeError, ValueError, OverflowError)


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


@dataclass(frozen=True, slots=True)
class RunLogIndex:
    """Where sessions and snapshots lie in a run log, found without parsing the samples."""

    path: Path
    sessions: tuple[tuple[int, int], ...]  # (byte offset, resumed_from), sessions that supersede something only
    snapshots: tuple[tuple[int, int], ...]  # (byte offset, step)
    events: tuple[int, ...]  # byte offsets

    @classmethod
    def of(cls, path: Path) -> RunLogIndex:
        with path.open("rb") as file:
            return cls.of_file(path, file)

    @classmethod
    def of_file(cls, path: Path, file: BinaryIO) -> RunLogIndex:
        """The same for a log that is open already."""
        sessions, snapshots, events = [], [], []
        offset = file.seek(0)
        for raw in file:
            if raw.startswith(b'{"type":"run"'):
                if found := _RESUMED_FROM.search(raw):
                    sessions.append((offset, int(found[1])))
            elif raw.startswith(b'{"type":"snapshot"') and (found := _STEP.search(raw[:64])):
                snapshots.append((offset, int(found[1])))
            elif raw.startswith(b'{"type":"event"') and raw.endswith(b"\n"):
                events.append(offset)
            offset += len(raw)
        return cls(path, tuple(sessions), tuple(snapshots), tuple(events))

    def is_superseded(self, offset: int, step: int) -> bool:
        return any(start > offset and step > resumed_from for start, resumed_from in self.sessions)

    def last_snapshot(self, step: int) -> int:
        """Byte offset of the last snapshot that holds at ``step``; 0, the start of the log, if there is none."""
        usable = [o for o, made_at in self.snapshots if made_at <= step and not self.is_superseded(o, made_at)]
        return max(usable, default=0)


def read_records(path: Path, *, start: int = 0, index: RunLogIndex | None = None) -> Iterator[dict[str, Any]]:
    """Records of a run log from byte ``start`` on, superseded ones left out, unreadable lines dropped and reported."""
    with path.open("rb") as file:
        yield from records_in(path, file, start=start, index=index)


def records_in(
    path: Path | str, file: BinaryIO, *, start: int = 0, index: RunLogIndex | None = None
) -> Iterator[dict[str, Any]]:
    """The same for a log that is open already; ``path`` is what it is called in messages."""
    index = index or RunLogIndex.of_file(Path(path), file)
    unreadable = 0
    offset = file.seek(start)
    for raw in file:
        here, offset = offset, offset + len(raw)
        record = _parse(raw)
        if record is None:
            unreadable += bool(raw.strip())
        elif not index.is_superseded(here, record.get("step", 0)):
            yield record
    if unreadable:
        plural = "line" if unreadable == 1 else "lines"
        logger.warning("%s: dropped %d %s cut off or damaged, as when a run is killed", path, unreadable, plural)


def _parse(raw: bytes) -> dict[str, Any] | None:
    # A line without its end is still being written, even if it happens to parse.
    if not raw.endswith(b"\n"):
        return None
    try:
        record = json.loads(raw)
    except (ValueError, RecursionError):
        return None
    if not isinstance(record, dict) or not isinstance(record.get("type"), str):
        return None
    step = record.get("step", 0)
    return record if type(step) is int and abs(step) < _LARGEST_STEP else None


def read_samples(path: Path) -> Iterator[Sample]:
    return samples_in(path, read_records(path))


def samples_in(path: Path | str, records: Iterable[dict[str, Any]]) -> Iterator[Sample]:
    """The samples among records; what is not in the form of one is dropped and reported."""
    broken = 0
    for record in records:
        if record["type"] == "sample":
            try:
                yield _sample(record)
            except _BROKEN:
                broken += 1
    if broken:
        logger.warning("%s: dropped %d records that are no samples", path, broken)


def read_events(path: Path) -> Iterator[Event]:
    """The events of a run log; what this version cannot read is dropped and reported."""
    broken = 0
    for record in read_records(path):
        if record["type"] == "event":
            event = event_of(record)
            if event is not None:
                yield event
            else:
                broken += 1
    if broken:
        logger.warning("%s: dropped %d records that are no events this version can read", path, broken)


def event_of(record: dict[str, Any]) -> Event | None:
    """The event in a record; None if it is damaged, or of a kind that only a newer version knows."""
    try:
        event = Event.from_json(record)
    except _BROKEN:
        return None
    incident = event.incident
    texts = (event.incident_id, incident.id, incident.message, incident.advice, *incident.signals)
    steps = (event.step, incident.onset_step, incident.detected_step, incident.peak_step, incident.end_step or 0)
    # What prints them formats steps as numbers and names the leading signal.
    is_whole = incident.signals and all(isinstance(text, str) for text in texts) and all(type(s) is int for s in steps)
    return event if is_whole and isinstance(incident.evidence, Mapping) else None


def _sample(record: dict[str, Any]) -> Sample:
    sample = Sample.from_json(record)
    if sample.meta is not None and not isinstance(sample.meta, Mapping):
        raise TypeError("meta holds no facts by name")
    if not (sample.tokens_seen is None or isinstance(sample.tokens_seen, int)):
        raise TypeError("tokens are counted")
    if not (sample.time is None or isinstance(sample.time, float | int)):
        raise TypeError("time is a number of seconds")
    return sample


class RunLogTail:
    """Follows a run log that another process writes.

    >>> tail = RunLogTail(Path("runs/x/run.jsonl"))     # doctest: +SKIP
    >>> for record in tail.poll():                      # doctest: +SKIP
    ...     print(record["type"])
    """

    def __init__(self, path: Path, *, offset: int = 0) -> None:
        self.path = path
        self.offset = offset
        self.restarts = 0  # how often another file had taken the place of the log, or its content was gone
        self.unreadable = 0  # lines that were no records
        self._file: tuple[int, int] | None = None

    def poll(self) -> list[dict[str, Any]]:
        """The records completed since the last call; an empty list if the file is not there yet.

        A file that was replaced or cut off is read from its beginning again, and counted in ``restarts``.

        Raises:
            OSError: the file is there and cannot be read.
        """
        try:
            with self.path.open("rb") as file:
                if self._is_another(file):
                    self.restarts += 1
                    self.offset = 0
                file.seek(self.offset)
                data = file.read()
        except FileNotFoundError:
            return []
        complete = data[: data.rfind(b"\n") + 1]
        self.offset += len(complete)
        lines = [raw for raw in complete.splitlines(keepends=True) if raw.strip()]
        records = [record for raw in lines if (record := _parse(raw)) is not None]
        self.unreadable += len(lines) - len(records)
        return records

    def _is_another(self, file: BinaryIO) -> bool:
        facts = os.fstat(file.fileno())
        before, self._file = self._file, (facts.st_dev, facts.st_ino)
        if before not in (None, self._file) or facts.st_size < self.offset:
            return True
        if not self.offset:
            return False
        # Cut off and already longer than before: then a line hardly ever ends where the last one ended.
        file.seek(self.offset - 1)
        return file.read(1) != b"\n"
