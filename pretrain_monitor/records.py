"""Reading a run log: records that no later session superseded, samples, events; and following a live log."""

from __future__ import annotations

import json
import logging
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from .actions.orders import ActionRecord
from .announcing import Announcement, Announcements
from .telemetry import Event, Sample

logger = logging.getLogger(__name__)

_STEP = re.compile(rb'"step":(-?\d+)')
_RESUMED_FROM = re.compile(rb'"resumed_from":(\d{1,18})[,}]')

_LARGEST_STEP = 2**62  # what a history of steps can hold
_LONGEST_LINE = 256 << 20  # bytes
# What a record of another form raises where it is taken apart.
_BROKEN = (AttributeError, KeyError, TypeError, ValueError, OverflowError)


@dataclass(frozen=True, slots=True)
class RunLogIndex:
    """Where what is no sample lies in a run log, found without parsing the samples."""

    path: Path
    sessions: tuple[tuple[int, int], ...]  # (byte offset, resumed_from), sessions that supersede something only
    snapshots: tuple[tuple[int, int], ...]  # (byte offset, step)
    events: tuple[int, ...]  # byte offsets
    announcements: tuple[tuple[int, int], ...] = ()  # (byte offset, step)
    probes: tuple[tuple[int, int], ...] = ()  # (byte offset, step)
    actions: tuple[tuple[int, int], ...] = ()  # (byte offset, step)

    @classmethod
    def of(cls, path: Path) -> RunLogIndex:
        with path.open("rb") as file:
            return cls.of_file(path, file)

    @classmethod
    def of_file(cls, path: Path, file: BinaryIO) -> RunLogIndex:
        """The same for a log that is open already."""
        sessions, snapshots, events, announcements, probes, actions = [], [], [], [], [], []
        offset = file.seek(0)
        for raw in file:
            if raw.startswith(b'{"type":"run"'):
                if found := _RESUMED_FROM.search(raw):
                    sessions.append((offset, int(found[1])))
            elif raw.startswith(b'{"type":"snapshot"') and (found := _STEP.search(raw[:64])):
                snapshots.append((offset, int(found[1])))
            elif raw.startswith(b'{"type":"event"') and raw.endswith(b"\n"):
                events.append(offset)
            elif raw.startswith(b'{"type":"announcement"') and (found := _STEP.search(raw[:64])):
                announcements.append((offset, int(found[1])))
            elif raw.startswith(b'{"type":"probe"') and (found := _STEP.search(raw[:64])):
                probes.append((offset, int(found[1])))
            elif raw.startswith(b'{"type":"action"') and (found := _STEP.search(raw[:64])):
                actions.append((offset, int(found[1])))
            offset += len(raw)
        parts = (sessions, snapshots, events, announcements, probes, actions)
        return cls(path, *(tuple(part) for part in parts))  # type: ignore[arg-type]  # in the order of the fields

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
        record = record_of(raw)
        if record is None:
            unreadable += bool(raw.strip())
        elif not index.is_superseded(here, record.get("step", 0)):
            yield record
    if unreadable:
        plural = "line" if unreadable == 1 else "lines"
        logger.warning("%s: dropped %d %s cut off or damaged, as when a run is killed", path, unreadable, plural)


def record_of(raw: bytes) -> dict[str, Any] | None:
    """The record in a line of the log; None if it is none, or not complete yet."""
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


def read_probes(path: Path, until_step: int | None = None) -> Iterator[dict[str, Any]]:
    """What probes measured document by document, superseded rounds left out; without parsing the samples."""
    with path.open("rb") as file:
        index = RunLogIndex.of_file(path, file)
        for offset, step in index.probes:
            if (until_step is None or step <= until_step) and not index.is_superseded(offset, step):
                file.seek(offset)
                record = record_of(file.readline())
                if record is not None:
                    yield record


def read_actions(path: Path, until_step: int | None = None, *, with_superseded: bool = False) -> Iterator[ActionRecord]:
    """What was done about incidents, and what was not, without parsing the samples.

    Args:
        with_superseded: also what was done in steps that have been given up since the run last began at step 0.
    """
    with path.open("rb") as file:
        index = RunLogIndex.of_file(path, file)
        begun = max((start for start, resumed_from in index.sessions if resumed_from == 0), default=0)
        for offset, step in index.actions:
            is_wanted = offset >= begun if with_superseded else not index.is_superseded(offset, step)
            if is_wanted and (until_step is None or step <= until_step):
                file.seek(offset)
                record = record_of(file.readline())
                action = None if record is None else action_of(record)
                if action is not None:
                    yield action


def action_of(record: dict[str, Any]) -> ActionRecord | None:
    """The action in a record; None if this version cannot read it."""
    try:
        return ActionRecord.from_json(record)
    except _BROKEN:
        return None


def read_samples(path: Path) -> Iterator[Sample]:
    return samples_in(path, read_records(path))


def samples_in(
    path: Path | str, records: Iterable[dict[str, Any]], announced: Announcements | None = None
) -> Iterator[Sample]:
    """The samples among records, with what was announced; what is not in the form of one is dropped and reported.

    Args:
        announced: what waits for its sample from before these records, and afterwards what still does.
    """
    announced = Announcements() if announced is None else announced
    broken = 0
    for record in records:
        if record["type"] == "sample":
            try:
                yield announced.carried_by(_sample(record))
            except _BROKEN:
                broken += 1
        elif record["type"] == "run":
            announced.begin(record.get("resumed_from"))
        elif record["type"] == "announcement":
            said = announcement_of(record)
            if said is not None:
                announced.add(said)
            else:
                logger.warning("%s: dropped an announcement that this version cannot read", path)
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


def announcement_of(record: dict[str, Any]) -> Announcement | None:
    """The announcement in a record; None if it is damaged, or in a form that only a newer version knows."""
    try:
        return Announcement.from_json(record)
    except _BROKEN:
        return None


def sample_of(record: dict[str, Any]) -> Sample | None:
    """The sample in a record; None if it is damaged."""
    try:
        return _sample(record)
    except _BROKEN:
        return None


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
        self.has_more = False  # whether the last reading stopped at its limit
        self._file: tuple[int, int] | None = None

    def poll(self) -> list[dict[str, Any]]:
        """The records completed since the last call; an empty list if the file is not there yet.

        A file that was replaced or cut off is read from its beginning again, and counted in ``restarts``.

        Raises:
            OSError: the file is there and cannot be read.
        """
        lines = [raw for raw in self.read_lines().splitlines(keepends=True) if raw.strip()]
        records = [record for raw in lines if (record := record_of(raw)) is not None]
        self.unreadable += len(lines) - len(records)
        return records

    def read_lines(self, at_most: int = -1) -> bytes:
        """The lines completed since the last call as they are, about ``at_most`` bytes of them, one line at least.

        Raises:
            OSError: the file is there and cannot be read.
        """
        try:
            with self.path.open("rb") as file:
                if self._is_another(file):
                    self.restarts += 1
                    self.offset = 0
                file.seek(self.offset)
                data = file.read(at_most)
                self.has_more = at_most >= 0 and len(data) == at_most
                if at_most >= 0 and b"\n" not in data:
                    data += file.readline(_LONGEST_LINE)
        except FileNotFoundError:
            self.has_more = False
            return b""
        complete = data[: data.rfind(b"\n") + 1]
        if not complete and len(data) > _LONGEST_LINE:
            complete = data  # no line of ours, and never the beginning of one that could be read
        self.offset += len(complete)
        return complete

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
