"""How a run stands, from its log, without reading every sample: a glance at a directory of long runs is quick."""

from __future__ import annotations

import re
import statistics
from itertools import pairwise
from pathlib import Path
from typing import Any

from ..records import RunLogTail, event_of, record_of
from ..telemetry import Event, Incident, in_order
from .finite import finite
from .sessions import End

# How the lines begin that are read; nearly all of a log are samples.
_SNAPSHOT = b'{"type":"snapshot"'
_READ = tuple(b"\n" + start for start in (b'{"type":"run"', b'{"type":"event"', b'{"type":"end"', _SNAPSHOT))
_STEP = re.compile(rb'"step":(\d{1,18})')
_SAMPLE = b'{"type":"sample"'
_NEWEST = 32 << 10  # bytes in which the newest samples are looked for
_MOST_INCIDENTS = 20_000


class RunSummary:
    """Follows a run log for its incidents, its newest sample and its end.

    Args:
        path: of the ``run.jsonl``.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.tail = RunLogTail(path)
        self._restarts = 0
        self.epoch = 0  # grows whenever something was taken back
        self._start_over()

    def _start_over(self) -> None:
        self.step: int | None = None
        self.tokens_seen: int | None = None
        self.time: float | None = None  # of the newest sample, seconds since the epoch
        self.interval_s: float | None = None  # usual time between two of the newest samples
        self.began: float | None = None  # the newest session
        self.end: End | None = None
        self.epoch += 1
        self.sessions: list[tuple[int, int]] = []  # (byte offset, resumed_from) of those that took something back
        self.snapshots: list[tuple[int, int]] = []  # (byte offset, step) of those that hold
        self._events: dict[str, Event] = {}
        self._before: dict[str, list[Event]] = {}  # earlier states, for a session that takes steps back

    @property
    def incidents(self) -> list[Incident]:
        """In their latest state, in order of onset."""
        return in_order([event.incident for event in self._events.values()])

    def read(self, at_most: int = 4 << 20) -> bool:
        """Take in about ``at_most`` bytes; whether there may be more.

        Raises:
            OSError: the log is there and cannot be read.
        """
        data = self.tail.read_lines(at_most)
        base = self.tail.offset - len(data)
        if self.tail.restarts > self._restarts:
            self._restarts = self.tail.restarts
            self._start_over()
        start = 0
        for begin in _places(data):
            stop = data.find(b"\n", begin) + 1
            self._take_samples(data[start:begin])
            start = stop
            line = data[begin:stop]
            if line.startswith(_SNAPSHOT):
                # Its state is long, and nobody but a replay needs it.
                if found := _STEP.search(line[:64]):
                    self.snapshots.append((base + begin, int(found[1])))
            elif (record := record_of(line)) is not None:
                self._take(record, base + begin)
        self._take_samples(data[start:])
        return self.tail.has_more

    def _take_samples(self, lines: bytes) -> None:
        """The newest of many; of the others nothing is to be known here."""
        newest = []
        for line in lines[-_NEWEST:].splitlines(keepends=True)[-64:]:
            record = record_of(line) if line.startswith(_SAMPLE) else None
            if record is not None:
                newest.append(record)
        if not newest:
            return
        self.end = None
        self.step = newest[-1].get("step")
        times = [time for record in newest if (time := finite(record.get("time"))) is not None]
        if times:
            self.time = times[-1]
        for record in reversed(newest):
            if type(seen := record.get("tokens_seen")) is int:
                self.tokens_seen = seen
                break
        steps = [b - a for a, b in pairwise(times) if b >= a]
        if len(steps) >= 4:
            self.interval_s = statistics.median(steps)

    def _take(self, record: dict[str, Any], offset: int) -> None:
        kind = record["type"]
        if kind == "event":
            event = event_of(record)
            if event is not None:
                self._remember(event)
        elif kind == "end":
            self.end = End(record.get("step", 0), finite(record.get("time")), str(record.get("reason") or ""))
        else:
            self._begin(record, offset)

    def _remember(self, event: Event) -> None:
        if event.incident_id in self._events:
            states = self._before.setdefault(event.incident_id, [])
            states.append(self._events[event.incident_id])
            del states[:-8]
        elif len(self._events) >= _MOST_INCIDENTS:
            oldest = next(iter(self._events))
            del self._events[oldest]
            self._before.pop(oldest, None)
        self._events[event.incident_id] = event

    def _begin(self, record: dict[str, Any], offset: int) -> None:
        self.end = None
        self.began = finite(record.get("time"))
        after = record.get("resumed_from")
        if type(after) is not int or after < 0:
            return
        self.epoch += 1
        self.sessions.append((offset, after))
        self.snapshots = [one for one in self.snapshots if one[1] <= after]
        if self.step is not None and self.step > after:
            self.step, self.tokens_seen = after or None, None
        kept = {}
        for name, event in self._events.items():
            states = [state for state in (*self._before.get(name, ()), event) if state.step <= after]
            if states:
                kept[name] = states[-1]
                self._before[name] = states[:-1]
        self._events = kept


def _places(data: bytes) -> list[int]:
    """Where the lines begin that are no samples; by plain search, which is ten times as fast as an expression."""
    places = [0] if any(data.startswith(start[1:]) for start in _READ) else []
    for start in _READ:
        place = data.find(start)
        while place >= 0:
            places.append(place + 1)
            place = data.find(start, place + len(start))
    return sorted(places)
