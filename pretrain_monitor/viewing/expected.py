"""What was expected of loss and gradient norm at each step: the detector replayed, from one snapshot to the next.

The run log holds what came, not what was expected. A snapshot holds the detector's whole state, so each stretch between
two of them can be replayed by itself, and exactly: first the one that somebody looks at.
"""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..config import MonitorConfig
from ..detection.detector import STATE_VERSION, InstabilityDetector
from ..records import RunLogIndex, RunLogTail, record_of, samples_in
from ..telemetry import Sample
from .series import Floats, Ints, Series
from .summary import RunSummary

BANDED = ("loss", "grad_norm")
TWO_SIDED_95 = 1.959963984540054
_MOST_ROWS = 2_000_000  # of all stretches of a run that are kept: 32 bytes each
_PIECE = 16 << 10  # bytes: some milliseconds, between which requests are answered

Halves = NDArray[np.float32]


class Band(NamedTuple):
    """Expected value and 3 sd around it, one entry a step at which they are known."""

    steps: Ints
    expected: Floats
    lower: Floats
    upper: Floats


NO_BAND = Band(np.empty(0, dtype=np.int64), np.empty(0), np.empty(0), np.empty(0))


class BandRows:
    """Bands of successive samples, in memory that grows by doubling."""

    def __init__(self) -> None:
        self._steps: Ints = np.empty(256, dtype=np.int64)
        self._values: Halves = np.empty((256, 3 * len(BANDED)), dtype=np.float32)
        self.rows = 0

    def add(self, sample: Sample, detector: InstabilityDetector) -> None:
        """Take what the detector expected of the sample that it was given last."""
        entry = [np.nan] * (3 * len(BANDED))
        for at, name in enumerate(BANDED):
            if name in sample.metrics and (band := detector.band(name)) is not None:
                entry[3 * at : 3 * at + 3] = band
        if self.rows == len(self._steps):
            self._steps = np.concatenate([self._steps, np.empty_like(self._steps)])
            self._values = np.concatenate([self._values, np.empty_like(self._values)])
        self._steps[self.rows] = sample.step
        with np.errstate(over="ignore"):
            self._values[self.rows] = entry
        self.rows += 1

    def cut(self, after: int) -> None:
        self.rows = int(np.searchsorted(self._steps[: self.rows], after, side="right"))

    def of(self, signal: str, first: int, last: int) -> Band:
        steps = self._steps[: self.rows]
        start, stop = np.searchsorted(steps, [first, last + 1])
        at = 3 * BANDED.index(signal)
        part = self._values[start:stop, at : at + 3].astype(np.float64)
        known = np.isfinite(part).all(axis=1)
        return Band(steps[start:stop][known], *part[known].T)


class _Stretch:
    """One replay, from a snapshot or the beginning of the log to the next snapshot or as far as the log goes."""

    def __init__(self, path: Path, start: int, stop: int | None, index: RunLogIndex, config: MonitorConfig) -> None:
        self.stop = stop
        self.bands = BandRows()
        self._index = index
        self._path = path
        self._tail = RunLogTail(path, offset=start)
        self._detector = InstabilityDetector(config)
        self.is_usable = start == 0 or self._load(start)

    @property
    def is_done(self) -> bool:
        return self.stop is not None and self._tail.offset >= self.stop

    def advance(self) -> bool:
        """Replay a piece; whether there may be more right now."""
        if self.is_done:
            return False
        start = self._tail.offset
        at_most = _PIECE if self.stop is None else min(_PIECE, self.stop - start)
        records = []
        for line, offset in _with_offsets(self._tail.read_lines(at_most), start):
            record = _record(line)
            if record is not None and not self._index.is_superseded(offset, record.get("step", 0)):
                records.append(record)
        for sample in samples_in(self._path, records):
            if self._detector.last_step is not None and sample.step < self._detector.last_step:
                continue
            self._detector.update(sample)
            if "loss" in sample.metrics or "grad_norm" in sample.metrics:
                self.bands.add(sample, self._detector)
        return self._tail.offset > start and (self._tail.has_more or self.stop is not None)

    def _load(self, start: int) -> bool:
        try:
            with self._path.open("rb") as file:
                file.seek(start)
                snapshot = json.loads(file.readline())
            if snapshot["key"] != self._detector.config.detection_key():
                return False
            if snapshot["state"].get("version") != STATE_VERSION:
                return False
            self._detector.load_state_dict(snapshot["state"])
        except (OSError, ValueError, KeyError, TypeError, AttributeError, IndexError):
            return False
        return True


class ExpectedInLog:
    """The bands of a run log, stretch by stretch, those first that are looked at.

    Args:
        summary: of the same log, read to its end: it knows where the snapshots are.
        config: the settings the run was watched with.
    """

    def __init__(self, summary: RunSummary, config: MonitorConfig) -> None:
        self._summary = summary
        self._config = config
        self._stretches: OrderedDict[int, _Stretch] = OrderedDict()  # by offset, the one looked at last is the last
        self._epoch = summary.epoch
        self._use_snapshots = True
        self.version = 0  # grows with what is known

    def band(self, signal: str, first: int, last: int) -> Band:
        """What is known by now of the steps from ``first`` to ``last``."""
        self._check_epoch()
        parts = []
        for start, _ in self._overlapping(first, last):
            if (stretch := self._stretches.get(start)) is not None:
                parts.append(stretch.bands.of(signal, first, last))
        if not parts:
            return NO_BAND
        return Band(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))

    def advance(self, first: int, last: int) -> bool:
        """Replay a piece of what lies between two steps, the newest stretch first; whether more is to be done now."""
        self._check_epoch()
        for start, stop in reversed(self._overlapping(first, last)):
            stretch = self._stretches.get(start)
            if stretch is None:
                if not self._makes_room(first, last):
                    return False
                stretch = self._open(start, stop)
                if not stretch.is_usable:
                    # Made under other settings or by another version: all of it is replayed, once.
                    self._use_snapshots = False
                    self._stretches.clear()
                    return True
            self._stretches.move_to_end(start)
            if stretch.stop is None and stop is not None:
                stretch.stop = stop
            before = stretch.bands.rows
            has_more = stretch.advance()
            self.version += stretch.bands.rows > before
            if has_more:
                return True
        return False

    def _open(self, start: int, stop: int | None) -> _Stretch:
        index = RunLogIndex(self._summary.path, tuple(self._summary.sessions), (), ())
        stretch = self._stretches[start] = _Stretch(self._summary.path, start, stop, index, self._config)
        return stretch

    def _makes_room(self, first: int, last: int) -> bool:
        """Forget stretches that nobody looks at until there is room for one more; whether there is."""
        looked_at = {start for start, _ in self._overlapping(first, last)}
        while sum(one.bands.rows for one in self._stretches.values()) > _MOST_ROWS:
            other = next((start for start in self._stretches if start not in looked_at), None)
            if other is None:
                return False
            del self._stretches[other]
        return True

    def _overlapping(self, first: int, last: int) -> Sequence[tuple[int, int | None]]:
        """Where the stretches begin and end that hold the steps, oldest first; None: as far as the log goes."""
        places = [(0, 0), *self._summary.snapshots] if self._use_snapshots else [(0, 0)]
        found: list[tuple[int, int | None]] = []
        for at, (start, step) in enumerate(places):
            stop, until = places[at + 1] if at + 1 < len(places) else (None, None)
            if step <= last and (until is None or until >= first):
                found.append((start, stop))
        return found

    def _check_epoch(self) -> None:
        if self._summary.epoch == self._epoch:
            return
        # A session took steps back. What lies before is as it was, but stretches reach across.
        self._epoch = self._summary.epoch
        self._stretches.clear()
        self._use_snapshots = True
        self.version += 1


def _with_offsets(lines: bytes, start: int) -> list[tuple[bytes, int]]:
    found = []
    for line in lines.splitlines(keepends=True):
        found.append((line, start))
        start += len(line)
    return found


def _record(line: bytes) -> dict[str, Any] | None:
    # A snapshot is a hundred times as long as a sample, and nothing of it is needed here.
    return None if line.startswith(b'{"type":"snapshot"') else record_of(line)


def interval(signal: str, series: Mapping[str, Series], first: int, last: int) -> Band:
    """The 95 % interval of a signal that a probe measures, where it tells a standard error or the ends themselves."""
    values, error = series[signal], series.get(f"{signal}_se")
    lower, upper = series.get(f"{signal}_lower"), series.get(f"{signal}_upper")
    part = values.rows(first, last)
    part = slice(max(part.start - 1, 0), part.stop + 1)
    steps, middle = values.steps[part], values.values[part]
    if error is not None:
        steps, places, others = np.intersect1d(steps, error.steps, return_indices=True)
        half = TWO_SIDED_95 * error.values[others]
        return Band(steps, middle[places], middle[places] - half, middle[places] + half)
    if lower is None or upper is None:
        return NO_BAND
    steps = np.intersect1d(np.intersect1d(steps, lower.steps), upper.steps)
    ends = [one.values[np.searchsorted(one.steps, steps)] for one in (values, lower, upper)]
    return Band(steps, *ends)


def draw_band(band: Band, columns: int) -> Band:
    """What a chart of so many columns draws: in each the lowest and highest end, and the last expected value."""
    if len(band.steps) <= 2 * columns:
        return band
    bucket = max(1, -(-int(band.steps[-1] - band.steps[0] + 1) // columns))
    column = band.steps // bucket
    starts = np.flatnonzero(np.diff(column, prepend=column[0] - 1))
    ends = np.append(starts[1:], len(column)) - 1
    return Band(
        band.steps[ends],
        band.expected[ends],
        np.minimum.reduceat(band.lower, starts),
        np.maximum.reduceat(band.upper, starts),
    )
