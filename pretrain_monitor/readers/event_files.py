"""A run that was recorded in TensorBoard event files, at full resolution: samples, whole or while it is written."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from ..telemetry import Sample
from .errors import LogError
from .event_records import EventFile, ScalarEvent
from .event_tags import fields_of
from .notes import ReadNotes
from .rows import FillerNaN

_PART = ".tfevents."
_LARGEST_STEP = 2**62
_QUIET_S = 10.0


class Superseded(NamedTuple):
    """Everything at ``step`` or later that came before is void: the run went on from an earlier checkpoint."""

    step: int


class Late(NamedTuple):
    """Values of a step that was given out already: an evaluation that was written long after, or a second file."""

    step: int
    metrics: dict[str, float]


class EventFileRun:
    """Follows the event files of one directory.

    Values of a step are joined into one sample, which is given out once a later step of the loss has come; without a
    loss, a later step of anything.

    Args:
        directory: that holds the files themselves; those in directories below are other runs.

    Raises:
        LogError: tensorboard is not installed.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.is_behind = False
        self._files: dict[str, EventFile] = {}
        self._tags: set[str] = set()
        self._fields: dict[str, str | None] = {}
        self._heard_at = time.monotonic()
        self._start_over()

    @property
    def is_quiet(self) -> bool:
        """Whether nothing has come for so long that the newest step will hardly get more."""
        return time.monotonic() - self._heard_at > _QUIET_S

    def _start_over(self) -> None:
        self._files = {}
        self._held: dict[int, tuple[float, dict[str, float]]] = {}  # by step
        self._given = -1  # the newest step that was given out
        self._leading = -1  # the newest step of the loss
        self._filler = FillerNaN()

    def poll(self, at_most: int = 8 << 20) -> list[Sample | Superseded | Late]:
        """What about so many bytes more have brought, in the order in which it came.

        Raises:
            OSError: a file cannot be read.
        """
        self._look_for_files()
        found: list[Sample | Superseded | Late] = []
        left = at_most
        self.is_behind = False
        for file in list(self._files.values()):
            before = file.offset
            for event in file.read(left):
                if self._joins(event):
                    continue
                if self._knows_better(event):
                    # All of it is read again under the better name: what was given out so far is void.
                    self._start_over()
                    self.is_behind = True
                    return [*found, Superseded(-_LARGEST_STEP)]
                found += self._take(event)
            if file.offset > before:
                self._heard_at = time.monotonic()
            left -= file.offset - before
            self.is_behind = self.is_behind or file.is_behind
            if left <= 0 and file.is_behind:
                break
        return found

    def flush(self) -> list[Sample]:
        """The newest step too, to which more may come."""
        return self._give_out(_LARGEST_STEP)

    def tell(self, notes: ReadNotes) -> None:
        """What of the files could not be read, once all has been."""
        for name, file in self._files.items():
            if file.is_damaged:
                notes.sentences.append(
                    f"{name} is damaged after byte {file.offset:,}; what comes behind it is left out"
                )
            elif file.is_cut_off:
                notes.sentences.append(f"{name} is cut off within its last record, or still being written")

    def _look_for_files(self) -> None:
        names = sorted(entry.name for entry in self.directory.iterdir() if _PART in entry.name and entry.is_file())
        for name in names:
            if name not in self._files:
                self._files[name] = EventFile(self.directory / name)
        self._files = {name: self._files[name] for name in names}

    def _joins(self, event: ScalarEvent) -> bool:
        """Whether it was one more value of a step whose loss has come: most of a file, so done with little ado."""
        if event.is_start or len(event.values) != 1 or event.step != self._leading:
            return False
        tag, value = event.values[0]
        held, field = self._held.get(event.step), self._fields.get(tag)
        if held is None or field is None or field == "loss" or not math.isfinite(value):
            return False
        self._filler.see(field)
        held[1][field] = value
        return True

    def _knows_better(self, event: ScalarEvent) -> bool:
        """Take in new tags; whether a field has a better one now than the one that was given out under its name."""
        new = [tag for tag, _ in event.values if tag not in self._tags]
        if not new:
            return False
        self._tags.update(new)
        before, self._fields = self._fields, fields_of(sorted(self._tags))
        return any(self._fields[tag] != field for tag, field in before.items())

    def _take(self, event: ScalarEvent) -> Iterator[Sample | Superseded | Late]:
        if abs(event.step) >= _LARGEST_STEP:
            return
        values = {field: value for tag, value in event.values if (field := self._fields[tag]) is not None}
        values = self._filler.drop(values)
        has_loss = "loss" in values
        newest = max(self._given, max(self._held, default=-1))
        if (event.is_start and 0 < event.step <= newest) or (has_loss and event.step < self._leading):
            yield from self._take_back(event.step)
        if not values:
            return
        leads = has_loss or "loss" not in self._fields.values()
        if leads and event.step > self._leading:
            yield from self._give_out(event.step)
            self._leading = event.step
        if event.step <= self._given:
            yield Late(event.step, values)
            return
        _, held = self._held.setdefault(event.step, (event.time, {}))
        held.update(values)

    def _take_back(self, step: int) -> Iterator[Superseded]:
        self._held = {held: entry for held, entry in self._held.items() if held < step}
        self._given = min(self._given, step - 1)
        self._leading = min(self._leading, step - 1)
        yield Superseded(step)

    def _give_out(self, before: int) -> list[Sample]:
        steps = sorted(step for step in self._held if step < before)
        found = []
        for step in steps:
            wall_time, metrics = self._held.pop(step)
            found.append(_sample(step, wall_time, metrics))
            self._given = step
        return found


def read_event_files(path: Path, notes: ReadNotes | None = None) -> Iterator[Sample]:
    """All samples of a directory of event files, or of one file: oldest first, what was superseded left out.

    Args:
        notes: told which files are damaged or cut off.

    Raises:
        LogError: there are none, or nothing that could be read in them.
    """
    run = EventFileRun(path if path.is_dir() else path.parent)
    if not path.is_dir():
        run = _OneFile(path)
    rows: dict[int, Sample] = {}
    is_behind = True
    while is_behind:
        items = run.poll()
        is_behind = run.is_behind
        for item in items if is_behind else [*items, *run.flush()]:
            if isinstance(item, Superseded):
                rows = {step: sample for step, sample in rows.items() if step < item.step}
            elif isinstance(item, Late):
                known = rows.get(item.step)
                rows[item.step] = _joined(known, item) if known is not None else Sample(item.step, item.metrics)
            else:
                rows[item.step] = item
    if notes is not None:
        run.tell(notes)
    if not rows:
        raise LogError(f"{path}: no scalars in its event files")
    yield from (rows[step] for step in sorted(rows))


class _OneFile(EventFileRun):
    def __init__(self, path: Path) -> None:
        super().__init__(path.parent)
        self._path = path

    def _look_for_files(self) -> None:
        self._files.setdefault(self._path.name, EventFile(self._path))


def _sample(step: int, wall_time: float, metrics: dict[str, float]) -> Sample:
    tokens = metrics.pop("tokens_seen", math.nan)
    return Sample(step, metrics, int(tokens) if math.isfinite(tokens) else None, wall_time)


def _joined(sample: Sample, late: Late) -> Sample:
    return Sample(sample.step, {**late.metrics, **sample.metrics}, sample.tokens_seen, sample.time)
