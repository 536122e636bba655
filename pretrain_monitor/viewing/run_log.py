"""Follows a run log into a ``RunContent``, a piece at a time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..records import RunLogTail, action_of, announcement_of, event_of, record_of, sample_of
from . import cache
from .content import RunContent
from .finite import finite
from .sample_lines import SampleBlock, SampleLines
from .sessions import End

_PIECE = 64 << 10  # bytes; one odd line among samples slows down so many
_SNAPSHOT = b'{"type":"snapshot"'
_TOKENS, _TIMES = "", "\n"  # no signals of these names come from anywhere


class RunLogFollower:
    """Reads what a run log holds, and goes on reading while it is written.

    Args:
        path: of the ``run.jsonl``.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.content = RunContent()
        self.tail = RunLogTail(path)
        self.passed_over = 0  # lines that were damaged, of a newer version, or of steps that went backwards
        self._lines = SampleLines()
        self._restarts = 0
        self._last = -1
        self._odd: list[bytes] = []  # lines that were no plain samples, for the cache
        self._odd_bytes = 0
        self._cached_bytes = 0
        self._load()

    def read(self, at_most: int = 1 << 20) -> bool:
        """Take in about ``at_most`` bytes; whether there may be more.

        Raises:
            OSError: the log is there and cannot be read.
        """
        data = self.tail.read_lines(at_most)
        if self.tail.restarts > self._restarts:
            self._restarts = self.tail.restarts
            self._start_over()
        start = 0
        while start < len(data):
            stop = data.rfind(b"\n", start, start + _PIECE) + 1 or data.find(b"\n", start) + 1 or len(data)
            self._take(data[start:stop])
            start = stop
        return self.tail.has_more

    def _start_over(self) -> None:
        """Another file has taken the place of the log."""
        version, epoch = self.content.version, self.content.epoch
        self.content = RunContent()
        self.content.version, self.content.epoch = version + 1, epoch + 1
        self._lines = SampleLines()
        self._last = -1
        self._odd, self._odd_bytes, self._cached_bytes = [], 0, 0

    def save(self) -> None:
        """Write what has been read beside the log, if that makes it open faster; not while it is being read."""
        size = self.tail.offset
        # What was thinned here, as beside many other runs, need not be so the next time.
        if self.content.is_thinned or not cache.is_worth(size, self._odd_bytes, self._cached_bytes):
            return
        self._cached_bytes = size  # also if it cannot be written: to try again and again would be no help
        content = self.content
        series = {_TOKENS: content.tokens, _TIMES: content.times, **content.series}
        cache.write(self.path, cache.Columns(size, content.samples, self._last, b"".join(self._odd), series))

    def _load(self) -> None:
        found = cache.read(self.path)
        if found is None:
            return
        for line in found.odd_lines.splitlines(keepends=True):
            # Its numbers are in the columns: here it says what probes found, and what was taken back when.
            if (record := record_of(line)) is not None:
                self._take_record(record)
        content = self.content
        series = dict(found.series)
        content.tokens, content.times = series.pop(_TOKENS, content.tokens), series.pop(_TIMES, content.times)
        content.series = series
        content.samples = found.samples
        content.version += 1
        self._last = found.last_step
        self._odd, self._odd_bytes = [found.odd_lines], len(found.odd_lines)
        self.tail.offset = self._cached_bytes = found.offset

    def _take(self, piece: bytes) -> None:
        block = self._lines.read(piece)
        if block is not None and self._goes_on(block):
            self.content.add_block(block)
            self._last = int(block.steps[-1])
            return
        lines = piece.splitlines(keepends=True)
        for line in lines:
            if line.startswith(_SNAPSHOT):
                continue
            record = record_of(line)
            if record is None or not self._take_record(record):
                self.passed_over += bool(line.strip())
            elif record["type"] != "sample" or "meta" in record:
                self._odd.append(line)
                self._odd_bytes += len(line)
        # The last one: what it looks like those that follow will.
        self._lines.learn(lines[-1])

    def _goes_on(self, block: SampleBlock) -> bool:
        steps = block.steps
        return bool(steps[0] > self._last and (steps[1:] > steps[:-1]).all())

    def _take_record(self, record: dict[str, Any]) -> bool:
        """Whether the record could be read."""
        kind, content = record["type"], self.content
        if kind == "sample":
            sample = sample_of(record)
            if sample is None or sample.step < self._last:
                return False
            self._last = sample.step
            content.add_sample(sample)
        elif kind == "event":
            event = event_of(record)
            if event is None:
                return False
            content.add_event(event)
        elif kind == "announcement":
            said = announcement_of(record)
            if said is None:
                return False
            content.add_announcement(said)
        elif kind == "action":
            action = action_of(record)
            if action is None:
                return False
            content.add_action(action)
        elif kind == "run":
            self._begin(record)
        elif kind == "end":
            content.finish(End(record.get("step", 0), _time(record), str(record.get("reason") or "")))
        return True

    def _begin(self, record: dict[str, Any]) -> None:
        after = record.get("resumed_from")
        after = after if type(after) is int and after >= 0 else None
        self.content.begin_session(after, _time(record), finite(record.get("max_grad_norm")))
        if after is not None:
            self._last = min(self._last, after)


def _time(record: dict[str, Any]) -> float | None:
    return finite(record.get("time"))
